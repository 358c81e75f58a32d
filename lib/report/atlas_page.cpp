#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/text.h"
#include "report/assets.h"
#include "report/atlas_parts.h"
#include "report/families.h"
#include "report/page_parts.h"

namespace lra::report {
namespace {

using namespace fmt::literals;

std::string options_text(const AtlasMixer& mixer) {
  std::string list;
  for (const auto& [key, value] : mixer.options) list += (list.empty() ? "" : ", ") + key + " " + value;
  return list;
}

std::string amount(double value) {
  for (const auto& [unit, name] : {std::pair{1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e3, " k"}}) {
    if (value >= unit) return fmt::format("{:.3g}{}", value / unit, name);
  }
  return fmt::format("{:.3g}", value);
}

std::string crossing_text(const AtlasMixer& mixer) {
  if (mixer.mixer == "softmax" || mixer.costs.empty()) return "–";
  if (!mixer.below_softmax_from) {
    const bool same = std::all_of(mixer.costs.begin(), mixer.costs.end(),
                                  [](const AtlasCost& cost) { return cost.flops == cost.softmax_flops; });
    return same ? "equal" : fmt::format("not up to {}", mixer.costs.back().n);
  }
  return *mixer.below_softmax_from <= 1 ? "always" : fmt::to_string(*mixer.below_softmax_from);
}

std::string badge(const AtlasMixer& mixer) { return mixer.cls_blind() ? "<span class=\"blind\">CLS blind</span>" : ""; }

/// Where the card of mixer `i` stands on the page.
std::string card_id(const Atlas& atlas, std::size_t i) { return "mechanism-" + picture_name(atlas, i); }

std::string facts(const AtlasMixer& mixer) {
  std::string html = fmt::format("<dt>Cost</dt><dd>{}", escape_html(mixer.cost));
  if (mixer.below_softmax_from) {
    html += *mixer.below_softmax_from <= 1
                ? std::string("; always fewer FLOPs than full attention")
                : fmt::format("; fewer FLOPs than full attention from N = {}", crossing_text(mixer));
  }
  html +=
      fmt::format("</dd><dt>Reach</dt><dd>every token sees every other: {}; CLS sees all: {}</dd>",
                  layers_text(mixer.layers_all, mixer.layers_tried), layers_text(mixer.layers_cls, mixer.layers_tried));
  if (!mixer.options.empty()) html += fmt::format("<dt>Drawn with</dt><dd>{}</dd>", escape_html(options_text(mixer)));
  if (mixer.kind != "weights")
    html += "<dt>Drawn is</dt><dd>how strongly outputs react to inputs (derivative), not weights</dd>";
  if (!mixer.paper.empty()) {
    const std::string title = escape_html(mixer.paper);
    html += "<dt>Paper</dt><dd>" +
            (mixer.arxiv.empty() ? title
                                 : fmt::format("<a href=\"https://arxiv.org/abs/{0}\">{1}, arXiv {0}</a>",
                                               escape_html(mixer.arxiv), title)) +
            "</dd>";
  }
  return html;
}

std::string card(const Atlas& atlas, std::size_t i) {
  const AtlasMixer& mixer = atlas.mixers[i];
  const Family& family = family_named(mixer.family);
  std::string maps;
  for (const AtlasMap& map : mixer.maps) {
    maps += fmt::format(
        "<figure><svg viewBox=\"0 0 {0} {0}\" width=\"{1:g}\" role=\"img\" aria-label=\"{2}, "
        "{3}\">{4}</svg><figcaption>{3}</figcaption></figure>",
        map.n, map_pixels(map.n, 128), escape_html(mixer.display_name), escape_html(map.label),
        heat_map(map, family.colour));
  }
  return fmt::format(fmt::runtime(assets::mechanism_html), "id"_a = card_id(atlas, i), "colour"_a = family.colour,
                     "name"_a = escape_html(mixer.display_name) + badge(mixer),
                     "formula"_a = escape_html(mixer.formula), "maps"_a = maps, "facts"_a = facts(mixer),
                     "mixer"_a = escape_html(shell_word(mixer.mixer)), "n"_a = atlas.n,
                     "picture"_a = picture_name(atlas, i));
}

std::string table(const Atlas& atlas) {
  const std::vector<std::int64_t> lengths = {1024, 4096, 16384};
  std::string html =
      "<div class=\"scroll\"><table>\n<thead><tr><th>Mechanism</th><th>Family</th><th>Cost</th><th "
      "class=\"number\">All see all</th><th class=\"number\">CLS sees all</th>";
  for (const std::int64_t n : lengths) html += fmt::format("<th class=\"number\">FLOPs, N = {}</th>", n);
  html +=
      "<th class=\"number\">of them behind a mask, N = 4096</th><th class=\"number\">Fewer than full attention from N "
      "=</th></tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < atlas.mixers.size(); ++i) {
    const AtlasMixer& mixer = atlas.mixers[i];
    html += fmt::format(
        "<tr><td><a href=\"#{}\">{}</a></td><td>{}</td><td>{}</td><td class=\"number\">{}</td><td "
        "class=\"number\">{}</td>",
        card_id(atlas, i), escape_html(mixer.display_name), escape_html(family_named(mixer.family).title),
        escape_html(mixer.cost), layers_text(mixer.layers_all, mixer.layers_tried),
        mixer.cls_blind() ? badge(mixer) : layers_text(mixer.layers_cls, mixer.layers_tried));
    for (const std::int64_t n : lengths) {
      const AtlasCost* cost = cost_at(mixer, n);
      html += fmt::format("<td class=\"number\">{}</td>", cost == nullptr ? "–" : amount(cost->flops));
    }
    const AtlasCost* cost = cost_at(mixer, 4096);
    html += fmt::format("<td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
                        cost == nullptr           ? "–"
                        : cost->masked_flops == 0 ? "0"
                                                  : fmt::format("{:.0f} %", 100 * cost->masked_flops / cost->flops),
                        crossing_text(mixer));
  }
  return html + "</tbody></table></div>\n";
}

std::string families_html(const Atlas& atlas) {
  std::string html;
  for (std::size_t i = 0; i < atlas.mixers.size();) {  // in the order of their families
    const Family& family = family_named(atlas.mixers[i].family);
    std::string cards;
    const std::size_t first = i;
    for (; i < atlas.mixers.size() && &family_named(atlas.mixers[i].family) == &family; ++i) cards += card(atlas, i);
    html += fmt::format(
        "<h2 id=\"family-{}\"><span class=\"dot\" style=\"background:{}\"></span>{}</h2>\n<div "
        "class=\"cards\">\n{}</div>\n",
        first, family.colour, escape_html(family.title), cards);
  }
  return html;
}

/// From which length on the linear form is cheaper here.
std::string crossing_sentence(const Atlas& atlas) {
  const std::int64_t d = atlas.flops_d_model / atlas.flops_num_heads;
  std::string text;
  for (const AtlasMixer& mixer : atlas.mixers) {
    if (mixer.mixer != "linear" || !mixer.below_softmax_from) continue;
    text += fmt::format(
        " Here d = d′ = {}, and the {} takes fewer FLOPs from N = {} on: the formula's N = {}, and one more for its "
        "normaliser.",
        d, escape_html(mixer.display_name), *mixer.below_softmax_from, d);
  }
  return text;
}

}  // namespace

