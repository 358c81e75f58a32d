#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "core/text.h"
#include "report/atlas_parts.h"
#include "report/families.h"
#include "report/labels.h"
#include "report/tables.h"
#include "report/vega.h"

namespace lra::report {
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
  const auto part = [&](std::size_t i) {
    return static_cast<double>(std::stoi(colour.substr(1 + 2 * i, 2), nullptr, 16));
  };
  const Rgb full = {part(0), part(1), part(2)}, dark = mix(full, {0, 0, 0}, 0.5);
  const double t = static_cast<double>(level) / shades;
  const Rgb c = t <= 0.66 ? mix({255, 255, 255}, full, 0.12 + 0.88 * t / 0.66) : mix(full, dark, (t - 0.66) / 0.34);
  return fmt::format("#{:02x}{:02x}{:02x}", static_cast<int>(c[0]), static_cast<int>(c[1]), static_cast<int>(c[2]));
}

std::string framed_map(const AtlasMap& map, const std::string& colour, double x, double y, double pixels) {
  return fmt::format(
      "<g transform=\"translate({:g} {:g}) scale({:g})\">{}</g><rect x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" "
      "height=\"{:g}\" fill=\"none\" stroke=\"#b6bcc4\"/>\n",
      x, y, pixels / static_cast<double>(map.n), heat_map(map, colour), x - 0.5, y - 0.5, pixels + 1, pixels + 1);
}

// Arial's kin lack raised and lowered letters, accents alone and some signs, and a renderer that misses one may draw
// the whole line in another font: what they have stands in.
std::string picture_text(const std::string& escaped) {
  static const std::map<std::string, std::string> lowered = {
      {"ᵢ", "i"}, {"ⱼ", "j"}, {"ₖ", "k"}, {"ₜ", "t"}, {"ₕ", "h"}, {"ₘ", "m"}, {"ₙ", "n"}, {"₀", "0"}, {"₁", "1"},
      {"₂", "2"}, {"₃", "3"}, {"₄", "4"}, {"₅", "5"}, {"₆", "6"}, {"₇", "7"}, {"₈", "8"}, {"₉", "9"}};
  static const std::map<std::string, std::string> accents = {{"\u0302", "ˆ"}, {"\u0303", "˜"}, {"\u0304", "ˉ"}},
                                                  signs = {{"⊙", "◦"}, {"∘", "◦"}, {"‖", "||"}, {"∣", "|"}};
  std::string result, ends;
  const auto shifted = [&](const std::string& letter, double up) {
    result +=
        fmt::format("<tspan dy=\"{:g}em\" font-size=\"70%\">{}</tspan><tspan dy=\"{:g}em\">", -up, letter, 0.7 * up);
    ends += "</tspan>";
  };
  for (std::size_t at = 0, end = 0; at < escaped.size(); at = end) {
    for (end = at + 1; end < escaped.size() && (static_cast<unsigned char>(escaped[end]) & 0xC0) == 0x80;) ++end;
    const std::string one = escaped.substr(at, end - at);
    if (one == "ᵀ")
      shifted("T", 0.4);
    else if (lowered.count(one) != 0)
      shifted(lowered.at(one), -0.25);
    else if (accents.count(one) != 0)
      result += "<tspan dx=\"-0.42em\">" + accents.at(one) + "</tspan>";  // over the letter before
    else
      result += signs.count(one) != 0 ? signs.at(one) : one;
  }
  return result + ends;
}

std::string text(double x, double y, double size, const std::string& what, const std::string& colour = ink,
                 const std::string& more = "") {
  return fmt::format("<text x=\"{:g}\" y=\"{:g}\" font-size=\"{:g}\" fill=\"{}\"{}>{}</text>\n", x, y, size, colour,
                     more, picture_text(escape_html(what)));
}

std::string svg(double width, double height, const std::string& title, const std::string& content) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" width=\"{0:g}\" height=\"{1:g}\" "
      "font-family=\"{2}\" role=\"img\">\n<title>{3}</title>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{4}</svg>\n",
      width, height, font, escape_html(title), content);
}

// Heads that read the same places are one picture, and so are other maps of equal shades.
std::vector<const AtlasMap*> distinct_maps(const AtlasMixer& mixer) {
  std::set<std::vector<int>> known;
  std::vector<const AtlasMap*> maps;
  for (const AtlasMap& map : mixer.maps) {
    const double top = largest(map);
    std::vector<int> look;
    for (const double value : map.values)
      look.push_back(mixer.is_attention() ? std::min(shade(value, top), 1) : shade(value, top));
    if (known.insert(look).second) maps.push_back(&map);
  }
  return maps;
}

std::string reach_text(const AtlasMixer& mixer) {
  if (mixer.layers_all) return fmt::format("all see all: {}", layers_text(mixer.layers_all, 0));
  return fmt::format("all see all: {}", layers_text({}, mixer.layers_tried));
}

}  // namespace

double map_pixels(std::int64_t n, double about) {
  return static_cast<double>(n) * std::max(1.0, std::round(about / static_cast<double>(n)));
}

