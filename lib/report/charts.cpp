#include "report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "report/families.h"
#include "report/labels.h"

namespace lra::report {
namespace {

constexpr double plot_width = 660, plot_height = 400, largest_radius = 34, edge = 14;
constexpr double label_size = 12.5, small_size = 11, caption_size = 11;
constexpr const char* font = "Arial, Helvetica, Liberation Sans, sans-serif";

/// A linear or logarithmic axis over [0, size] pixels.
struct Axis {
  bool log = false;
  double low = 0, high = 1, size = 1;
  std::vector<double> ticks;

  double t(double value) const { return log ? std::log10(value) : value; }
  double pixel(double value) const { return size * (t(value) - t(low)) / (t(high) - t(low)); }
};

/// Widens an axis until every value keeps its own distance (pixels) from both ends.
Axis fit_axis(const std::vector<std::pair<double, double>>& values, double size, bool log, double narrowest) {
  Axis axis;
  axis.log = log;
  axis.size = size;
  double low = 1e300, high = -1e300;
  for (const auto& [value, distance] : values) {
    low = std::min(low, axis.t(value));
    high = std::max(high, axis.t(value));
  }
  if (high - low < narrowest) {
    const double middle = (low + high) / 2;
    low = middle - narrowest / 2;
    high = middle + narrowest / 2;
  }
  const double first_low = low, first_high = high;
  for (int round = 0; round < 60; ++round) {
    const double per_pixel = (high - low) / size;
    double next_low = first_low, next_high = first_high;
    for (const auto& [value, distance] : values) {
      next_low = std::min(next_low, axis.t(value) - distance * per_pixel);
      next_high = std::max(next_high, axis.t(value) + distance * per_pixel);
    }
    low = next_low;
    high = next_high;
  }
  axis.low = log ? std::pow(10, low) : low;
  axis.high = log ? std::pow(10, high) : high;
  return axis;
}

void set_ticks(Axis& axis) {
  axis.ticks.clear();
  if (axis.log) {
    for (const auto& digits : {std::vector<double>{1, 2, 5}, std::vector<double>{1, 2, 3, 5, 7}}) {
      axis.ticks.clear();
      for (int power = -6; power <= 9; ++power) {
        for (const double digit : digits) {
          const double tick = digit * std::pow(10, power);
          if (tick >= axis.low && tick <= axis.high) axis.ticks.push_back(tick);
        }
      }
      if (axis.ticks.size() >= 5) return;
    }
    if (axis.ticks.size() >= 2) return;
  }
  const double rough = (axis.high - axis.low) / 6, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = rough / power < 1.5 ? power : rough / power < 3.5 ? 2 * power : rough / power < 7.5 ? 5 * power : 10 * power;
  for (double k = std::ceil(axis.low / step); k * step <= axis.high; ++k) axis.ticks.push_back(std::round(k * step * 1e9) / 1e9);
}

double nice_below(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  return value >= 5 * power ? 5 * power : value >= 2 * power ? 2 * power : power;
}

Json layer(Json data, Json mark, Json encoding) { return {{"data", {{"values", std::move(data)}}}, {"mark", std::move(mark)}, {"encoding", std::move(encoding)}}; }

Json pixels(double value) { return {{"value", std::round(value * 100) / 100}}; }

std::string sentence_list(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : "; ") + item;
  return text;
}

void set_memory_unit(Chart& chart) {
  double largest = 0;
  for (const Bubble& bubble : chart.bubbles) largest = std::max(largest, bubble.bytes);
  const bool gib = largest >= 1.5 * 1024 * 1024 * 1024;
  chart.memory_unit = gib ? "GiB" : "MiB";
  chart.bytes_per_unit = gib ? 1024.0 * 1024 * 1024 : 1024.0 * 1024;
}

}  // namespace

