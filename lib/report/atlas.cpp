#include "report/atlas.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <map>
#include <set>

#include "core/text.h"
#include "report/families.h"
#include "report/labels.h"
#include "report/page.h"
#include "report/render.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

constexpr int shades = 12;
constexpr double negligible = 1e-12;  // against the largest: zero
constexpr const char* font = "Arial, Helvetica, 'Liberation Sans', sans-serif";
constexpr const char* warning = "#a11b1b";

double largest(const AtlasMap& map) {
  double top = 0;
  for (const double value : map.values) top = std::max(top, std::abs(value));
  return top;
}

int shade(double value, double top) {
  const double share = top == 0 ? 0 : std::abs(value) / top;
  return share <= negligible ? 0 : std::clamp(static_cast<int>(std::ceil(shades * std::sqrt(share) - 1e-9)), 1, shades);
}

using Rgb = std::array<double, 3>;

Rgb mix(const Rgb& a, const Rgb& b, double share) {
  return {a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2])};
}

// From a pale tint over the family's colour (at two thirds) to a dark one: lightness alone tells the shades apart.
std::string shade_colour(const std::string& colour, int level) {
  const auto part = [&](std::size_t i) { return static_cast<double>(std::stoi(colour.substr(1 + 2 * i, 2), nullptr, 16)); };
  const Rgb full = {part(0), part(1), part(2)}, dark = mix(full, {0, 0, 0}, 0.5);
  const double t = static_cast<double>(level) / shades;
  const Rgb c = t <= 0.66 ? mix({255, 255, 255}, full, 0.12 + 0.88 * t / 0.66) : mix(full, dark, (t - 0.66) / 0.34);
  return fmt::format("#{:02x}{:02x}{:02x}", static_cast<int>(c[0]), static_cast<int>(c[1]), static_cast<int>(c[2]));
}

std::string framed_map(const AtlasMap& map, const std::string& colour, double x, double y, double pixels) {
  return fmt::format("<g transform=\"translate({:g} {:g}) scale({:g})\">{}</g><rect x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" height=\"{:g}\" fill=\"none\" stroke=\"#b6bcc4\"/>\n", x, y,
                     pixels / static_cast<double>(map.n), heat_map(map, colour), x - 0.5, y - 0.5, pixels + 1, pixels + 1);
}

// Arial's kin lack raised and lowered letters, accents alone and some signs, and a renderer that misses one may draw the whole line in another font: what they have
// stands in.
std::string picture_text(const std::string& escaped) {
  static const std::map<std::string, std::string> lowered = {{"ᵢ", "i"}, {"ⱼ", "j"}, {"ₖ", "k"}, {"ₜ", "t"}, {"ₕ", "h"}, {"ₘ", "m"}, {"ₙ", "n"}, {"₀", "0"}, {"₁", "1"},
                                                             {"₂", "2"}, {"₃", "3"}, {"₄", "4"}, {"₅", "5"}, {"₆", "6"}, {"₇", "7"}, {"₈", "8"}, {"₉", "9"}};
  static const std::map<std::string, std::string> accents = {{"\u0302", "ˆ"}, {"\u0303", "˜"}, {"\u0304", "ˉ"}}, signs = {{"⊙", "◦"}, {"∘", "◦"}, {"‖", "||"}, {"∣", "|"}};
  std::string result, ends;
  const auto shifted = [&](const std::string& letter, double up) {
    result += fmt::format("<tspan dy=\"{:g}em\" font-size=\"70%\">{}</tspan><tspan dy=\"{:g}em\">", -up, letter, 0.7 * up);
    ends += "</tspan>";
  };
  for (std::size_t at = 0, end = 0; at < escaped.size(); at = end) {
    for (end = at + 1; end < escaped.size() && (static_cast<unsigned char>(escaped[end]) & 0xC0) == 0x80;) ++end;
    const std::string one = escaped.substr(at, end - at);
    if (one == "ᵀ") shifted("T", 0.4);
    else if (lowered.count(one) != 0) shifted(lowered.at(one), -0.25);
    else if (accents.count(one) != 0) result += "<tspan dx=\"-0.42em\">" + accents.at(one) + "</tspan>";  // over the letter before
    else result += signs.count(one) != 0 ? signs.at(one) : one;
  }
  return result + ends;
}

