#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "report/bubble_circles.h"
#include "report/chart_parts.h"
#include "report/families.h"
#include "report/labels.h"

namespace lra::report {
namespace {

constexpr double edge = 14;         // kept free between a circle and the end of an axis
constexpr double strip = 22;        // along an edge, for runs that lack a score or a speed
constexpr double cross_radius = 5;  // of their marks
constexpr std::size_t most_crosses = 12;

double rounded(double value) { return std::round(value * 10) / 10; }

Json line_between(const Point& from, const Point& to) {
  return {{"px", rounded(from.x)}, {"py", rounded(from.y)}, {"qx", rounded(to.x)}, {"qy", rounded(to.y)}};
}

Json between_fields() {
  return {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"x2", {{"field", "qx"}}}, {"y2", {{"field", "qy"}}}};
}

/// One drawing of a chart of circles.
class BubbleDrawing {
 public:
  BubbleDrawing(const Chart& chart, const Layout& layout)
      : chart_(chart), layout_(layout), caption_(chart.caption), front_(pareto_front(chart.bubbles)) {
    for (const Bubble& bubble : chart.bubbles) largest_ = std::max(largest_, bubble.bytes);
    split_levels();
    choose_failures();
    fit_axes();
  }

  Drawing draw() {
    add_levels();
    add_staircase();
    add_joins();
    add_error_bars();
    const auto circles = static_cast<Json::difference_type>(layers_.size());
    if (chart_.bubbles.empty()) {
      add_nothing_to_see();
    } else {
      const double side = layout_.narrow ? 10 : 18 + side_;
      layers_.push_back(
          circle_layer(chart_, {front_, largest_, largest_radius(), side, layout_.narrow}, x_field(), y_field("y")));
    }
    add_crosses();
    add_names(circles);
    finish_caption();
    return {chart_spec(chart_.title, chart_.subtitle, layout_, std::move(layers_)), caption_};
  }

 private:
  double largest_radius() const { return layout_.narrow ? 24 : layout_.width > wide_layout.width ? 42 : 34; }
  double radius(const Bubble& bubble) const {
    return largest_radius() * std::sqrt(bubble.bytes / std::max(largest_, 1.0));
  }
  double down(double value) const { return layout_.height - y_.pixel(value); }
  Point centre(const Bubble& bubble) const { return {x_.pixel(bubble.x), down(bubble.y)}; }
  Json x_field() const { return axis_field("x", x_, chart_.x_title + (x_.log ? ", log scale" : ""), ",~r", layout_); }
  Json y_field(const char* field) const { return axis_field(field, y_, chart_.y_title, "~r", layout_); }

