#include "report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "report/chart_parts.h"
#include "report/families.h"
#include "report/labels.h"

namespace lra::report {
namespace {

constexpr double edge = 14;

double nice_below(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  return value >= 5 * power ? 5 * power : value >= 2 * power ? 2 * power : power;
}

}  // namespace

Drawing draw(const Chart& chart, const Layout& layout) {
  const double largest_radius = layout.narrow ? 24 : 34;
  double largest = 0, smallest_x = 1e300, largest_x = 0, low_y = 1e300, high_y = -1e300;
  for (const Bubble& bubble : chart.bubbles) {
    largest = std::max(largest, bubble.bytes);
    smallest_x = std::min(smallest_x, bubble.x);
    largest_x = std::max(largest_x, bubble.x);
    low_y = std::min(low_y, bubble.y);
    high_y = std::max(high_y, bubble.y);
  }
  const double largest_area = std::acos(-1.0) * largest_radius * largest_radius;
  const auto radius = [&](const Bubble& bubble) {
    return largest_radius * std::sqrt(bubble.bytes / std::max(largest, 1.0));
  };

  std::vector<std::string> caption = chart.caption;
  std::vector<std::pair<std::string, double>> levels, far_levels;
  const double reach = 0.8 * std::max(high_y - low_y, 10.0);  // a level farther away would squeeze the bubbles
  for (const auto& level : chart.levels)
    (level.second > low_y - reach && level.second < high_y + reach ? levels : far_levels).push_back(level);
  std::sort(levels.begin(), levels.end(), [](const auto& a, const auto& b) { return a.second > b.second; });

  std::vector<std::pair<double, double>> xs, ys;
  for (const Bubble& bubble : chart.bubbles) {
    xs.emplace_back(bubble.x, radius(bubble) + 2 * edge);
    ys.emplace_back(bubble.y, radius(bubble) + edge);
    ys.emplace_back(bubble.y - bubble.error, edge);
    ys.emplace_back(bubble.y + bubble.error, edge);
  }
  for (const auto& [name, value] : levels) ys.emplace_back(value, edge);
  if (chart.bubbles.empty()) {
    xs = {{1, 0}, {10, 0}};
    ys.emplace_back(0, 0);
    ys.emplace_back(100, 0);
  }
  const bool log = !chart.bubbles.empty() && chart.log_x.value_or(largest_x > 8 * smallest_x);
  Axis x = fit_axis(xs, layout.width, log, log ? 0.5 : std::max(0.2 * largest_x, 1e-6));
  const Axis y = fit_axis(ys, layout.height, false, 4);
  if (!log && x.low < 0) {
    x.low = 0;
    std::erase_if(x.ticks, [](double tick) { return tick < 0; });
  }
  const auto down = [&](double value) { return layout.height - y.pixel(value); };

  std::vector<LabelledBubble> labelled;
  std::vector<double> level_pixels;
  for (const auto& level : levels) level_pixels.push_back(down(level.second));
  std::vector<std::string> texts;
  for (const Bubble& bubble : chart.bubbles) texts.push_back(bubble.label);
  texts = shorten_all(texts, layout.narrow ? 22 : 36);
  for (std::size_t i = 0; i < chart.bubbles.size(); ++i) {
    const Bubble& bubble = chart.bubbles[i];
    const Point centre{x.pixel(bubble.x), down(bubble.y)};
    labelled.push_back({centre, radius(bubble), centre.y - down(bubble.y + bubble.error), texts[i]});
  }
  const std::size_t room = std::clamp<std::size_t>(4000 / std::max<std::size_t>(labelled.size(), 1), 5, most_names);
  if (labelled.size() > room) {  // those on the front, then the most accurate
    const std::vector<bool> front = pareto_front(chart.bubbles);
    std::vector<std::size_t> order(labelled.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::pair(front[a], chart.bubbles[a].y) > std::pair(front[b], chart.bubbles[b].y);
    });
    for (std::size_t i = room; i < order.size(); ++i) labelled[order[i]].text.clear();
  }
  const auto labels = place_labels(labelled, layout.width, layout.height, level_pixels, name_size(layout));

