#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/atlas_parts.h"
#include "report/families.h"
#include "report/labels.h"
#include "report/vega.h"

namespace lra::report {

const AtlasCost* cost_at(const AtlasMixer& mixer, std::int64_t n) {
  for (const AtlasCost& cost : mixer.costs) {
    if (cost.n == n) return &cost;
  }
  return nullptr;
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
    for (const AtlasCost& cost : mixer.costs)
      lines.push_back({{"mechanism", mixer.display_name},
                       {"n", cost.n},
                       {"flops", cost.flops / static_cast<double>(cost.n)},
                       {"colour", colour}});
    const AtlasCost& end = mixer.costs.back();
    const double y = y_pixel(end.flops / static_cast<double>(end.n));
    const std::string from = mixer.below_softmax_from && *mixer.below_softmax_from > 1
                                 ? fmt::format(" (from {})", *mixer.below_softmax_from)
                                 : "";
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
    crossings.push_back({{"mechanism", mixer.display_name},
                         {"n", n},
                         {"flops", crossing->softmax_flops / n},
                         {"colour", family_named(mixer.family).colour}});
  }
  if (!full && !ends.empty()) {
    AtlasMixer reference;
    reference.display_name = "full attention";
    for (const AtlasCost& cost : atlas.mixers.front().costs)
      reference.costs.push_back({cost.n, cost.softmax_flops, 0, cost.softmax_flops});
    add_line(reference, families().front().colour);
  }
  // Names stand right of the plot, pushed apart: down where they would overlap, and all together up where they would
  // leave the plot.
  std::stable_sort(ends.begin(), ends.end(), [](const End& a, const End& b) { return a.line < b.line; });
  for (std::size_t i = 1; i < ends.size(); ++i) ends[i].label = std::max(ends[i].label, ends[i - 1].label + name_step);
  for (std::size_t i = ends.size(); i-- > 0;) {
    const double lowest = i + 1 == ends.size() ? plot_height - 4 : ends[i + 1].label - name_step;
    ends[i].label = std::min(ends[i].label, lowest);
  }
  const auto x_field = [&](const char* title) {
    Json ticks = Json::array();
    for (double n = left; n <= right; n *= 4) ticks.push_back(n);
    return Json{{"field", "n"},
                {"type", "quantitative"},
                {"scale", {{"type", "log"}, {"domain", {left, right}}, {"nice", false}}},
                {"axis", {{"title", title}, {"values", ticks}, {"format", "d"}}}};
  };
  Json y_ticks = Json::array();
  for (double power = 1; power < high; power *= 10) {
    for (const double tick : {power, 2 * power, 5 * power}) {
      if (tick > low && tick < high) y_ticks.push_back(tick);
    }
  }
  const Json y_field = {{"field", "flops"},
                        {"type", "quantitative"},
                        {"scale", {{"type", "log"}, {"domain", {low, high}}, {"nice", false}}},
                        {"axis", {{"title", "FLOPs per token (log scale)"}, {"values", y_ticks}, {"format", "~s"}}}};
  const Json colour = {{"field", "colour"}, {"type", "nominal"}, {"scale", nullptr}};
  const char* x_title = "Sequence length N (log scale)";
  Json layers = Json::array();
  layers.push_back(
      {{"data", {{"values", lines}}},
       {"mark", {{"type", "line"}, {"strokeWidth", 2.2}, {"opacity", 0.85}}},
       {"encoding",
        {{"x", x_field(x_title)}, {"y", y_field}, {"detail", {{"field", "mechanism"}}}, {"color", colour}}}});
  if (!crossings.empty()) {
    layers.push_back({{"data", {{"values", crossings}}},
                      {"mark",
                       {{"type", "point"},
                        {"filled", true},
                        {"size", 70},
                        {"stroke", "white"},
                        {"strokeWidth", 1.2},
                        {"opacity", 1}}},
                      {"encoding", {{"x", x_field(x_title)}, {"y", y_field}, {"color", colour}}}});
  }
  const auto fixed = [](double value) { return Json{{"value", std::round(value * 10) / 10}}; };
  const Json one = {{"values", Json::array({Json::object()})}};
  double side = 0;
  for (const End& end : ends) {
    layers.push_back(
        {{"data", one},
         {"mark",
          {{"type", "rule"},
           {"color", end.colour},
           {"strokeWidth", 0.9},
           {"strokeDash", {2, 2}},
           {"opacity", end.x < plot_width ? 0.45 : 1}}},
         {"encoding",
          {{"x", fixed(end.x)}, {"y", fixed(end.line)}, {"x2", fixed(plot_width + 22)}, {"y2", fixed(end.label)}}}});
    layers.push_back({{"data", one},
                      {"mark",
                       {{"type", "text"},
                        {"text", end.name},
                        {"align", "left"},
                        {"baseline", "middle"},
                        {"fontSize", name_size},
                        {"color", ink},
                        {"fontWeight", 600}}},
                      {"encoding", {{"x", fixed(plot_width + 26)}, {"y", fixed(end.label)}}}});
    side = std::max(side, text_width(end.name, name_size));
  }
  const std::string subtitle = fmt::format(
      "One mixer with its projections and default options, width {}, {} heads. A level line is linear in N, a rising "
      "one quadratic. Points and (from N): fewer FLOPs than full attention from there on.",
      atlas.flops_d_model, atlas.flops_num_heads);
  return {{"$schema", "https://vega.github.io/schema/vega-lite/v6.json"},
          {"description", "FLOPs per token against sequence length"},
          {"title",
           {{"text", "Cost per token against sequence length"}, {"subtitle", wrap(subtitle, plot_width + 120, 13)}}},
          {"width", plot_width},
          {"height", plot_height},
          {"background", "white"},
          {"padding", {{"left", 14}, {"top", 14}, {"bottom", 14}, {"right", 40 + 0.1 * side}}},
          {"layer", layers},
          {"config",
           {{"font", "Arial, Helvetica, Liberation Sans, sans-serif"},
            {"view", {{"stroke", "#c9ccd1"}}},
            {"title",
             {{"anchor", "start"},
              {"frame", "group"},
              {"fontSize", 18},
              {"fontWeight", 600},
              {"color", ink},
              {"subtitleFontSize", 13},
              {"subtitleColor", grey_ink},
              {"subtitlePadding", 6},
              {"subtitleLineHeight", 17},
              {"offset", 14}}},
            {"axis",
             {{"gridColor", "#eceef1"},
              {"domain", false},
              {"tickColor", "#c9ccd1"},
              {"labelColor", "#444"},
              {"titleColor", ink},
              {"labelFontSize", 12.5},
              {"titleFontSize", 13.5},
              {"titleFontWeight", "normal"},
              {"titlePadding", 10}}}}}};
}

}  // namespace lra::report