  /// A reference level far from the circles would squeeze them: it is said in the caption.
  void split_levels() {
    double low = 1e300, high = -1e300;
    for (const Bubble& bubble : chart_.bubbles) {
      low = std::min(low, bubble.y);
      high = std::max(high, bubble.y);
    }
    const double reach = 0.8 * std::max(high - low, 10.0);
    for (const auto& level : chart_.levels)
      (level.second > low - reach && level.second < high + reach ? levels_ : far_levels_).push_back(level);
    std::sort(levels_.begin(), levels_.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  }

  void choose_failures() {
    for (const Failure& failure : chart_.failures) {
      if (chart_.bubbles.empty() || failures_.size() == most_crosses)
        more_failures_.emplace_back(failure.label, failure.reason);
      else
        failures_.push_back(failure);
    }
    no_score_ = std::any_of(failures_.begin(), failures_.end(), [](const Failure& failure) { return !failure.y; });
    no_speed_ =
        std::any_of(failures_.begin(), failures_.end(), [](const Failure& failure) { return failure.y.has_value(); });
  }

  void fit_axes() {
    std::vector<std::pair<double, double>> xs, ys;
    double smallest_x = 1e300, largest_x = 0;
    const double side = no_speed_ ? strip : 0, bottom = no_score_ ? strip : 0;
    for (const Bubble& bubble : chart_.bubbles) {
      smallest_x = std::min(smallest_x, bubble.x);
      largest_x = std::max(largest_x, bubble.x);
      xs.emplace_back(bubble.x, radius(bubble) + 2 * edge + side);
      ys.emplace_back(bubble.y, radius(bubble) + edge + bottom);
      ys.emplace_back(bubble.y - bubble.error, edge + bottom);
      ys.emplace_back(bubble.y + bubble.error, edge + bottom);
    }
    for (const auto& [name, value] : levels_) ys.emplace_back(value, edge + bottom);
    for (const Failure& failure : failures_) {
      if (failure.x) xs.emplace_back(*failure.x, edge);
      if (failure.y) ys.emplace_back(*failure.y, edge + bottom);
    }
    if (chart_.bubbles.empty()) {
      xs = {{1, 0}, {10, 0}};
      ys.emplace_back(0, 0);
      ys.emplace_back(100, 0);
    }
    const bool log = !chart_.bubbles.empty() && chart_.log_x.value_or(largest_x > 8 * smallest_x);
    x_ = fit_axis(xs, layout_.width, log, log ? 0.5 : std::max(0.2 * largest_x, 1e-6));
    y_ = fit_axis(ys, layout_.height, false, 4);
    if (!log && x_.low < 0) {
      x_.low = 0;
      std::erase_if(x_.ticks, [](double tick) { return tick < 0; });
    }
  }

  /// Their names stand right of the plot, pushed apart where lines are close; the legends stand beyond them. Without
  /// that room they are in the caption.
  void add_levels() {
    Json lines = Json::array(), names = Json::array();
    std::vector<std::string> texts;
    double last = -1e300;
    for (const auto& [level, value] : levels_) {
      std::string name = level;
      std::replace(name.begin(), name.end(), '_', ' ');
      texts.push_back(fmt::format("{} {:.1f}", name, value));
      lines.push_back({{"y", value}});
      last = std::max(last + small_size(layout_) + 3, down(value));
      names.push_back({{"text", texts.back()}, {"py", last}});
      if (!layout_.narrow) side_ = std::max(side_, text_width(texts.back(), small_size(layout_)) + 14);
    }
    if (levels_.empty()) return;
    layers_.push_back(layer(lines, {{"type", "rule"}, {"strokeDash", {5, 4}}, {"color", line_grey}, {"strokeWidth", 1}},
                            {{"x", pixels(0)}, {"x2", pixels(layout_.width)}, {"y", y_field("y")}}));
    if (layout_.narrow) {
      caption_.push_back(fmt::format("Dashed lines: {}.", sentence_list(texts)));
      return;
    }
    const Json mark = {{"type", "text"},
                       {"align", "left"},
                       {"baseline", "middle"},
                       {"fontSize", small_size(layout_)},
                       {"color", grey_ink}};
    layers_.push_back(layer(
        names, mark, {{"x", pixels(layout_.width + 6)}, {"y", pixel_field("py")}, {"text", {{"field", "text"}}}}));
  }

  /// Right of it and above it nobody is: down along those whom no other beats in both speed and score.
  void add_staircase() {
    std::vector<Point> steps;
    for (const Bubble& a : chart_.bubbles) {
      const auto beats = [&](const Bubble& b) {
        return b.disturbed.empty() && b.x >= a.x && b.y >= a.y && (b.x > a.x || b.y > a.y);
      };
      if (a.disturbed.empty() && std::none_of(chart_.bubbles.begin(), chart_.bubbles.end(), beats))
        steps.push_back(centre(a));
    }
    if (steps.size() < 2) return;
    std::sort(steps.begin(), steps.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
    Json corners = Json::array();
    const auto corner = [&](double x, double y) {
      corners.push_back({{"i", corners.size()}, {"px", rounded(x)}, {"py", rounded(y)}});
    };
    corner(0, steps.front().y);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      corner(steps[i].x, steps[i].y);
      corner(steps[i].x, i + 1 < steps.size() ? steps[i + 1].y : layout_.height);
    }
    layers_.push_back(layer(
        corners, {{"type", "line"}, {"color", line_grey}, {"strokeWidth", 1.4}, {"opacity", 0.8}, {"tooltip", nullptr}},
        {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"order", {{"field", "i"}, {"type", "quantitative"}}}}));
    caption_.push_back("Grey staircase: beyond it nobody is both faster and more accurate.");
  }