  Json bubbles = Json::array(), bars = Json::array();
  const auto by_place = [](const Family* a, const Family* b) { return comes_before(*a, *b); };
  std::set<const Family*, decltype(by_place)> present(by_place);
  const std::vector<bool> front = pareto_front(chart.bubbles);
  for (std::size_t i = 0; i < chart.bubbles.size(); ++i) {
    const Bubble& bubble = chart.bubbles[i];
    const Family& family = family_of(bubble.mixer);
    present.insert(&family);
    Json item = {{"model", bubble.label},
                 {"family", family.title},
                 {"x", bubble.x},
                 {"y", bubble.y},
                 {"memory", bubble.bytes / chart.bytes_per_unit},
                 {"front", front[i] ? "yes" : "no"}};
    if (!bubble.source.empty()) item["source"] = bubble.source;
    bubbles.push_back(item);
    if (bubble.error > 0)
      bars.push_back({{"x", bubble.x}, {"low", bubble.y - bubble.error}, {"high", bubble.y + bubble.error}});
  }
  // Small circles in front of large ones.
  std::stable_sort(bubbles.begin(), bubbles.end(),
                   [](const Json& a, const Json& b) { return a["memory"].get<double>() > b["memory"].get<double>(); });
  Json domain = Json::array(), colours = Json::array(), rims = Json::array();
  for (const Family* family : present) {
    domain.push_back(family->title);
    colours.push_back(family->colour);
    rims.push_back(family->strong);
  }

  const Json x_field = axis_field("x", x, chart.x_title + (log ? ", log scale" : ""), ",~r", layout);
  const auto y_field = [&](const char* field) { return axis_field(field, y, chart.y_title, "~r", layout); };

