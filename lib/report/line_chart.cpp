#include "report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "report/chart_parts.h"
#include "report/families.h"
#include "report/labels.h"

namespace lra::report {
namespace {

/// At most about `most` points of a curve: its ends, and of each stretch the lowest and the highest.
std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points, std::size_t most) {
  if (points.size() <= most) return points;
  std::vector<std::pair<double, double>> kept = {points.front()};
  const std::size_t inner = points.size() - 2, stretches = (most - 2) / 2;
  for (std::size_t i = 0; i < stretches; ++i) {
    const auto begin = points.begin() + 1 + static_cast<std::ptrdiff_t>(i * inner / stretches),
               end = points.begin() + 1 + static_cast<std::ptrdiff_t>((i + 1) * inner / stretches);
    auto [low, high] =
        std::minmax_element(begin, end, [](const auto& a, const auto& b) { return a.second < b.second; });
    if (low > high) std::swap(low, high);
    kept.push_back(*low);
    if (low != high) kept.push_back(*high);
  }
  kept.push_back(points.back());
  return kept;
}

}  // namespace

Drawing draw(const LineChart& whole, const Layout& layout) {
  constexpr std::size_t most_points = 400;  // as many as there are pixels, nearly
  LineChart chart = whole;
  bool thin = false;
  for (Line& line : chart.lines) {
    thin = thin || line.points.size() > most_points;
    line.points = thinned(line.points, most_points);
  }
  std::vector<std::pair<double, double>> xs, ys;
  double names_width = 0;
  const std::size_t name_length = layout.narrow ? 18 : 36;
  const double size = small_size(layout);
  std::vector<std::string> texts;
  for (const Line& line : chart.lines) texts.push_back(line.label);
  texts = shorten_all(texts, name_length);
  for (std::size_t i = 0; i < chart.lines.size(); ++i) {
    const Line& line = chart.lines[i];
    names_width = std::max(names_width, text_width(texts[i], size));
    for (const auto& [x, y] : line.points) {
      xs.emplace_back(x, 4);
      ys.emplace_back(y, 10);
    }
  }
  for (const auto& [name, value] : chart.levels) ys.emplace_back(value, 10);
  if (xs.empty()) {
    xs = {{1, 0}, {10, 0}};
    ys = {{1, 0}, {10, 0}};
  }
  // The names stand right of the plot, inside the width that other charts give their legends.
  Layout plot = layout;
  plot.width = layout.narrow ? layout.width - names_width - 8 : layout.width;
  const Axis x = fit_axis(xs, plot.width, chart.log_x, 1e-6);
  const Axis y = fit_axis(ys, plot.height, chart.log_y, chart.log_y ? 0.5 : chart.narrowest_y);
  const Json x_field = axis_field("x", x, chart.x_title + (chart.log_x ? ", log scale" : ""), ",~r", layout);
  const Json y_field = axis_field("y", y, chart.y_title + (chart.log_y ? ", log scale" : ""), ",~r", layout);
  Json layers = Json::array(), level_lines = Json::array();
  for (const auto& [name, value] : chart.levels) level_lines.push_back({{"y", value}});
  if (!chart.levels.empty()) {
    layers.push_back(layer(level_lines, {{"type", "rule"}, {"strokeDash", {5, 4}}, {"color", line_grey}},
                           {{"x", pixels(0)}, {"x2", pixels(plot.width)}, {"y", y_field}}));
  }

  Json points = Json::array();
  Json domain = Json::array(), colours = Json::array(), dashes = Json::array();
  std::map<std::string, int> of_family;
  static const std::vector<Json> patterns = {{1, 0}, {6, 3}, {2, 2}, {8, 3, 2, 3}, {4, 1}, {1, 3}};
  struct Name {
    double y, end_x, end_y;
    std::string text, model;
  };
  std::vector<Name> names;
  for (std::size_t i = 0; i < chart.lines.size(); ++i) {
    const Line& line = chart.lines[i];
    const Family& family = family_of(line.mixer);
    domain.push_back(line.label);
    colours.push_back(family.strong);
    dashes.push_back(patterns[static_cast<std::size_t>(of_family[family.name]++) % patterns.size()]);
    for (const auto& [px, py] : line.points) points.push_back({{"model", line.label}, {"x", px}, {"y", py}});
    if (line.points.empty()) continue;
    const double end = layout.height - y.pixel(line.points.back().second);
    if (names.size() >= most_names - chart.levels.size()) continue;
    names.push_back({end, x.pixel(line.points.back().first), end, texts[i], line.label});
  }
  for (const auto& [name, value] : chart.levels) {
    const double end = layout.height - y.pixel(value);
    names.push_back({end, plot.width, end, shorten(name, name_length), name});
  }
  for (const auto& [name, value] : chart.levels) {
    domain.push_back(name);
    colours.push_back(line_grey);
    dashes.push_back(patterns[1]);
  }
  const double room =
      names.empty() ? size + 2 : std::min(size + 2, (layout.height + 24) / static_cast<double>(names.size()));
  const double text_size = std::min(size, room - 1);
  std::vector<double> wanted;
  std::stable_sort(names.begin(), names.end(), [](const Name& a, const Name& b) { return a.y < b.y; });
  for (const Name& name : names) wanted.push_back(name.y);
  const auto places = spread(wanted, room, -12, layout.height + 12);
  Json labels = Json::array();
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Name& name = names[i];
    labels.push_back({{"text", name.text},
                      {"model", name.model},
                      {"px", plot.width + 16},
                      {"py", places[i]},
                      {"ex", std::max(name.end_x, 0.0)},
                      {"ey", name.end_y},
                      {"lx", plot.width + 13}});
  }
  const Json colour = {{"field", "model"},
                       {"type", "nominal"},
                       {"scale", {{"domain", domain}, {"range", colours}}},
                       {"legend", nullptr}};
  const Json faded = {{"condition", {{"param", "near"}, {"value", 1}, {"empty", true}}}, {"value", 0.15}};
  if (!labels.empty()) {
    layers.push_back(layer(labels, {{"type", "rule"}, {"strokeWidth", 0.9}, {"clip", false}},
                           {{"x", pixel_field("ex")},
                            {"y", pixel_field("ey")},
                            {"x2", {{"field", "lx"}}},
                            {"y2", {{"field", "py"}}},
                            {"color", colour},
                            {"opacity", faded}}));
    layers.push_back(layer(
        labels, {{"type", "text"}, {"align", "left"}, {"baseline", "middle"}, {"fontSize", text_size}, {"color", ink}},
        {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"text", {{"field", "text"}}}, {"opacity", faded}}));
  }
  layers.push_back(layer(points, {{"type", "line"}, {"strokeWidth", 1.8}},
                         {{"x", x_field},
                          {"y", y_field},
                          {"color", colour},
                          {"opacity", faded},
                          {"strokeDash",
                           {{"field", "model"},
                            {"type", "nominal"},
                            {"scale", {{"domain", domain}, {"range", dashes}}},
                            {"legend", nullptr}}}}));
  layers.push_back(layer(points, {{"type", "circle"}, {"size", 26}},
                         {{"x", x_field},
                          {"y", y_field},
                          {"color", colour},
                          {"opacity", faded},
                          {"tooltip",
                           {{{"field", "model"}, {"title", "Mechanism"}},
                            {{"field", "x"}, {"title", chart.x_title}, {"format", ",~r"}},
                            {{"field", "y"}, {"title", chart.y_title}, {"format", ",.4~r"}}}}}));
  layers.back()["params"] = {
      {{"name", "near"},
       {"select", {{"type", "point"}, {"on", "pointerover"}, {"clear", "pointerout"}, {"fields", {"model"}}}}}};
  std::vector<std::string> caption = chart.caption;
  if (thin)
    caption.push_back(fmt::format(
        "Of curves with more than {} points every stretch is drawn with its lowest and highest.", most_points));
  add_not_drawn(caption, chart.not_drawn);
  return {chart_spec(chart.title, chart.subtitle, plot, std::move(layers)), caption};
}

}  // namespace lra::report