std::string layers_text(const std::optional<std::int64_t>& layers, std::int64_t tried) {
  if (layers) return fmt::format("{} layer{}", *layers, *layers == 1 ? "" : "s");
  return tried < 64 ? "never" : fmt::format("not in {} layers", tried);
}

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
  return "<g transform=\"translate(0 .5)\" shape-rendering=\"crispEdges\">" + content +
         "</g>";  // lines one unit wide, in the middle of their row
}

std::string mixer_svg(const AtlasMixer& mixer) {
  const Family& family = family_named(mixer.family);
  const double pixels = map_pixels(mixer.maps.front().n, 192), left = 20, top = 84, gap = 14;
  const double width = std::max(left + static_cast<double>(mixer.maps.size()) * (pixels + gap) + left - gap, 460.0);
  std::string content = text(left, 36, 22, mixer.display_name, ink, " font-weight=\"bold\"") +
                        text(left, 60, 15, mixer.formula, grey_ink);
  for (std::size_t i = 0; i < mixer.maps.size(); ++i) {
    const double x = left + static_cast<double>(i) * (pixels + gap);
    content += framed_map(mixer.maps[i], family.colour, x, top, pixels) +
               text(x + pixels / 2, top + pixels + 20, 14, mixer.maps[i].label, grey_ink, " text-anchor=\"middle\"");
  }
  content += text(left, top + pixels + 48, 14,
                  fmt::format("row: the token that is made · column: the token that is read · {} · cost {}",
                              reach_text(mixer), mixer.cost),
                  grey_ink);
  return svg(std::max(width, left + 560), top + pixels + 66, mixer.display_name, content);
}

std::string overview_svg(const Atlas& atlas) {
  constexpr double side = 200, gap_between_maps = 8, pad = 14, space = 14, header = 104, text_size = 14, line = 18;
  const std::size_t columns = std::min<std::size_t>(5, atlas.mixers.size());
  const double card_width = side + 2 * pad;
  std::size_t most_lines = 1;
  for (const AtlasMixer& mixer : atlas.mixers)
    most_lines = std::max(most_lines, wrap(mixer.formula, side, text_size).size());
  most_lines = std::min<std::size_t>(most_lines, 4);
  const double card_height = 58 + side + 14 + line * static_cast<double>(most_lines + 2) + 6;
  std::string content = text(space, 40, 26, "Who reads whom", ink, " font-weight=\"bold\"");
  content += text(space, 66, 15,
                  fmt::format("One layer on {} tokens. Row: the token that is made. Column: the token that is read. "
                              "White: not read; the darker, the more.",
                              atlas.n),
                  grey_ink);
  content += text(space, 88, 15,
                  "Heads that read the same places are drawn once. CLS blind: the first token never sees the whole "
                  "sequence, however many layers there are.",
                  grey_ink);
  for (std::size_t m = 0; m < atlas.mixers.size(); ++m) {
    const AtlasMixer& mixer = atlas.mixers[m];
    const Family& family = family_named(mixer.family);
    const double x = space + static_cast<double>(m % columns) * (card_width + space),
                 y = header + static_cast<double>(m / columns) * (card_height + space);
    content += fmt::format(
        "<g transform=\"translate({:g} {:g})\">\n<rect width=\"{:g}\" height=\"{:g}\" rx=\"5\" fill=\"#fff\" "
        "stroke=\"#d0d7de\"/><rect width=\"{:g}\" height=\"5\" rx=\"2\" fill=\"{}\"/>\n",
        x, y, card_width, card_height, card_width, family.colour);
    content += text(pad, 30, 17.5, mixer.display_name, ink, " font-weight=\"bold\"") +
               text(pad, 49, 13.5, family.title, grey_ink);
    if (mixer.cls_blind()) {
      content +=
          fmt::format("<rect x=\"{:g}\" y=\"36\" width=\"74\" height=\"18\" rx=\"4\" fill=\"{}\"/>",
                      card_width - pad - 74, warning) +
          text(card_width - pad - 37, 49.5, 13, "CLS blind", "#fff", " font-weight=\"bold\" text-anchor=\"middle\"");
    }
    const auto maps = distinct_maps(mixer);
    const double small = (side - gap_between_maps) / 2, top = maps.size() == 2 ? 60 + small / 2 : 60;
    if (maps.size() == 1) content += framed_map(*maps[0], family.colour, pad, 62, side - 8);
    for (std::size_t i = 0; maps.size() > 1 && i < std::min<std::size_t>(maps.size(), 4); ++i) {
      const double left = pad + static_cast<double>(i % 2) * (small + gap_between_maps),
                   upper = top + static_cast<double>(i / 2) * (small + gap_between_maps);
      content += framed_map(*maps[i], family.colour, left, upper, small);
      if (!mixer.is_attention())
        content += text(left + small / 2, upper + small + 17, 13, maps[i]->label, grey_ink, " text-anchor=\"middle\"");
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
    content += text(pad, baseline - line, text_size, "cost " + mixer.cost, grey_ink) +
               text(pad, baseline, text_size, reach_text(mixer), mixer.layers_all ? grey_ink : warning) + "</g>\n";
  }
  const std::size_t rows = (atlas.mixers.size() + columns - 1) / columns;
  const double width = std::max(space + static_cast<double>(columns) * (card_width + space), 940.0);
  return svg(width, header + static_cast<double>(rows) * (card_height + space), "Attention atlas", content);
}

}  // namespace lra::report