std::string text(double x, double y, double size, const std::string& what, const std::string& colour = ink, const std::string& more = "") {
  return fmt::format("<text x=\"{:g}\" y=\"{:g}\" font-size=\"{:g}\" fill=\"{}\"{}>{}</text>\n", x, y, size, colour, more, picture_text(escape_html(what)));
}

std::string svg(double width, double height, const std::string& title, const std::string& content) {
  return fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" width=\"{0:g}\" height=\"{1:g}\" font-family=\"{2}\" role=\"img\">\n<title>{3}</title>\n"
                     "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{4}</svg>\n",
                     width, height, font, escape_html(title), content);
}

// Whole pixels for each token, so that thin stripes look alike.
double map_pixels(std::int64_t n, double about) { return static_cast<double>(n) * std::max(1.0, std::round(about / static_cast<double>(n))); }

// Heads that read the same places are one picture, and so are other maps of equal shades.
std::vector<const AtlasMap*> distinct_maps(const AtlasMixer& mixer) {
  std::set<std::vector<int>> known;
  std::vector<const AtlasMap*> maps;
  for (const AtlasMap& map : mixer.maps) {
    const double top = largest(map);
    std::vector<int> look;
    for (const double value : map.values) look.push_back(mixer.is_attention() ? std::min(shade(value, top), 1) : shade(value, top));
    if (known.insert(look).second) maps.push_back(&map);
  }
  return maps;
}

std::string layers_text(const std::optional<std::int64_t>& layers, std::int64_t tried) {
  if (layers) return fmt::format("{} layer{}", *layers, *layers == 1 ? "" : "s");
  return tried < 64 ? "never" : fmt::format("not in {} layers", tried);
}

std::string reach_text(const AtlasMixer& mixer) {
  if (mixer.layers_all) return fmt::format("all see all: {}", layers_text(mixer.layers_all, 0));
  return fmt::format("all see all: {}", layers_text({}, mixer.layers_tried));
}

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
    const bool same = std::all_of(mixer.costs.begin(), mixer.costs.end(), [](const AtlasCost& cost) { return cost.flops == cost.softmax_flops; });
    return same ? "equal" : fmt::format("not up to {}", mixer.costs.back().n);
  }
  return *mixer.below_softmax_from <= 1 ? "always" : fmt::to_string(*mixer.below_softmax_from);
}

const AtlasCost* cost_at(const AtlasMixer& mixer, std::int64_t n) {
  for (const AtlasCost& cost : mixer.costs) {
    if (cost.n == n) return &cost;
  }
  return nullptr;
}

std::string badge(const AtlasMixer& mixer) { return mixer.cls_blind() ? "<span class=\"blind\">CLS blind</span>" : ""; }

/// Where the card of mixer `i` stands on the page.
std::string card_id(const Atlas& atlas, std::size_t i) { return "mechanism-" + picture_name(atlas, i); }