  /// Several sizes of one mechanism.
  void add_joins() {
    std::map<std::string, std::vector<const Bubble*>> by_key;
    for (const Bubble& bubble : chart_.bubbles) {
      if (!bubble.key.empty()) by_key[bubble.key].push_back(&bubble);
    }
    bool any = false;
    for (auto& [key, members] : by_key) {
      if (members.size() < 2) continue;
      any = true;
      std::stable_sort(members.begin(), members.end(), [](const Bubble* a, const Bubble* b) { return a->x < b->x; });
      Json points = Json::array();
      for (const Bubble* bubble : members)
        points.push_back({{"key", key}, {"px", rounded(centre(*bubble).x)}, {"py", rounded(centre(*bubble).y)}});
      const Json mark = {{"type", "line"},
                         {"color", family_of(members.front()->mixer).strong},
                         {"strokeWidth", 1.4},
                         {"opacity", 0.7},
                         {"tooltip", nullptr}};
      layers_.push_back(layer(points, mark, {{"x", pixel_field("px")}, {"y", pixel_field("py")}}));
    }
    if (any) caption_.push_back("A coloured line joins the sizes of one mechanism.");
  }

  void add_error_bars() {
    Json bars = Json::array();
    for (const Bubble& bubble : chart_.bubbles) {
      if (bubble.error > 0)
        bars.push_back({{"key", bubble.key},
                        {"x", bubble.x},
                        {"low", bubble.y - bubble.error},
                        {"high", bubble.y + bubble.error}});
    }
    if (bars.empty()) return;
    layers_.push_back(layer(bars, {{"type", "rule"}, {"color", grey_ink}, {"strokeWidth", 1.1}, {"opacity", 0.75}},
                            {{"x", x_field()}, {"y", y_field("low")}, {"y2", {{"field", "high"}}}}));
  }

  void add_nothing_to_see() {
    const Json mark = {{"type", "text"},
                       {"text", "No run has both a score and a measured speed."},
                       {"fontSize", layout_.narrow ? 11 : 15},
                       {"color", grey_ink}};
    Json empty_axes = layer(Json::array(), {{"type", "circle"}}, {{"x", x_field()}, {"y", y_field("y")}});
    layers_.push_back(std::move(empty_axes));
    layers_.push_back(layer(Json::array({Json::object()}), mark,
                            {{"x", pixels(layout_.width / 2)}, {"y", pixels(layout_.height / 2)}}));
  }

  /// Without a score at the lower edge, without a speed at the left one.
  Point place(const Failure& failure, std::size_t number, std::size_t of) const {
    if (failure.y) return {strip / 2, down(*failure.y)};
    const double spaced = layout_.width * (static_cast<double>(number) + 0.5) / static_cast<double>(of);
    return {failure.x ? x_.pixel(*failure.x) : spaced, layout_.height - strip / 2};
  }

  void add_crosses() {
    Json crosses = Json::array();
    for (std::size_t i = 0; i < failures_.size(); ++i) {
      const Failure& failure = failures_[i];
      const Point at = place(failure, i, failures_.size());
      crosses.push_back({{"model", failure.label},
                         {"key", failure.key},
                         {"reason", failure.reason},
                         {"px", rounded(at.x)},
                         {"py", rounded(at.y)},
                         {"colour", family_of(failure.mixer).strong}});
    }
    if (crosses.empty()) return;
    const Json mark = {
        {"type", "point"}, {"shape", "M-1,-1L1,1M-1,1L1,-1"}, {"size", 80}, {"strokeWidth", 2.2}, {"opacity", 1}};
    layers_.push_back(
        layer(crosses, mark,
              {{"x", pixel_field("px")},
               {"y", pixel_field("py")},
               {"color", {{"field", "colour"}, {"type", "nominal"}, {"scale", nullptr}}},
               {"tooltip",
                {{{"field", "model"}, {"title", "Mechanism"}}, {{"field", "reason"}, {"title", "Not measured"}}}}}));
    if (no_score_) caption_.push_back("Crosses at the lower edge: runs without a score.");
    if (no_speed_) caption_.push_back("Crosses at the left edge: no speed was measured.");
  }