Chart runs_chart(const ScoreGroup& scores, const SpeedGroup* speed) {
  Chart chart;
  chart.title = fmt::format("{}: accuracy, training speed and memory", scores.task_name);
  chart.subtitle = scores.condition;
  chart.y_title = scores.task.rfind("average", 0) == 0 ? scores.task_name + ", accuracy (%)" : scores.task_name + " test accuracy (%)";
  chart.memory_title = "Peak memory";
  chart.levels = scores.reference_levels;
  std::set<std::int64_t> n;
  std::set<std::string> error_kinds;
  for (const ScoreRow& row : scores.rows) {
    if (!row.test) {
      chart.not_drawn.push_back(fmt::format("{} ({}{})", row.label, row.status, row.status == "ok" || row.status == "incomplete" ? ": " + row.message : ""));
      continue;
    }
    const SpeedRow* measured = nullptr;
    if (speed != nullptr) {
      for (const SpeedRow& candidate : speed->rows) {
        const bool complete = candidate.examples_per_second && candidate.examples_per_second->mean > 0 && candidate.peak_tensor_bytes;
        const bool same_model = row.model.empty() || candidate.model == row.model;
        if (measured == nullptr && complete && candidate.variant == row.variant && same_model) measured = &candidate;
      }
    }
    if (measured == nullptr) {
      chart.not_drawn.push_back(row.label + " (no speed and memory measured under these conditions)");
      continue;
    }
    chart.bubbles.push_back({row.label, row.mixer, measured->examples_per_second->mean, row.test->mean, row.test->error, *measured->peak_tensor_bytes});
    n.insert(row.test->n);
    if (!row.test->error_kind.empty()) error_kinds.insert(row.test->error_kind == "binomial SE" ? "binomial standard error of the test set" : "standard deviation over seeds");
  }
  if (scores.task.rfind("average", 0) != 0 && !n.empty()) {
    chart.caption.push_back(*n.begin() == *n.rbegin() ? fmt::format("n = {} seed{} each.", *n.begin(), *n.begin() == 1 ? "" : "s")
                                                      : fmt::format("n = {} to {} seeds.", *n.begin(), *n.rbegin()));
  }
  if (!error_kinds.empty()) {
    chart.caption.push_back(fmt::format("Vertical bars: ± one {}.", fmt::join(error_kinds, " (one seed) or ")));
  }
  chart.caption.push_back("Circle area: peak bytes held by tensors during a training step.");
  if (speed == nullptr) {
    chart.x_title = "Training speed (not measured)";
  } else if (speed->source == "bench") {
    chart.x_title = fmt::format("Training speed (examples/s, {} tokens each, batch {})", speed->length, speed->batch_size);
    chart.caption.push_back(fmt::format("Speed and memory: bench on {}, {} tokens per sequence, batch {}.", speed->host, speed->length, speed->batch_size));
  } else {
    chart.x_title = fmt::format("Training speed seen while training on {} (examples/s, batch {})", speed->task_name, speed->batch_size);
    chart.caption.push_back("There are no bench records for these runs: speed and memory are those of training, at the task's own lengths.");
  }
  set_memory_unit(chart);
  return chart;
}

Chart paper_chart(const Json& published) {
  Chart chart;
  chart.name = "bubble_paper_2020";
  chart.title = "Long Range Arena, 2020: published accuracy, speed and memory";
  chart.subtitle = "Tay et al., arXiv 2011.04006, Tables 1 and 2 · byte-level text at 4K tokens · batch 32 · 16 TPU v3 chips";
  chart.x_title = "Training speed (examples/s, 4K tokens, steps/s × 32)";
  chart.y_title = "LRA average of 5 tasks (%, without Path-X)";
  chart.memory_title = "Peak memory";
  chart.memory_unit = "GB per device";
  chart.bytes_per_unit = 1e9;
  for (const Json& scores : published.at("lra_table1")) {
    const std::string model = scores["model"];
    const Json* speeds = nullptr;
    for (const Json& row : published.at("lra_table2")["rows"]) {
      if (row["model"] == model) speeds = &row;
    }
    if (speeds == nullptr) {
      chart.not_drawn.push_back(fmt::format("{} ({:.2f} %; not in Table 2)", model, scores["Avg_recomputed_5"].get<double>()));
      continue;
    }
    std::string mixer;
    for (const auto& [name, link] : published.at("mixers").items()) {
      if (mixer.empty() && link["model"] == model) mixer = name;
    }
    chart.bubbles.push_back({model, mixer, 32 * (*speeds)["steps_per_sec"]["4K"].get<double>(), scores["Avg_recomputed_5"].get<double>(), 0,
                             1e9 * (*speeds)["peak_memory_gb_per_device"]["4K"].get<double>()});
    if (std::abs(scores["Avg_printed"].get<double>() - chart.bubbles.back().y) > 0.015) {
      chart.caption.push_back(fmt::format("{}: the mean of its five printed scores, {:.2f}, is drawn; the paper prints {:.2f}.", model, chart.bubbles.back().y,
                                          scores["Avg_printed"].get<double>()));
    }
  }
  chart.caption.insert(chart.caption.begin(), "The paper's own figure prints no values; this one is rebuilt from its tables. Circle area: peak memory per device.");
  return chart;
}