std::string card(const Atlas& atlas, std::size_t i) {
  const AtlasMixer& mixer = atlas.mixers[i];
  const Family& family = family_named(mixer.family);
  std::string html = fmt::format("<article class=\"mechanism\" id=\"{}\" style=\"border-top-color:{}\">\n<h3>{}{}</h3>\n", card_id(atlas, i), family.colour,
                                 escape_html(mixer.display_name), badge(mixer));
  html += fmt::format("<p class=\"formula\">{}</p>\n<div class=\"maps\">", escape_html(mixer.formula));
  for (const AtlasMap& map : mixer.maps) {
    html += fmt::format("<figure><svg viewBox=\"0 0 {0} {0}\" width=\"{1:g}\" role=\"img\" aria-label=\"{2}, {3}\">{4}</svg><figcaption>{3}</figcaption></figure>", map.n,
                        map_pixels(map.n, 128), escape_html(mixer.display_name), escape_html(map.label), heat_map(map, family.colour));
  }
  html += "</div>\n<dl>";
  html += fmt::format("<dt>Cost</dt><dd>{}", escape_html(mixer.cost));
  if (mixer.below_softmax_from) {
    html += *mixer.below_softmax_from <= 1 ? std::string("; always fewer FLOPs than full attention") : fmt::format("; fewer FLOPs than full attention from N = {}", crossing_text(mixer));
  }
  html += fmt::format("</dd><dt>Reach</dt><dd>every token sees every other: {}; CLS sees all: {}</dd>", layers_text(mixer.layers_all, mixer.layers_tried),
                      layers_text(mixer.layers_cls, mixer.layers_tried));
  if (!mixer.options.empty()) html += fmt::format("<dt>Drawn with</dt><dd>{}</dd>", escape_html(options_text(mixer)));
  if (mixer.kind != "weights") html += "<dt>Drawn is</dt><dd>how strongly outputs react to inputs (derivative), not weights</dd>";
  if (!mixer.paper.empty()) {
    const std::string title = escape_html(mixer.paper);
    html += "<dt>Paper</dt><dd>" + (mixer.arxiv.empty() ? title : fmt::format("<a href=\"https://arxiv.org/abs/{0}\">{1}, arXiv {0}</a>", escape_html(mixer.arxiv), title)) + "</dd>";
  }
  html += fmt::format("</dl>\n<p class=\"links\"><code>lra-run atlas --mixer {0} --n {1}</code> · <a href=\"{2}.svg\">SVG</a></p>\n</article>\n", escape_html(shell_word(mixer.mixer)), atlas.n,
                      picture_name(atlas, i));
  return html;
}