  std::vector<LabelledBubble> labelled() const {
    std::vector<std::string> texts;
    for (const Bubble& bubble : chart_.bubbles) texts.push_back(bubble.label);
    texts = shorten_all(texts, layout_.narrow ? 22 : 36);
    std::vector<LabelledBubble> result;
    for (std::size_t i = 0; i < chart_.bubbles.size(); ++i) {
      const Bubble& bubble = chart_.bubbles[i];
      result.push_back({centre(bubble), radius(bubble), down(bubble.y) - down(bubble.y + bubble.error), texts[i]});
    }
    const std::size_t room = std::clamp<std::size_t>(4000 / std::max<std::size_t>(result.size(), 1), 5, most_names);
    if (result.size() > room) {  // those on the front, then the most accurate
      std::vector<std::size_t> order(result.size());
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return std::pair(front_[a], chart_.bubbles[a].y) > std::pair(front_[b], chart_.bubbles[b].y);
      });
      for (std::size_t i = room; i < order.size(); ++i) result[order[i]].text.clear();
    }
    for (std::size_t i = 0; i < failures_.size(); ++i) {
      const Failure& failure = failures_[i];
      result.push_back({place(failure, i, failures_.size()), cross_radius, 0,
                        shorten(fmt::format("{} ({})", failure.label, failure.reason), layout_.narrow ? 22 : 36)});
    }
    return result;
  }

  /// `below`: the layer that nothing may hide.
  void add_names(Json::difference_type below) {
    std::vector<double> level_pixels;
    for (const auto& level : levels_) level_pixels.push_back(down(level.second));
    const auto marks = labelled();
    const auto labels = place_labels(marks, layout_.width, layout_.height, level_pixels, name_size(layout_));
    Json names = Json::array(), leaders = Json::array(), papers = Json::array();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const PlacedLabel& label = labels[i];
      const bool failed = i >= chart_.bubbles.size();
      const std::string& whole = failed ? failures_[i - chart_.bubbles.size()].label : chart_.bubbles[i].label;
      const std::string& key = failed ? failures_[i - chart_.bubbles.size()].key : chart_.bubbles[i].key;
      if (!label.placed) {
        nameless_.push_back(shorten(whole, layout_.narrow ? 22 : 36));
        continue;
      }
      if (label.leader) {
        leaders.push_back(line_between(label.from, label.to));
        leaders.back()["key"] = key;
      }
      papers.push_back(
          line_between({label.box.left + 2, label.box.top + 1}, {label.box.right - 2, label.box.bottom - 1}));
      names.push_back({{"text", marks[i].text},
                       {"key", key},
                       {"px", rounded((label.box.left + label.box.right) / 2)},
                       {"py", rounded((label.box.top + label.box.bottom) / 2)}});
    }
    if (!leaders.empty())
      layers_.push_back(
          layer(leaders, {{"type", "rule"}, {"color", line_grey}, {"strokeWidth", 0.8}}, between_fields()));
    if (names.empty()) return;
    // Paper behind each name, so that it stands out where it must lie on a bar or a line; circles are never hidden.
    layers_.insert(layers_.begin() + below,
                   layer(papers, {{"type", "rect"}, {"color", "white"}, {"opacity", 0.8}, {"tooltip", nullptr}},
                         between_fields()));
    layers_.push_back(name_layer(names, layout_));
  }

  void finish_caption() {
    if (!chart_.bubbles.empty()) {
      caption_.push_back(
          "Dark rim: on the Pareto front; no other is at least as accurate, as fast and as small, and ahead in one of "
          "them by more than the error bars of both.");
    }
    if (!far_levels_.empty()) {
      std::vector<std::string> far;
      for (const auto& [name, value] : far_levels_) far.push_back(fmt::format("{} {:.1f} %", name, value));
      caption_.push_back("Reference levels outside the plot: " + sentence_list(far) + ".");
    }
    if (nameless_.size() > most_names)
      caption_.push_back(fmt::format("Without room for a name: {} mechanisms.", nameless_.size()));
    else if (!nameless_.empty())
      caption_.push_back("Without room for a name: " + sentence_list(nameless_) + ".");
    auto not_drawn = more_failures_;
    not_drawn.insert(not_drawn.end(), chart_.not_drawn.begin(), chart_.not_drawn.end());
    add_not_drawn(caption_, not_drawn);
  }

  const Chart& chart_;
  const Layout& layout_;
  std::vector<std::string> caption_, nameless_;
  const std::vector<bool> front_;
  double largest_ = 0, side_ = 0;  ///< bytes; pixels right of the plot for the names of levels
  std::vector<std::pair<std::string, double>> levels_, far_levels_;
  std::vector<Failure> failures_;
  std::vector<std::pair<std::string, std::string>> more_failures_;  ///< name, reason
  bool no_score_ = false, no_speed_ = false;
  Axis x_, y_;
  Json layers_ = Json::array();
};

}  // namespace

Drawing draw(const Chart& chart, const Layout& layout) { return BubbleDrawing(chart, layout).draw(); }

}  // namespace lra::report
