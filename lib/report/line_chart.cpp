#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "report/chart_parts.h"
#include "report/charts.h"
#include "report/families.h"
#include "report/labels.h"

namespace lra::report {
namespace {

constexpr std::size_t most_points = 400;    // as many as there are pixels, nearly
constexpr std::size_t lines_in_colour = 8;  // of more, only the best are
constexpr std::size_t best_of_many = 5;

/// At most about `most` points of a curve: its ends, and of each stretch the lowest and the highest.
std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points, std::size_t most) {
  if (points.size() <= most) return points;
  std::vector<std::pair<double, double>> kept = {points.front()};
  const std::size_t inner = points.size() - 2, stretches = (most - 2) / 2;
  for (std::size_t i = 0; i < stretches; ++i) {
    const auto begin = points.begin() + 1 + static_cast<std::ptrdiff_t>(i * inner / stretches);
    const auto end = points.begin() + 1 + static_cast<std::ptrdiff_t>((i + 1) * inner / stretches);
    auto [low, high] =
        std::minmax_element(begin, end, [](const auto& a, const auto& b) { return a.second < b.second; });
    if (low > high) std::swap(low, high);
    kept.push_back(*low);
    if (low != high) kept.push_back(*high);
  }
  kept.push_back(points.back());
  return kept;
}

/// One drawing of a chart of lines, whose names stand right of the plot, inside the width that other charts give their
/// legends.
class LineDrawing {
 public:
  LineDrawing(const LineChart& chart, const Layout& layout) : chart_(chart), layout_(layout), plot_(layout) {
    for (Line& line : chart_.lines) {
      thin_ = thin_ || line.points.size() > most_points;
      line.points = thinned(line.points, most_points);
    }
    std::erase_if(chart_.lines, [](const Line& line) { return line.points.empty(); });
    for (const Line& line : chart_.lines) texts_.push_back(line.label);
    texts_ = shorten_all(texts_, name_length());
    double names_width = 0;
    for (const std::string& text : texts_) names_width = std::max(names_width, text_width(text, small_size(layout_)));
    if (layout.narrow) plot_.width = layout.width - names_width - 8;
    choose_best();
    fit_axes();
    choose_looks();
  }

  Drawing draw() {
    add_levels();
    add_names();
    add_lines();
    std::vector<std::string> caption = chart_.caption;
    if (many()) {
      caption.push_back(fmt::format("In colour: the {} best at the end{}. The others are grey.", best_of_many,
                                    reference_ ? " and full attention" : ""));
    }
    if (thin_) {
      caption.push_back(fmt::format(
          "Of curves with more than {} points every stretch is drawn with its lowest and highest.", most_points));
    }
    add_not_drawn(caption, chart_.not_drawn);
    return {chart_spec(chart_.title, chart_.subtitle, plot_, std::move(layers_)), caption};
  }

 private:
  std::size_t name_length() const { return layout_.narrow ? 18 : 36; }
  bool many() const { return chart_.lines.size() > lines_in_colour; }

  /// Those that are drawn in colour.
  void choose_best() {
    std::vector<std::size_t> order(chart_.lines.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto end_of = [&](std::size_t i) { return chart_.lines[i].points.back().second; };
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return chart_.low_is_good ? end_of(a) < end_of(b) : end_of(a) > end_of(b);
    });
    best_.assign(chart_.lines.size(), !many());
    for (std::size_t i = 0; many() && i < best_of_many; ++i) best_[order[i]] = true;
    for (std::size_t i = 0; many() && i < chart_.lines.size(); ++i) {
      if (chart_.lines[i].mixer != "softmax" || best_[i]) continue;
      best_[i] = reference_ = true;
    }
  }

  void fit_axes() {
    std::vector<std::pair<double, double>> xs, ys;
    for (const Line& line : chart_.lines) {
      for (const auto& [x, y] : line.points) {
        xs.emplace_back(x, 4);
        ys.emplace_back(y, 10);
      }
    }
    for (const auto& [name, value] : chart_.levels) ys.emplace_back(value, 10);
    if (xs.empty()) xs = ys = {{1, 0}, {10, 0}};
    x_ = fit_axis(xs, plot_.width, chart_.log_x, 1e-6);
    y_ = fit_axis(ys, plot_.height, chart_.log_y, chart_.log_y ? 0.5 : chart_.narrowest_y);
  }

  /// Colours and dashes of lines and levels.
  void choose_looks() {
    static const std::vector<Json> patterns = {{1, 0}, {6, 3}, {2, 2}, {8, 3, 2, 3}, {4, 1}, {1, 3}};
    std::map<std::string, std::size_t> of_family;
    for (std::size_t i = 0; i < chart_.lines.size(); ++i) {
      const Family& family = family_of(chart_.lines[i].mixer);
      domain_.push_back(chart_.lines[i].label);
      colours_.push_back(best_[i] ? family.strong : std::string(line_grey));
      dashes_.push_back(best_[i] ? patterns[of_family[family.name]++ % patterns.size()] : patterns[0]);
    }
    for (const auto& [name, value] : chart_.levels) {
      domain_.push_back(name);
      colours_.push_back(line_grey);
      dashes_.push_back(patterns[1]);
    }
  }