std::string table(const Atlas& atlas) {
  const std::vector<std::int64_t> lengths = {1024, 4096, 16384};
  std::string html = "<div class=\"scroll\"><table>\n<thead><tr><th>Mechanism</th><th>Family</th><th>Cost</th><th class=\"number\">All see all</th><th class=\"number\">CLS sees all</th>";
  for (const std::int64_t n : lengths) html += fmt::format("<th class=\"number\">FLOPs, N = {}</th>", n);
  html += "<th class=\"number\">of them behind a mask, N = 4096</th><th class=\"number\">Fewer than full attention from N =</th></tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < atlas.mixers.size(); ++i) {
    const AtlasMixer& mixer = atlas.mixers[i];
    html += fmt::format("<tr><td><a href=\"#{}\">{}</a></td><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>", card_id(atlas, i),
                        escape_html(mixer.display_name), escape_html(family_named(mixer.family).title), escape_html(mixer.cost), layers_text(mixer.layers_all, mixer.layers_tried),
                        mixer.cls_blind() ? badge(mixer) : layers_text(mixer.layers_cls, mixer.layers_tried));
    for (const std::int64_t n : lengths) {
      const AtlasCost* cost = cost_at(mixer, n);
      html += fmt::format("<td class=\"number\">{}</td>", cost == nullptr ? "–" : amount(cost->flops));
    }
    const AtlasCost* cost = cost_at(mixer, 4096);
    html += fmt::format("<td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
                        cost == nullptr ? "–" : cost->masked_flops == 0 ? "0" : fmt::format("{:.0f} %", 100 * cost->masked_flops / cost->flops), crossing_text(mixer));
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

std::string heat_map(const AtlasMap& map, const std::string& colour) {
  const double top = largest(map);
  std::array<std::string, shades + 1> paths;
  for (std::int64_t i = 0; i < map.n; ++i) {
    const auto level = [&](std::int64_t j) { return shade(map.values[static_cast<std::size_t>(i * map.n + j)], top); };
    for (std::int64_t j = 0, end = 0; j < map.n; j = end) {
      const int current = level(j);
      for (end = j + 1; end < map.n && level(end) == current;) ++end;
      if (current > 0) paths[static_cast<std::size_t>(current)] += fmt::format("M{} {}h{}", j, i, end - j);
    }
  }
  std::string content;
  for (int level = 1; level <= shades; ++level) {
    const std::string& path = paths[static_cast<std::size_t>(level)];
    if (!path.empty()) content += fmt::format("<path stroke=\"{}\" d=\"{}\"/>", shade_colour(colour, level), path);
  }
  return "<g transform=\"translate(0 .5)\" shape-rendering=\"crispEdges\">" + content + "</g>";  // lines one unit wide, in the middle of their row
}

std::string mixer_svg(const AtlasMixer& mixer) {
  const Family& family = family_named(mixer.family);
  const double pixels = map_pixels(mixer.maps.front().n, 192), left = 20, top = 84, gap = 14;
  const double width = std::max(left + static_cast<double>(mixer.maps.size()) * (pixels + gap) + left - gap, 460.0);
  std::string content = text(left, 36, 22, mixer.display_name, ink, " font-weight=\"bold\"") + text(left, 60, 15, mixer.formula, grey_ink);
  for (std::size_t i = 0; i < mixer.maps.size(); ++i) {
    const double x = left + static_cast<double>(i) * (pixels + gap);
    content += framed_map(mixer.maps[i], family.colour, x, top, pixels) + text(x + pixels / 2, top + pixels + 20, 14, mixer.maps[i].label, grey_ink, " text-anchor=\"middle\"");
  }
  content += text(left, top + pixels + 48, 14, fmt::format("row: the token that is made · column: the token that is read · {} · cost {}", reach_text(mixer), mixer.cost), grey_ink);
  return svg(std::max(width, left + 560), top + pixels + 66, mixer.display_name, content);
}

std::string overview_svg(const Atlas& atlas) {
  constexpr double side = 200, gap_between_maps = 8, pad = 14, space = 14, header = 104, text_size = 14, line = 18;
  const std::size_t columns = std::min<std::size_t>(5, atlas.mixers.size());
  const double card_width = side + 2 * pad;
  std::size_t most_lines = 1;
  for (const AtlasMixer& mixer : atlas.mixers) most_lines = std::max(most_lines, wrap(mixer.formula, side, text_size).size());
  most_lines = std::min<std::size_t>(most_lines, 4);
  const double card_height = 58 + side + 14 + line * static_cast<double>(most_lines + 2) + 6;
  std::string content = text(space, 40, 26, "Who reads whom", ink, " font-weight=\"bold\"");
  content += text(space, 66, 15, fmt::format("One layer on {} tokens. Row: the token that is made. Column: the token that is read. White: not read; the darker, the more.", atlas.n), grey_ink);
  content += text(space, 88, 15, "Heads that read the same places are drawn once. CLS blind: the first token never sees the whole sequence, however many layers there are.", grey_ink);
  for (std::size_t m = 0; m < atlas.mixers.size(); ++m) {
    const AtlasMixer& mixer = atlas.mixers[m];
    const Family& family = family_named(mixer.family);
    const double x = space + static_cast<double>(m % columns) * (card_width + space), y = header + static_cast<double>(m / columns) * (card_height + space);
    content += fmt::format("<g transform=\"translate({:g} {:g})\">\n<rect width=\"{:g}\" height=\"{:g}\" rx=\"5\" fill=\"#fff\" stroke=\"#d0d7de\"/><rect width=\"{:g}\" height=\"5\" rx=\"2\" fill=\"{}\"/>\n", x, y,
                           card_width, card_height, card_width, family.colour);
    content += text(pad, 30, 17.5, mixer.display_name, ink, " font-weight=\"bold\"") + text(pad, 49, 13.5, family.title, grey_ink);
    if (mixer.cls_blind()) {
      content += fmt::format("<rect x=\"{:g}\" y=\"36\" width=\"74\" height=\"18\" rx=\"4\" fill=\"{}\"/>", card_width - pad - 74, warning) +
                 text(card_width - pad - 37, 49.5, 13, "CLS blind", "#fff", " font-weight=\"bold\" text-anchor=\"middle\"");
    }
    const auto maps = distinct_maps(mixer);
    const double small = (side - gap_between_maps) / 2, top = maps.size() == 2 ? 60 + small / 2 : 60;
    if (maps.size() == 1) content += framed_map(*maps[0], family.colour, pad, 62, side - 8);
    for (std::size_t i = 0; maps.size() > 1 && i < std::min<std::size_t>(maps.size(), 4); ++i) {
      const double left = pad + static_cast<double>(i % 2) * (small + gap_between_maps), upper = top + static_cast<double>(i / 2) * (small + gap_between_maps);
      content += framed_map(*maps[i], family.colour, left, upper, small);
      if (!mixer.is_attention()) content += text(left + small / 2, upper + small + 17, 13, maps[i]->label, grey_ink, " text-anchor=\"middle\"");
    }
    double baseline = 58 + side + 22;
    auto lines = wrap(mixer.formula, side, text_size);
    if (lines.size() > most_lines) {
      lines.resize(most_lines);
      lines.back() += " …";
    }
    for (const std::string& part : lines) {
      content += text(pad, baseline, text_size, part);
      baseline += line;
    }
    baseline = card_height - 10;
    content += text(pad, baseline - line, text_size, "cost " + mixer.cost, grey_ink) + text(pad, baseline, text_size, reach_text(mixer), mixer.layers_all ? grey_ink : warning) + "</g>\n";
  }
  const std::size_t rows = (atlas.mixers.size() + columns - 1) / columns;
  const double width = std::max(space + static_cast<double>(columns) * (card_width + space), 940.0);
  return svg(width, header + static_cast<double>(rows) * (card_height + space), "Attention atlas", content);
}

Json cost_chart(const Atlas& atlas) {
  constexpr double plot_width = 640, plot_height = 460, name_size = 12.5, name_step = 15;
  double left = 1e300, right = 0, low = 1e300, high = 0;
  for (const AtlasMixer& mixer : atlas.mixers) {
    for (const AtlasCost& cost : mixer.costs) {
      const auto n = static_cast<double>(cost.n);
      left = std::min(left, n);
      right = std::max(right, n);
      low = std::min({low, cost.flops / n, cost.softmax_flops / n});
      high = std::max({high, cost.flops / n, cost.softmax_flops / n});
    }
  }
  if (left > right) left = right = low = high = 1;  // no costs
  if (left == right) right = 2 * left;
  low /= 1.25;
  high *= 1.25;
  const auto x_pixel = [&](double n) { return plot_width * std::log(n / left) / std::log(right / left); };
  const auto y_pixel = [&](double y) { return plot_height * (1 - std::log(y / low) / std::log(high / low)); };

  struct End {
    std::string name, colour;
    double x, line, label;
  };
  Json lines = Json::array(), crossings = Json::array();
  std::vector<End> ends;
  const auto add_line = [&](const AtlasMixer& mixer, const std::string& colour) {
    for (const AtlasCost& cost : mixer.costs) lines.push_back({{"mechanism", mixer.display_name}, {"n", cost.n}, {"flops", cost.flops / static_cast<double>(cost.n)}, {"colour", colour}});
    const AtlasCost& end = mixer.costs.back();
    const double y = y_pixel(end.flops / static_cast<double>(end.n));
    const std::string from = mixer.below_softmax_from && *mixer.below_softmax_from > 1 ? fmt::format(" (from {})", *mixer.below_softmax_from) : "";
    const std::string until = static_cast<double>(end.n) < right ? fmt::format(" (drawn to {})", end.n) : "";
    ends.push_back({mixer.display_name + from + until, colour, x_pixel(static_cast<double>(end.n)), y, y});
  };
  bool full = false;
  for (const AtlasMixer& mixer : atlas.mixers) {
    if (mixer.costs.empty()) continue;
    full = full || mixer.mixer == "softmax";
    add_line(mixer, family_named(mixer.family).colour);
    if (!mixer.below_softmax_from) continue;
    const AtlasCost* crossing = cost_at(mixer, *mixer.below_softmax_from);
    if (crossing == nullptr) continue;  // left of the plot
    const auto n = static_cast<double>(crossing->n);
    crossings.push_back({{"mechanism", mixer.display_name}, {"n", n}, {"flops", crossing->softmax_flops / n}, {"colour", family_named(mixer.family).colour}});
  }
  if (!full && !ends.empty()) {
    AtlasMixer reference;
    reference.display_name = "full attention";
    for (const AtlasCost& cost : atlas.mixers.front().costs) reference.costs.push_back({cost.n, cost.softmax_flops, 0, cost.softmax_flops});
    add_line(reference, families().front().colour);
  }
  // Names stand right of the plot, pushed apart: down where they would overlap, and all together up where they would leave the plot.
  std::stable_sort(ends.begin(), ends.end(), [](const End& a, const End& b) { return a.line < b.line; });
  for (std::size_t i = 1; i < ends.size(); ++i) ends[i].label = std::max(ends[i].label, ends[i - 1].label + name_step);
  for (std::size_t i = ends.size(); i-- > 0;) {
    const double lowest = i + 1 == ends.size() ? plot_height - 4 : ends[i + 1].label - name_step;
    ends[i].label = std::min(ends[i].label, lowest);
  }
  const auto x_field = [&](const char* title) {
    Json ticks = Json::array();
    for (double n = left; n <= right; n *= 4) ticks.push_back(n);
    return Json{{"field", "n"}, {"type", "quantitative"}, {"scale", {{"type", "log"}, {"domain", {left, right}}, {"nice", false}}}, {"axis", {{"title", title}, {"values", ticks}, {"format", "d"}}}};
  };
  Json y_ticks = Json::array();
  for (double power = 1; power < high; power *= 10) {
    for (const double tick : {power, 2 * power, 5 * power}) {
      if (tick > low && tick < high) y_ticks.push_back(tick);
    }
  }
  const Json y_field = {{"field", "flops"}, {"type", "quantitative"}, {"scale", {{"type", "log"}, {"domain", {low, high}}, {"nice", false}}},
                        {"axis", {{"title", "FLOPs per token (log scale)"}, {"values", y_ticks}, {"format", "~s"}}}};
  const Json colour = {{"field", "colour"}, {"type", "nominal"}, {"scale", nullptr}};
  const char* x_title = "Sequence length N (log scale)";
  Json layers = Json::array();
  layers.push_back({{"data", {{"values", lines}}}, {"mark", {{"type", "line"}, {"strokeWidth", 2.2}, {"opacity", 0.85}}},
                    {"encoding", {{"x", x_field(x_title)}, {"y", y_field}, {"detail", {{"field", "mechanism"}}}, {"color", colour}}}});
  if (!crossings.empty()) {
    layers.push_back({{"data", {{"values", crossings}}}, {"mark", {{"type", "point"}, {"filled", true}, {"size", 70}, {"stroke", "white"}, {"strokeWidth", 1.2}, {"opacity", 1}}},
                      {"encoding", {{"x", x_field(x_title)}, {"y", y_field}, {"color", colour}}}});
  }
  const auto fixed = [](double value) { return Json{{"value", std::round(value * 10) / 10}}; };
  const Json one = {{"values", Json::array({Json::object()})}};
  double side = 0;
  for (const End& end : ends) {
    layers.push_back({{"data", one}, {"mark", {{"type", "rule"}, {"color", end.colour}, {"strokeWidth", 0.9}, {"strokeDash", {2, 2}}, {"opacity", end.x < plot_width ? 0.45 : 1}}},
                      {"encoding", {{"x", fixed(end.x)}, {"y", fixed(end.line)}, {"x2", fixed(plot_width + 22)}, {"y2", fixed(end.label)}}}});
    layers.push_back({{"data", one}, {"mark", {{"type", "text"}, {"text", end.name}, {"align", "left"}, {"baseline", "middle"}, {"fontSize", name_size}, {"color", ink}, {"fontWeight", 600}}},
                      {"encoding", {{"x", fixed(plot_width + 26)}, {"y", fixed(end.label)}}}});
    side = std::max(side, text_width(end.name, name_size));
  }
  const std::string subtitle = fmt::format("One mixer with its projections and default options, width {}, {} heads. A level line is linear in N, a rising one quadratic. Points and (from N): fewer FLOPs than full attention from there on.",
                                           atlas.flops_d_model, atlas.flops_num_heads);
  return {{"$schema", "https://vega.github.io/schema/vega-lite/v6.json"},
          {"description", "FLOPs per token against sequence length"},
          {"title", {{"text", "Cost per token against sequence length"}, {"subtitle", wrap(subtitle, plot_width + 120, 13)}}},
          {"width", plot_width},
          {"height", plot_height},
          {"background", "white"},
          {"padding", {{"left", 14}, {"top", 14}, {"bottom", 14}, {"right", 40 + 0.1 * side}}},
          {"layer", layers},
          {"config",
           {{"font", "Arial, Helvetica, Liberation Sans, sans-serif"},
            {"view", {{"stroke", "#c9ccd1"}}},
            {"title", {{"anchor", "start"}, {"frame", "group"}, {"fontSize", 18}, {"fontWeight", 600}, {"color", ink}, {"subtitleFontSize", 13}, {"subtitleColor", grey_ink}, {"subtitlePadding", 6},
                       {"subtitleLineHeight", 17}, {"offset", 14}}},
            {"axis", {{"gridColor", "#eceef1"}, {"domain", false}, {"tickColor", "#c9ccd1"}, {"labelColor", "#444"}, {"titleColor", ink}, {"labelFontSize", 12.5}, {"titleFontSize", 13.5},
                      {"titleFontWeight", "normal"}, {"titlePadding", 10}}}}}};
}

std::string atlas_page(const Atlas& atlas, const std::string& cost_svg) {
  std::set<std::string> names;
  for (const AtlasMixer& mixer : atlas.mixers) names.insert(mixer.mixer);
  std::string html = page_head("Attention atlas") + page_style;
  html += fmt::format("<h1>Attention atlas</h1>\n<p class=\"lead\">{} mechanisms that mix the tokens of a sequence, in {} forms, side by side on {} tokens: who reads whom, at what cost, and in how many layers everything is "
                      "seen.</p>\n", names.size(), atlas.mixers.size(), atlas.n);
  html += fmt::format("<h2>How to read the maps</h2>\n<ul>\n<li>Row i is the token that is made, column j the token that is read: how much of token j goes into token i, in one layer, for each head. The upper "
                      "left corner is CLS, the first token.</li>\n<li>White is exactly nothing. Whatever is read has at least the palest shade; shades grow with the square root of the weight, up to the largest of the map. "
                      "The sign is not drawn.</li>\n<li>The mechanisms are not trained: weights as they are initialised (seed {}), input: {}, width {}, {} heads. What a trained model reads differs; what it "
                      "<i>can</i> read is the same.</li>\n<li>Windows, blocks and ranks are chosen for pictures of 64 tokens, not the defaults for long sequences.</li>\n"
                      "<li><b>Reach</b>: a layer lets a token read what its map shows, and itself (residual connection). Layers are stacked, each with weights and random patterns of its own, until every token has "
                      "seen every other. <span class=\"blind\" style=\"margin:0\">CLS blind</span>: the first token, from which a classifier may read its answer, never sees the whole sequence.</li>\n</ul>\n",
                      atlas.seed, escape_html(atlas.input), atlas.d_model, atlas.num_heads);
  html += "<h2>All of them</h2>\n<div class=\"overview\">" + overview_svg(atlas) + "</div>\n<p class=\"links\">Files: <a href=\"atlas.svg\">SVG</a> · <a href=\"atlas.png\">PNG</a></p>\n";
  for (std::size_t i = 0; i < atlas.mixers.size();) {  // in the order of their families
    const Family& family = family_named(atlas.mixers[i].family);
    std::string cards;
    for (; i < atlas.mixers.size() && &family_named(atlas.mixers[i].family) == &family; ++i) cards += card(atlas, i);
    html += fmt::format("<h2><span class=\"dot\" style=\"background:{}\"></span>{}</h2>\n<div class=\"cards\">\n{}</div>\n", family.colour, escape_html(family.title), cards);
  }
  html += "<h2>Cost against length</h2>\n<div class=\"cost\">" + (cost_svg.empty() ? "<p class=\"note\">Not rendered; the chart is in atlas_cost.vl.json.</p>" : cost_svg) +
          "</div>\n<p class=\"links\">Files: <a href=\"atlas_cost.vl.json\">Vega-Lite</a>" +
          (cost_svg.empty() ? "" : " · <a href=\"atlas_cost.svg\">SVG</a> · <a href=\"atlas_cost.png\">PNG</a> · <a href=\"atlas_cost.pdf\">PDF</a>") + "</p>\n";
  html += two_orders;
  const std::int64_t d = atlas.flops_d_model / atlas.flops_num_heads;
  for (const AtlasMixer& mixer : atlas.mixers) {
    if (mixer.mixer == "linear" && mixer.below_softmax_from) {
      html += fmt::format(" Here d = d′ = {}, and the {} takes fewer FLOPs from N = {} on: the formula's N = {}, and one more for its normaliser.", d, escape_html(mixer.display_name),
                          *mixer.below_softmax_from, d);
    }
  }
  html += fmt::format("</p>\n<h3>All numbers</h3>\n<p>FLOPs (2 for each multiplication and addition) of one mixer with its projections and default options, one sequence, width {}, {} heads. At short lengths the "
                      "projections, the same in almost all, are most of it. Blocks of a sparse pattern are computed whole; what a mask then hides is counted and shown as a share; "
                      "where a sequence just begins a new block, the cost may be above full attention's once more.</p>\n",
                      atlas.flops_d_model, atlas.flops_num_heads);
  return html + table(atlas) + "</main>\n</body>\n</html>\n";
}

std::string picture_name(const Atlas& atlas, std::size_t i) {
  const auto plain = [](const std::string& variant) {
    std::string name;
    for (const char c : variant.substr(0, 80)) name += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' ? c : '_';
    return name.empty() ? std::string("_") : name;
  };
  std::set<std::string> taken = {"atlas", "atlas_cost"};
  std::string name;
  for (std::size_t j = 0; j <= i; ++j) {
    name = plain(atlas.mixers[j].variant);
    for (int count = 2; taken.count(name) != 0; ++count) name = fmt::format("{}_{}", plain(atlas.mixers[j].variant), count);
    taken.insert(name);
  }
  return name;
}

std::vector<std::string> write_atlas(const Atlas& atlas, const fs::path& out, bool pictures) {
  for (std::size_t i = 0; i < atlas.mixers.size(); ++i) write_file_atomically(out / (picture_name(atlas, i) + ".svg"), mixer_svg(atlas.mixers[i]));
  const fs::path overview = out / "atlas.svg", chart = out / "atlas_cost.vl.json", chart_svg = out / "atlas_cost.svg";
  std::error_code code;
  for (const char* old : {"atlas.png", "atlas_cost.svg", "atlas_cost.png", "atlas_cost.pdf"}) fs::remove(out / old, code);
  write_file_atomically(overview, overview_svg(atlas));
  write_json(chart, cost_chart(atlas));
  std::vector<std::string> missing;
  if (const std::string problem = pictures ? render_charts({chart, overview}) : ""; !problem.empty()) missing.push_back(problem);
  write_file_atomically(out / "atlas.html", atlas_page(atlas, fs::exists(chart_svg) ? read_file(chart_svg) : ""));
  return missing;
}

}  // namespace lra::report