std::string atlas_page(const Atlas& atlas, const std::string& cost_svg) {
  std::set<std::string> names;
  for (const AtlasMixer& mixer : atlas.mixers) names.insert(mixer.mixer);
  const char* cost_files =
      " · <a href=\"atlas_cost.svg\">SVG</a> · <a href=\"atlas_cost.png\">PNG</a> · <a "
      "href=\"atlas_cost.pdf\">PDF</a>";
  const std::string main = fmt::format(
      fmt::runtime(assets::atlas_html), "mixers"_a = names.size(), "forms"_a = atlas.mixers.size(), "n"_a = atlas.n,
      "seed"_a = atlas.seed, "input"_a = escape_html(atlas.input), "width"_a = atlas.d_model,
      "heads"_a = atlas.num_heads, "overview"_a = overview_svg(atlas), "families"_a = families_html(atlas),
      "cost"_a =
          cost_svg.empty() ? "<p class=\"note\">Not rendered; the chart is in atlas_cost.vl.json.</p>" : cost_svg,
      "cost_files"_a = cost_svg.empty() ? "" : cost_files, "crossing"_a = crossing_sentence(atlas),
      "cost_width"_a = atlas.flops_d_model, "cost_heads"_a = atlas.flops_num_heads, "table"_a = table(atlas));
  return framed("Attention atlas", main,
                {std::string(assets::page_css) + std::string(assets::atlas_css),
                 "<script>\n" + std::string(assets::contents_js) + "</script>\n"});
}

}  // namespace lra::report
