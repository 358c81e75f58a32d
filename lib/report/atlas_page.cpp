#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/text.h"
#include "report/atlas_parts.h"
#include "report/families.h"
#include "report/page.h"

namespace lra::report {
namespace {

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

std::string card(const Atlas& atlas, std::size_t i) {
  const AtlasMixer& mixer = atlas.mixers[i];
  const Family& family = family_named(mixer.family);
  std::string html =
      fmt::format("<article class=\"mechanism\" id=\"{}\" style=\"border-top-color:{}\">\n<h3>{}{}</h3>\n",
                  card_id(atlas, i), family.colour, escape_html(mixer.display_name), badge(mixer));
  html += fmt::format("<p class=\"formula\">{}</p>\n<div class=\"maps\">", escape_html(mixer.formula));
  for (const AtlasMap& map : mixer.maps) {
    html += fmt::format(
        "<figure><svg viewBox=\"0 0 {0} {0}\" width=\"{1:g}\" role=\"img\" aria-label=\"{2}, "
        "{3}\">{4}</svg><figcaption>{3}</figcaption></figure>",
        map.n, map_pixels(map.n, 128), escape_html(mixer.display_name), escape_html(map.label),
        heat_map(map, family.colour));
  }
  html += "</div>\n<dl>";
  html += fmt::format("<dt>Cost</dt><dd>{}", escape_html(mixer.cost));
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
  html += fmt::format(
      "</dl>\n<p class=\"links\"><code>lra-run atlas --mixer {0} --n {1}</code> · <a "
      "href=\"{2}.svg\">SVG</a></p>\n</article>\n",
      escape_html(shell_word(mixer.mixer)), atlas.n, picture_name(atlas, i));
  return html;
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

constexpr const char* page_style = R"(<style>
main { max-width: 1250px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 570px), 1fr)); gap: 20px; }
.mechanism { border: 1px solid #d8dee4; border-top: 5px solid; border-radius: 6px; padding: 14px 16px 10px; }
.mechanism h3 { font-size: 18px; margin: 0; }
.mechanism p { margin: 4px 0 10px; }
.formula { font-size: 15px; }
.maps { display: flex; flex-wrap: wrap; gap: 8px; }
figure { margin: 0; }
figure svg { display: block; border: 1px solid #b6bcc4; max-width: 100%; height: auto; }
figcaption { font-size: 12.5px; color: #57606a; text-align: center; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 12px; margin: 10px 0 6px; font-size: 14px; }
dt { color: #57606a; }
dd { margin: 0; }
.blind { background: #a11b1b; color: #fff; font-size: 12px; font-weight: 600; border-radius: 4px; padding: 2px 7px; margin-left: 8px; white-space: nowrap; }
.overview svg, .cost svg { max-width: 100%; height: auto; }
h2 .dot { display: inline-block; width: 14px; height: 14px; border-radius: 3px; margin-right: 8px; }
</style>
)";

constexpr const char* two_orders = R"(<h3>(d + d′) N² against 2 d d′ N</h3>
<p>Without the softmax, attention is a product of three matrices, Q Kᵀ V, of N × d, d × N and N × d′ numbers. The order of the two products is free.
<b>(Q Kᵀ) V</b> first makes the N × N weights, d N² multiplications, then applies them, d′ N²: together <b>(d + d′) N²</b>.
<b>Q (Kᵀ V)</b> first makes one small d × d′ matrix, d d′ N, then reads it with every query, d d′ N: together <b>2 d d′ N</b>.
Both give the same numbers. They cost the same at N = 2 d d′ / (d + d′); with d = d′ that is <b>N = d</b>, the size of one head.</p>
<p>The softmax stands between the two products and forbids the second order. The kernel family replaces it by features φ(Q) φ(K)ᵀ, so that the order is free again.)";

}  // namespace

std::string atlas_page(const Atlas& atlas, const std::string& cost_svg) {
  std::set<std::string> names;
  for (const AtlasMixer& mixer : atlas.mixers) names.insert(mixer.mixer);
  std::string html = page_head("Attention atlas") + page_style;
  html += fmt::format(
      "<h1>Attention atlas</h1>\n<p class=\"lead\">{} mechanisms that mix the tokens of a sequence, in {} forms, side "
      "by side on {} tokens: who reads whom, at what cost, and in how many layers everything is "
      "seen.</p>\n",
      names.size(), atlas.mixers.size(), atlas.n);
  html += fmt::format(
      "<h2>How to read the maps</h2>\n<ul>\n<li>Row i is the token that is made, column j the token that is read: how "
      "much of token j goes into token i, in one layer, for each head. The upper "
      "left corner is CLS, the first token.</li>\n<li>White is exactly nothing. Whatever is read has at least the "
      "palest shade; shades grow with the square root of the weight, up to the largest of the map. "
      "The sign is not drawn.</li>\n<li>The mechanisms are not trained: weights as they are initialised (seed {}), "
      "input: {}, width {}, {} heads. What a trained model reads differs; what it "
      "<i>can</i> read is the same.</li>\n<li>Windows, blocks and ranks are chosen for pictures of 64 tokens, not the "
      "defaults for long sequences.</li>\n"
      "<li><b>Reach</b>: a layer lets a token read what its map shows, and itself (residual connection). Layers are "
      "stacked, each with weights and random patterns of its own, until every token has "
      "seen every other. <span class=\"blind\" style=\"margin:0\">CLS blind</span>: the first token, from which a "
      "classifier may read its answer, never sees the whole sequence.</li>\n</ul>\n",
      atlas.seed, escape_html(atlas.input), atlas.d_model, atlas.num_heads);
  html += "<h2>All of them</h2>\n<div class=\"overview\">" + overview_svg(atlas) +
          "</div>\n<p class=\"links\">Files: <a href=\"atlas.svg\">SVG</a> · <a href=\"atlas.png\">PNG</a></p>\n";
  for (std::size_t i = 0; i < atlas.mixers.size();) {  // in the order of their families
    const Family& family = family_named(atlas.mixers[i].family);
    std::string cards;
    for (; i < atlas.mixers.size() && &family_named(atlas.mixers[i].family) == &family; ++i) cards += card(atlas, i);
    html +=
        fmt::format("<h2><span class=\"dot\" style=\"background:{}\"></span>{}</h2>\n<div class=\"cards\">\n{}</div>\n",
                    family.colour, escape_html(family.title), cards);
  }
  html += "<h2>Cost against length</h2>\n<div class=\"cost\">" +
          (cost_svg.empty() ? "<p class=\"note\">Not rendered; the chart is in atlas_cost.vl.json.</p>" : cost_svg) +
          "</div>\n<p class=\"links\">Files: <a href=\"atlas_cost.vl.json\">Vega-Lite</a>" +
          (cost_svg.empty() ? ""
                            : " · <a href=\"atlas_cost.svg\">SVG</a> · <a href=\"atlas_cost.png\">PNG</a> · <a "
                              "href=\"atlas_cost.pdf\">PDF</a>") +
          "</p>\n";
  html += two_orders;
  const std::int64_t d = atlas.flops_d_model / atlas.flops_num_heads;
  for (const AtlasMixer& mixer : atlas.mixers) {
    if (mixer.mixer == "linear" && mixer.below_softmax_from) {
      html += fmt::format(
          " Here d = d′ = {}, and the {} takes fewer FLOPs from N = {} on: the formula's N = {}, and one more for its "
          "normaliser.",
          d, escape_html(mixer.display_name), *mixer.below_softmax_from, d);
    }
  }
  html += fmt::format(
      "</p>\n<h3>All numbers</h3>\n<p>FLOPs (2 for each multiplication and addition) of one mixer with its projections "
      "and default options, one sequence, width {}, {} heads. At short lengths the "
      "projections, the same in almost all, are most of it. Blocks of a sparse pattern are computed whole; what a mask "
      "then hides is counted and shown as a share; "
      "where a sequence just begins a new block, the cost may be above full attention's once more.</p>\n",
      atlas.flops_d_model, atlas.flops_num_heads);
  return html + table(atlas) + "</main>\n</body>\n</html>\n";
}

}  // namespace lra::report