Json vega_lite(const Chart& chart) {
  double largest = 0, smallest_x = 1e300, largest_x = 0, low_y = 1e300, high_y = -1e300;
  for (const Bubble& bubble : chart.bubbles) {
    largest = std::max(largest, bubble.bytes);
    smallest_x = std::min(smallest_x, bubble.x);
    largest_x = std::max(largest_x, bubble.x);
    low_y = std::min(low_y, bubble.y);
    high_y = std::max(high_y, bubble.y);
  }
  const double largest_area = std::acos(-1.0) * largest_radius * largest_radius;
  const auto radius = [&](const Bubble& bubble) { return largest_radius * std::sqrt(bubble.bytes / std::max(largest, 1.0)); };

  std::vector<std::string> caption = chart.caption;
  std::vector<std::pair<std::string, double>> levels, far_levels;
  const double reach = 0.8 * std::max(high_y - low_y, 10.0);  // a level farther away would squeeze the bubbles
  for (const auto& level : chart.levels) (level.second > low_y - reach && level.second < high_y + reach ? levels : far_levels).push_back(level);
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
  const bool log = !chart.bubbles.empty() && largest_x > 8 * smallest_x;
  Axis x = fit_axis(xs, plot_width, log, log ? 0.5 : std::max(0.2 * largest_x, 1e-6));
  Axis y = fit_axis(ys, plot_height, false, 4);
  if (!log) x.low = std::max(x.low, 0.0);
  set_ticks(x);
  set_ticks(y);

  std::vector<LabelledBubble> labelled;
  std::vector<double> level_pixels;
  for (const auto& level : levels) level_pixels.push_back(plot_height - y.pixel(level.second));
  for (const Bubble& bubble : chart.bubbles) {
    const Point centre{x.pixel(bubble.x), plot_height - y.pixel(bubble.y)};
    labelled.push_back({centre, radius(bubble), centre.y - (plot_height - y.pixel(bubble.y + bubble.error)), shorten(bubble.label, 36)});
  }
  const auto labels = place_labels(labelled, plot_width, plot_height, level_pixels, label_size);

  Json bubbles = Json::array(), bars = Json::array();
  std::set<std::string> present;
  for (const Bubble& bubble : chart.bubbles) {
    const Family& family = family_of(bubble.mixer);
    present.insert(family.title);
    bubbles.push_back({{"model", bubble.label}, {"family", family.title}, {"x", bubble.x}, {"y", bubble.y}, {"memory", bubble.bytes / chart.bytes_per_unit}});
    if (bubble.error > 0) bars.push_back({{"x", bubble.x}, {"low", bubble.y - bubble.error}, {"high", bubble.y + bubble.error}});
  }
  // Small circles in front of large ones.
  std::stable_sort(bubbles.begin(), bubbles.end(), [](const Json& a, const Json& b) { return a["memory"].get<double>() > b["memory"].get<double>(); });
  Json domain = Json::array(), colours = Json::array();
  for (const Family& family : families()) {
    if (present.count(family.title) == 0) continue;
    domain.push_back(family.title);
    colours.push_back(family.colour);
  }

  const Json x_scale = {{"type", log ? "log" : "linear"}, {"domain", {x.low, x.high}}, {"nice", false}, {"zero", false}};
  const Json y_scale = {{"domain", {y.low, y.high}}, {"nice", false}, {"zero", false}};
  const Json x_field = {{"field", "x"}, {"type", "quantitative"}, {"scale", x_scale},
                        {"axis", {{"title", chart.x_title + (log ? ", log scale" : "")}, {"values", x.ticks}, {"format", ",~r"}}}};
  const Json y_axis = {{"title", chart.y_title}, {"values", y.ticks}, {"format", "~r"}};
  const auto y_field = [&](const char* field) { return Json{{"field", field}, {"type", "quantitative"}, {"scale", y_scale}, {"axis", y_axis}}; };

  // Names of the dashed lines stand right of the plot, pushed apart where lines are close; the legends stand beyond them.
  Json level_lines = Json::array();
  double side = 0, last = -1e300;
  Json layers = Json::array();
  for (std::size_t i = 0; i < levels.size(); ++i) {
    std::string name = levels[i].first;
    std::replace(name.begin(), name.end(), '_', ' ');
    const std::string text = fmt::format("{} {:.1f}", name, levels[i].second);
    side = std::max(side, text_width(text, small_size) + 14);
    level_lines.push_back({{"y", levels[i].second}});
    last = std::max(last + small_size + 3, level_pixels[i]);
    layers.push_back(layer(Json::array({Json::object()}), {{"type", "text"}, {"text", text}, {"align", "left"}, {"baseline", "middle"}, {"fontSize", small_size}, {"color", "#666"}},
                           {{"x", pixels(plot_width + 6)}, {"y", pixels(last)}}));
  }
  if (!levels.empty()) {
    layers.insert(layers.begin(), layer(level_lines, {{"type", "rule"}, {"strokeDash", {5, 4}}, {"color", "#8a8a8a"}, {"strokeWidth", 1}},
                                        {{"x", pixels(0)}, {"x2", pixels(plot_width)}, {"y", y_field("y")}}));
  }
  if (!bars.empty()) {
    layers.push_back(layer(bars, {{"type", "rule"}, {"color", "#555"}, {"strokeWidth", 1.1}, {"opacity", 0.75}},
                           {{"x", x_field}, {"y", y_field("low")}, {"y2", {{"field", "high"}}}}));
  }
  const double legend_largest = nice_below(std::max(largest / chart.bytes_per_unit, 1e-9));
  const Json sizes = {legend_largest / 10, legend_largest / 2.5, legend_largest};
  const Json tooltip = {{{"field", "model"}, {"title", "Model"}},
                        {{"field", "family"}, {"title", "Kind"}},
                        {{"field", "y"}, {"title", "Accuracy (%)"}, {"format", ".2f"}},
                        {{"field", "x"}, {"title", "Examples/s"}, {"format", ",.4~r"}},
                        {{"field", "memory"}, {"title", fmt::format("Memory ({})", chart.memory_unit)}, {"format", ",.4~r"}}};
  layers.push_back(layer(
      bubbles, {{"type", "circle"}, {"opacity", 0.62}, {"stroke", "white"}, {"strokeWidth", 1}},
      {{"x", x_field},
       {"y", y_field("y")},
       {"size",
        {{"field", "memory"},
         {"type", "quantitative"},
         {"scale", {{"domain", {0, std::max(largest / chart.bytes_per_unit, 1e-9)}}, {"range", {0, largest_area}}, {"zero", true}, {"nice", false}}},
         {"legend", {{"title", fmt::format("{} ({})", chart.memory_title, chart.memory_unit)}, {"values", sizes}, {"format", ",~r"},
                     {"symbolFillColor", "#b5b5b5"}, {"symbolOpacity", 0.7}, {"symbolStrokeColor", "#8a8a8a"}}}}},
       {"color", {{"field", "family"}, {"type", "nominal"}, {"scale", {{"domain", domain}, {"range", colours}}},
                  {"legend", {{"title", "Token mixing"}, {"symbolType", "circle"}, {"symbolSize", 110}, {"symbolOpacity", 0.75}}}}},
       {"tooltip", tooltip}}));
  if (chart.bubbles.empty()) {
    layers.back()["encoding"]["size"]["legend"] = layers.back()["encoding"]["color"]["legend"] = nullptr;
    layers.push_back(layer(Json::array({Json::object()}), {{"type", "text"}, {"text", "No run has both a score and a measured speed."}, {"fontSize", 15}, {"color", "#57606a"}},
                           {{"x", pixels(plot_width / 2)}, {"y", pixels(plot_height / 2)}}));
  }
  std::vector<std::string> nameless;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (!labels[i].placed) {
      nameless.push_back(labelled[i].text);
      continue;
    }
    const PlacedLabel& label = labels[i];
    if (label.leader) {
      layers.push_back(layer(Json::array({Json::object()}), {{"type", "rule"}, {"color", "#777"}, {"strokeWidth", 0.8}},
                             {{"x", pixels(label.from.x)}, {"y", pixels(label.from.y)}, {"x2", pixels(label.to.x)}, {"y2", pixels(label.to.y)}}));
    }
    layers.push_back(layer(Json::array({Json::object()}), {{"type", "text"}, {"text", labelled[i].text}, {"align", "center"}, {"baseline", "middle"}, {"fontSize", label_size}, {"color", "#1f2328"}},
                           {{"x", pixels((label.box.left + label.box.right) / 2)}, {"y", pixels((label.box.top + label.box.bottom) / 2)}}));
  }

  if (!far_levels.empty()) {
    std::vector<std::string> texts;
    for (const auto& [name, value] : far_levels) texts.push_back(fmt::format("{} {:.1f} %", name, value));
    caption.push_back("Reference levels outside the plot: " + sentence_list(texts) + ".");
  }
  if (!nameless.empty()) caption.push_back("Without room for a name: " + sentence_list(nameless) + ".");
  if (!chart.not_drawn.empty()) caption.push_back("Not drawn: " + sentence_list(chart.not_drawn) + ".");
  const double text_space = plot_width + 150;
  std::string caption_text;
  for (const std::string& line : wrap(fmt::format("{}", fmt::join(caption, " ")), text_space, caption_size)) caption_text += (caption_text.empty() ? "" : "\n") + line;
  layers.push_back(layer(Json::array({Json::object()}), {{"type", "text"}, {"text", caption_text}, {"lineBreak", "\n"}, {"align", "left"}, {"baseline", "top"}, {"fontSize", caption_size},
                                                         {"lineHeight", 15}, {"color", "#666"}},
                         {{"x", pixels(0)}, {"y", pixels(plot_height + 52)}}));

  return {{"$schema", "https://vega.github.io/schema/vega-lite/v6.json"},
          {"description", chart.title + ". " + chart.subtitle},
          {"title", {{"text", chart.title}, {"subtitle", wrap(chart.subtitle, text_space, 12)}}},
          {"width", plot_width},
          {"height", plot_height},
          {"background", "white"},
          {"padding", 14},
          {"layer", layers},
          {"config",
           {{"font", font},
            {"view", {{"stroke", "#c9ccd1"}}},
            {"title", {{"anchor", "start"}, {"frame", "group"}, {"fontSize", 17}, {"fontWeight", 600}, {"color", "#1f2328"}, {"subtitleFontSize", 12},
                       {"subtitleColor", "#57606a"}, {"subtitlePadding", 6}, {"subtitleLineHeight", 16}, {"offset", 14}}},
            {"axis", {{"gridColor", "#eceef1"}, {"domain", false}, {"tickColor", "#c9ccd1"}, {"labelColor", "#444"}, {"titleColor", "#1f2328"},
                      {"labelFontSize", 11.5}, {"titleFontSize", 12.5}, {"titleFontWeight", "normal"}, {"titlePadding", 10}, {"labelOverlap", false}}},
            {"legend", {{"offset", 18 + side}, {"titleFontSize", 12}, {"titleFontWeight", 600}, {"labelFontSize", 11.5}, {"labelColor", "#444"}, {"titleColor", "#1f2328"},
                        {"rowPadding", 4}, {"labelLimit", 200}, {"titleLimit", 220}, {"layout", {{"right", {{"direction", "vertical"}, {"margin", 22}}}}}}}}}};
}

}  // namespace lra::report