  Json field(const char* name, const Axis& axis, const std::string& title) const {
    return axis_field(name, axis, title + (axis.log ? ", log scale" : ""), ",~r", layout_);
  }
  Json by_model(const Json& range) const {
    return {{"field", "model"},
            {"type", "nominal"},
            {"scale", {{"domain", domain_}, {"range", range}}},
            {"legend", nullptr}};
  }
  Json colour() const { return by_model(colours_); }
  static Json faded() { return {{"condition", {{"param", "near"}, {"value", 1}, {"empty", true}}}, {"value", 0.15}}; }

  void add_levels() {
    Json lines = Json::array();
    for (const auto& [name, value] : chart_.levels) lines.push_back({{"y", value}});
    if (lines.empty()) return;
    layers_.push_back(layer(lines, {{"type", "rule"}, {"strokeDash", {5, 4}}, {"color", line_grey}},
                            {{"x", pixels(0)}, {"x2", pixels(plot_.width)}, {"y", field("y", y_, chart_.y_title)}}));
  }

  struct Name {
    double y, end_x;
    std::string text, model, key;
  };

  void add_names() {
    std::vector<Name> names;
    for (std::size_t i = 0; i < chart_.lines.size() && names.size() + chart_.levels.size() < most_names; ++i) {
      const auto [end_x, end_y] = chart_.lines[i].points.back();
      names.push_back(
          {layout_.height - y_.pixel(end_y), x_.pixel(end_x), texts_[i], chart_.lines[i].label, chart_.lines[i].key});
    }
    for (const auto& [name, value] : chart_.levels) {
      names.push_back({layout_.height - y_.pixel(value), plot_.width, shorten(name, name_length()), name, ""});
    }
    if (names.empty()) return;
    std::stable_sort(names.begin(), names.end(), [](const Name& a, const Name& b) { return a.y < b.y; });
    const double size = small_size(layout_);
    const double room = std::min(size + 2, (layout_.height + 24) / static_cast<double>(names.size()));
    std::vector<double> wanted;
    for (const Name& name : names) wanted.push_back(name.y);
    const auto places = spread(wanted, room, -12, layout_.height + 12);
    Json labels = Json::array();
    for (std::size_t i = 0; i < names.size(); ++i) {
      const Name& name = names[i];
      labels.push_back({{"text", name.text},
                        {"model", name.model},
                        {"key", name.key},
                        {"px", plot_.width + 16},
                        {"py", places[i]},
                        {"ex", std::max(name.end_x, 0.0)},
                        {"ey", name.y},
                        {"lx", plot_.width + 13}});
    }
    layers_.push_back(layer(labels, {{"type", "rule"}, {"strokeWidth", 0.9}, {"clip", false}},
                            {{"x", pixel_field("ex")},
                             {"y", pixel_field("ey")},
                             {"x2", {{"field", "lx"}}},
                             {"y2", {{"field", "py"}}},
                             {"color", colour()},
                             {"opacity", faded()}}));
    layers_.push_back(layer(
        labels,
        {{"type", "text"},
         {"align", "left"},
         {"baseline", "middle"},
         {"fontSize", std::min(size, room - 1)},
         {"color", ink}},
        {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"text", {{"field", "text"}}}, {"opacity", faded()}}));
  }

  void add_lines() {
    const Json x = field("x", x_, chart_.x_title), y = field("y", y_, chart_.y_title);
    Json points = Json::array();
    for (const bool in_colour : {false, true}) {  // these in front
      Json of_these = Json::array();
      for (std::size_t i = 0; i < chart_.lines.size(); ++i) {
        const Line& line = chart_.lines[i];
        if (best_[i] != in_colour) continue;
        for (const auto& [px, py] : line.points) {
          of_these.push_back({{"model", line.label}, {"key", line.key}, {"x", px}, {"y", py}});
        }
      }
      points.insert(points.end(), of_these.begin(), of_these.end());
      if (of_these.empty()) continue;
      const double width = !in_colour ? 1.1 : many() ? 2.4 : 1.8;
      layers_.push_back(
          layer(of_these, {{"type", "line"}, {"strokeWidth", width}, {"strokeOpacity", in_colour ? 1 : 0.55}},
                {{"x", x}, {"y", y}, {"color", colour()}, {"opacity", faded()}, {"strokeDash", by_model(dashes_)}}));
    }
    layers_.push_back(layer(points, {{"type", "circle"}, {"size", many() ? 14 : 26}},
                            {{"x", x},
                             {"y", y},
                             {"color", colour()},
                             {"opacity", faded()},
                             {"tooltip",
                              {{{"field", "model"}, {"title", "Mechanism"}},
                               {{"field", "x"}, {"title", chart_.x_title}, {"format", ",~r"}},
                               {{"field", "y"}, {"title", chart_.y_title}, {"format", ",.4~r"}}}}}));
    layers_.back()["params"] = {
        {{"name", "near"},
         {"select", {{"type", "point"}, {"on", "pointerover"}, {"clear", "pointerout"}, {"fields", {"model"}}}}}};
  }

  LineChart chart_;
  const Layout& layout_;
  Layout plot_;
  std::vector<std::string> texts_;
  std::vector<bool> best_;
  bool thin_ = false, reference_ = false;
  Axis x_, y_;
  Json domain_ = Json::array(), colours_ = Json::array(), dashes_ = Json::array(), layers_ = Json::array();
};

}  // namespace

Drawing draw(const LineChart& chart, const Layout& layout) { return LineDrawing(chart, layout).draw(); }

}  // namespace lra::report
