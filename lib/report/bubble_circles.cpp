#include "report/bubble_circles.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "report/families.h"

namespace lra::report {
namespace {

double nice_below(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  return value >= 5 * power ? 5 * power : value >= 2 * power ? 2 * power : power;
}

Json legend(const CircleLook& look, Json options) {
  options["offset"] = look.legend_offset;
  if (look.narrow) options.update({{"orient", "bottom"}, {"columns", 3}, {"columnPadding", 8}});
  return options;
}

Json size_field(const Chart& chart, const CircleLook& look) {
  const double largest = std::max(look.largest / chart.bytes_per_unit, 1e-9), legend_largest = nice_below(largest);
  const double largest_area = std::acos(-1.0) * look.largest_radius * look.largest_radius;
  return {{"field", "memory"},
          {"type", "quantitative"},
          {"scale", {{"domain", {0, largest}}, {"range", {0, largest_area}}, {"zero", true}, {"nice", false}}},
          {"legend", legend(look, {{"title", fmt::format("{} ({})", chart.memory_title, chart.memory_unit)},
                                   {"values", {legend_largest / 10, legend_largest / 2.5, legend_largest}},
                                   {"format", ",~r"},
                                   {"symbolFillColor", line_grey},
                                   {"symbolOpacity", 0.7},
                                   {"symbolStrokeColor", line_grey}})}};
}

Json tooltip(const Chart& chart) {
  Json fields = {{{"field", "model"}, {"title", "Mechanism"}},
                 {{"field", "family"}, {"title", "Kind"}},
                 {{"field", "y"}, {"title", "Accuracy (%)"}, {"format", ".2f"}},
                 {{"field", "x"}, {"title", "Examples/s"}, {"format", ",.4~r"}},
                 {{"field", "memory"}, {"title", fmt::format("Memory ({})", chart.memory_unit)}, {"format", ",.4~r"}},
                 {{"field", "front"}, {"title", "Pareto front"}}};
  if (!chart.bubbles.front().source.empty()) fields.push_back({{"field", "source"}, {"title", "Source"}});
  return fields;
}

}  // namespace

Json circle_layer(const Chart& chart, const CircleLook& look, const Json& x, const Json& y) {
  Json bubbles = Json::array(), domain = Json::array(), colours = Json::array(), rims = Json::array();
  const auto by_place = [](const Family* a, const Family* b) { return comes_before(*a, *b); };
  std::set<const Family*, decltype(by_place)> present(by_place);
  for (std::size_t i = 0; i < chart.bubbles.size(); ++i) {
    const Bubble& bubble = chart.bubbles[i];
    const Family& family = family_of(bubble.mixer);
    present.insert(&family);
    Json item = {{"model", bubble.label},
                 {"key", bubble.key},
                 {"family", family.title},
                 {"x", bubble.x},
                 {"y", bubble.y},
                 {"memory", bubble.bytes / chart.bytes_per_unit},
                 {"front", look.front[i] ? "yes" : "no"}};
    if (!bubble.source.empty()) item["source"] = bubble.source;
    bubbles.push_back(item);
  }
  // Small circles in front of large ones.
  std::stable_sort(bubbles.begin(), bubbles.end(),
                   [](const Json& a, const Json& b) { return a["memory"].get<double>() > b["memory"].get<double>(); });
  for (const Family* family : present) {
    domain.push_back(family->title);
    colours.push_back(family->colour);
    rims.push_back(family->strong);
  }
  const Json title = {{"title", "Token mixing"},
                      {"symbolType", "circle"},
                      {"symbolSize", 120},
                      {"symbolOpacity", 1},
                      {"symbolStrokeWidth", 1.5}};
  const auto of_family = [&](const Json& range) {
    return Json{{"field", "family"},
                {"type", "nominal"},
                {"scale", {{"domain", domain}, {"range", range}}},
                {"legend", legend(look, title)}};
  };
  const auto on_front = [](const Json& value) { return Json{{"test", "datum.front === 'yes'"}, {"value", value}}; };
  Json stroke = of_family(rims);
  stroke["condition"] = on_front(ink);
  return layer(bubbles, {{"type", "circle"}, {"opacity", 1}, {"fillOpacity", 0.62}, {"strokeOpacity", 1}},
               {{"x", x},
                {"y", y},
                {"stroke", stroke},
                {"strokeWidth", {{"condition", on_front(2.2)}, {"value", 1.5}}},
                {"size", size_field(chart, look)},
                {"fill", of_family(colours)},
                {"tooltip", tooltip(chart)}});
}

}  // namespace lra::report
