#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/chart_parts.h"
#include "report/charts.h"
#include "report/families.h"
#include "report/labels.h"

namespace lra::report {
namespace {

constexpr double step_radius = 6;

/// Steps as points with their names beside them; limits as grey lines that say on themselves what they are.
class RooflineDrawing {
 public:
  RooflineDrawing(const RooflineChart& chart, const Layout& layout) : chart_(chart), layout_(layout) {
    std::vector<std::pair<double, double>> xs, ys = {{chart.products, 26}};
    for (const Bubble& step : chart.steps) {
      xs.emplace_back(step.x, layout.narrow ? 34 : 60);
      ys.emplace_back(step.y, 26);
    }
    const auto [least, most] = std::minmax_element(xs.begin(), xs.end());
    const double low = least->first / 8, high = most->first * 8;
    for (const auto& [name, bandwidth] : chart.bandwidths) {  // the bends, unless they are far away
      if (const double bend = chart.products / bandwidth; bend > low && bend < high) xs.emplace_back(bend, 40);
    }
    x_ = fit_axis(xs, layout.width, true, 0.5);
    y_ = fit_axis(ys, layout.height, true, 0.5);
  }

  Drawing draw() {
    for (std::size_t i = 0; i < chart_.bandwidths.size(); ++i) add_limit(chart_.bandwidths[i], i > 0);
    add_text({"computing: " + number(chart_.products) + " GFLOP/s",
              {layout_.width - 4, down(chart_.products) - 9},
              "right",
              0});
    add_steps();
    std::vector<std::string> caption = chart_.caption;
    if (!nameless_.empty()) caption.push_back("Without room for a name: " + sentence_list(nameless_) + ".");
    return {chart_spec(chart_.title, chart_.subtitle, layout_, std::move(layers_)), caption};
  }

 private:
  double down(double value) const { return layout_.height - y_.pixel(value); }
  static std::string number(double value) { return fmt::format("{:.{}f}", value, value < 10 ? 1 : 0); }

  struct Text {
    std::string text;
    Point at;
    const char* align;
    double angle;  ///< degrees, clockwise
  };

  void add_text(const Text& text) {
    layers_.push_back(layer(Json::array({{{"px", text.at.x}, {"py", text.at.y}}}),
                            {{"type", "text"},
                             {"text", text.text},
                             {"align", text.align},
                             {"baseline", "middle"},
                             {"angle", text.angle},
                             {"fontSize", small_size(layout_)},
                             {"color", grey_ink}},
                            {{"x", pixel_field("px")}, {"y", pixel_field("py")}}));
  }

  /// Up with the bandwidth until computing is the limit.
  void add_limit(const std::pair<std::string, double>& bandwidth, bool dashed) {
    const double bend = chart_.products / bandwidth.second;
    const double left = std::max(x_.low, y_.low / bandwidth.second), right = std::clamp(bend, left, x_.high);
    Json line = Json::array();
    const auto point = [&](double x) {
      line.push_back({{"px", x_.pixel(x)}, {"py", down(std::min(chart_.products, x * bandwidth.second))}});
    };
    point(left);
    point(right);
    if (!dashed) point(x_.high);  // the level part is the same for all
    Json mark = {{"type", "line"}, {"color", line_grey}, {"strokeWidth", 1.6}, {"tooltip", nullptr}};
    if (dashed) mark["strokeDash"] = {5, 4};
    layers_.push_back(layer(line, mark, {{"x", pixel_field("px")}, {"y", pixel_field("py")}}));
    const Point from{x_.pixel(left), down(left * bandwidth.second)},
        to{x_.pixel(right), down(right * bandwidth.second)};
    const std::string text = bandwidth.first + ": " + number(bandwidth.second) + " GB/s";
    const double length = std::hypot(to.x - from.x, to.y - from.y);
    for (double at = 0; at < length; at += 12) {  // names keep off the line and what is written along it
      const double share = at / length;
      limits_.push_back({{from.x + share * (to.x - from.x), from.y + share * (to.y - from.y)}, 12, 0, ""});
    }
    if (length < text_width(text, small_size(layout_)) + 20) return;  // no room: the caption has it
    // Beside the line's middle, a little above it.
    const double angle = std::atan2(to.y - from.y, to.x - from.x);
    add_text({text,
              {(from.x + to.x) / 2 + 9 * std::sin(angle), (from.y + to.y) / 2 - 9 * std::cos(angle)},
              "center",
              angle * 180 / std::acos(-1.0)});
  }

  void add_steps() {
    std::vector<LabelledBubble> marks;
    std::vector<std::string> texts;
    for (const Bubble& step : chart_.steps) texts.push_back(step.label);
    texts = shorten_all(texts, layout_.narrow ? 22 : 36);
    Json points = Json::array(), names = Json::array(), leaders = Json::array();
    for (std::size_t i = 0; i < chart_.steps.size(); ++i) {
      const Bubble& step = chart_.steps[i];
      const Family& family = family_of(step.mixer);
      marks.push_back({{x_.pixel(step.x), down(step.y)}, step_radius, 0, i < most_names ? texts[i] : ""});
      points.push_back(
          {{"model", step.label}, {"key", step.key}, {"x", step.x}, {"y", step.y}, {"colour", family.strong}});
    }
    marks.insert(marks.end(), limits_.begin(), limits_.end());
    const auto labels = place_labels(marks, layout_.width, layout_.height, {down(chart_.products)}, name_size(layout_));
    for (std::size_t i = 0; i < chart_.steps.size(); ++i) {
      const PlacedLabel& label = labels[i];
      const std::string& key = chart_.steps[i].key;
      if (!label.placed) {
        nameless_.push_back(texts[i]);
        continue;
      }
      if (label.leader)
        leaders.push_back(
            {{"key", key}, {"px", label.from.x}, {"py", label.from.y}, {"qx", label.to.x}, {"qy", label.to.y}});
      names.push_back({{"text", texts[i]},
                       {"key", key},
                       {"px", (label.box.left + label.box.right) / 2},
                       {"py", (label.box.top + label.box.bottom) / 2}});
    }
    if (!leaders.empty()) {
      layers_.push_back(layer(
          leaders, {{"type", "rule"}, {"color", line_grey}, {"strokeWidth", 0.8}},
          {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"x2", {{"field", "qx"}}}, {"y2", {{"field", "qy"}}}}));
    }
    layers_.push_back(
        layer(points, {{"type", "circle"}, {"size", 110}, {"opacity", 1}, {"stroke", "white"}, {"strokeWidth", 1}},
              {{"x", axis_field("x", x_, chart_.x_title + ", log scale", ",~r", layout_)},
               {"y", axis_field("y", y_, chart_.y_title + ", log scale", ",~r", layout_)},
               {"color", {{"field", "colour"}, {"type", "nominal"}, {"scale", nullptr}}},
               {"tooltip",
                {{{"field", "model"}, {"title", "Mechanism"}},
                 {{"field", "y"}, {"title", "GFLOP/s"}, {"format", ",.4~r"}},
                 {{"field", "x"}, {"title", "Operations a byte"}, {"format", ",.4~r"}}}}}));
    layers_.push_back(name_layer(names, layout_));
  }

  const RooflineChart& chart_;
  const Layout& layout_;
  Axis x_, y_;
  std::vector<std::string> nameless_;
  std::vector<LabelledBubble> limits_;  ///< without names
  Json layers_ = Json::array();
};

}  // namespace

Drawing draw(const RooflineChart& chart, const Layout& layout) { return RooflineDrawing(chart, layout).draw(); }

}  // namespace lra::report