  // Names of the dashed lines stand right of the plot, pushed apart where lines are close; the legends stand beyond
  // them. Without that room they are in the caption.
  Json level_lines = Json::array(), level_names = Json::array(), layers = Json::array();
  double side = 0, last = -1e300;
  std::vector<std::string> level_texts;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    std::string name = levels[i].first;
    std::replace(name.begin(), name.end(), '_', ' ');
    level_texts.push_back(fmt::format("{} {:.1f}", name, levels[i].second));
    level_lines.push_back({{"y", levels[i].second}});
    last = std::max(last + small_size(layout) + 3, level_pixels[i]);
    level_names.push_back({{"text", level_texts.back()}, {"py", last}});
    if (!layout.narrow) side = std::max(side, text_width(level_texts.back(), small_size(layout)) + 14);
  }
  if (!levels.empty()) {
    layers.push_back(layer(level_lines,
                           {{"type", "rule"}, {"strokeDash", {5, 4}}, {"color", line_grey}, {"strokeWidth", 1}},
                           {{"x", pixels(0)}, {"x2", pixels(layout.width)}, {"y", y_field("y")}}));
    if (layout.narrow)
      caption.push_back(fmt::format("Dashed lines: {}.", sentence_list(level_texts)));
    else
      layers.push_back(
          layer(level_names,
                {{"type", "text"},
                 {"align", "left"},
                 {"baseline", "middle"},
                 {"fontSize", small_size(layout)},
                 {"color", grey_ink}},
                {{"x", pixels(layout.width + 6)}, {"y", pixel_field("py")}, {"text", {{"field", "text"}}}}));
  }
  if (!bars.empty()) {
    layers.push_back(layer(bars, {{"type", "rule"}, {"color", grey_ink}, {"strokeWidth", 1.1}, {"opacity", 0.75}},
                           {{"x", x_field}, {"y", y_field("low")}, {"y2", {{"field", "high"}}}}));
  }
  const double legend_largest = nice_below(std::max(largest / chart.bytes_per_unit, 1e-9));
  const Json sizes = {legend_largest / 10, legend_largest / 2.5, legend_largest};
  Json tooltip = {{{"field", "model"}, {"title", "Mechanism"}},
                  {{"field", "family"}, {"title", "Kind"}},
                  {{"field", "y"}, {"title", "Accuracy (%)"}, {"format", ".2f"}},
                  {{"field", "x"}, {"title", "Examples/s"}, {"format", ",.4~r"}},
                  {{"field", "memory"}, {"title", fmt::format("Memory ({})", chart.memory_unit)}, {"format", ",.4~r"}},
                  {{"field", "front"}, {"title", "Pareto front"}}};
  if (!chart.bubbles.empty() && !chart.bubbles.front().source.empty())
    tooltip.push_back({{"field", "source"}, {"title", "Source"}});
  const auto legend = [&](Json options) {
    options["offset"] = layout.narrow ? 10.0 : 18 + side;
    if (layout.narrow) options.update({{"orient", "bottom"}, {"columns", 3}, {"columnPadding", 8}});
    return options;
  };
  const auto of_family = [&](const Json& range, Json more) {
    more.update({{"field", "family"},
                 {"type", "nominal"},
                 {"scale", {{"domain", domain}, {"range", range}}},
                 {"legend", legend({{"title", "Token mixing"},
                                    {"symbolType", "circle"},
                                    {"symbolSize", 120},
                                    {"symbolOpacity", 1},
                                    {"symbolStrokeWidth", 1.5}})}});
    return more;
  };
  const auto on_front = [&](const Json& value) {
    return Json{{"condition", {{"test", "datum.front === 'yes'"}, {"value", value}}}};
  };
  const auto circles = static_cast<Json::difference_type>(layers.size());
  layers.push_back(
      layer(bubbles, {{"type", "circle"}, {"opacity", 1}, {"fillOpacity", 0.62}, {"strokeOpacity", 1}},
            {{"x", x_field},
             {"y", y_field("y")},
             {"stroke", of_family(rims, on_front(ink))},
             {"strokeWidth", {{"condition", {{"test", "datum.front === 'yes'"}, {"value", 2.2}}}, {"value", 1.5}}},
             {"size",
              {{"field", "memory"},
               {"type", "quantitative"},
               {"scale",
                {{"domain", {0, std::max(largest / chart.bytes_per_unit, 1e-9)}},
                 {"range", {0, largest_area}},
                 {"zero", true},
                 {"nice", false}}},
               {"legend", legend({{"title", fmt::format("{} ({})", chart.memory_title, chart.memory_unit)},
                                  {"values", sizes},
                                  {"format", ",~r"},
                                  {"symbolFillColor", line_grey},
                                  {"symbolOpacity", 0.7},
                                  {"symbolStrokeColor", line_grey}})}}},
             {"fill", of_family(colours, Json::object())},
             {"tooltip", tooltip}}));
  if (chart.bubbles.empty()) {
    for (const char* channel : {"size", "fill", "stroke"}) layers.back()["encoding"][channel]["legend"] = nullptr;
    layers.push_back(layer(Json::array({Json::object()}),
                           {{"type", "text"},
                            {"text", "No run has both a score and a measured speed."},
                            {"fontSize", layout.narrow ? 11 : 15},
                            {"color", grey_ink}},
                           {{"x", pixels(layout.width / 2)}, {"y", pixels(layout.height / 2)}}));
  }
  std::vector<std::string> nameless;
  Json names = Json::array(), leaders = Json::array(), papers = Json::array();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const PlacedLabel& label = labels[i];
    if (!label.placed) {
      nameless.push_back(texts[i]);
      continue;
    }
    const auto rounded = [](double value) { return std::round(value * 10) / 10; };
    if (label.leader)
      leaders.push_back({{"px", rounded(label.from.x)},
                         {"py", rounded(label.from.y)},
                         {"qx", rounded(label.to.x)},
                         {"qy", rounded(label.to.y)}});
    papers.push_back({{"px", rounded(label.box.left + 2)},
                      {"py", rounded(label.box.top + 1)},
                      {"qx", rounded(label.box.right - 2)},
                      {"qy", rounded(label.box.bottom - 1)}});
    names.push_back({{"text", labelled[i].text},
                     {"px", rounded((label.box.left + label.box.right) / 2)},
                     {"py", rounded((label.box.top + label.box.bottom) / 2)}});
  }
  if (!leaders.empty()) {
    layers.push_back(layer(
        leaders, {{"type", "rule"}, {"color", line_grey}, {"strokeWidth", 0.8}},
        {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"x2", {{"field", "qx"}}}, {"y2", {{"field", "qy"}}}}));
  }
  if (!names.empty()) {
    // Paper behind each name, so that it stands out where it must lie on a bar or a line; circles are never hidden.
    layers.insert(layers.begin() + circles,
                  layer(papers, {{"type", "rect"}, {"color", "white"}, {"opacity", 0.8}, {"tooltip", nullptr}},
                        {{"x", pixel_field("px")},
                         {"y", pixel_field("py")},
                         {"x2", {{"field", "qx"}}},
                         {"y2", {{"field", "qy"}}}}));
    layers.push_back(layer(names,
                           {{"type", "text"},
                            {"align", "center"},
                            {"baseline", "middle"},
                            {"fontSize", name_size(layout)},
                            {"color", ink}},
                           {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"text", {{"field", "text"}}}}));
  }

  if (!chart.bubbles.empty()) {
    caption.push_back(
        "Dark rim: on the Pareto front; no other is at least as accurate, as fast and as small, and ahead in one of "
        "them by more than the error bars of both.");
  }
  if (!far_levels.empty()) {
    std::vector<std::string> far;
    for (const auto& [name, value] : far_levels) far.push_back(fmt::format("{} {:.1f} %", name, value));
    caption.push_back("Reference levels outside the plot: " + sentence_list(far) + ".");
  }
  if (nameless.size() > most_names)
    caption.push_back(fmt::format("Without room for a name: {} mechanisms.", nameless.size()));
  else if (!nameless.empty())
    caption.push_back("Without room for a name: " + sentence_list(nameless) + ".");
  add_not_drawn(caption, chart.not_drawn);
  return {chart_spec(chart.title, chart.subtitle, layout, std::move(layers)), caption};
}

}  // namespace lra::report
