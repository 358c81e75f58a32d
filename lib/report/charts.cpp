#include "report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "report/families.h"
#include "report/labels.h"

namespace lra::report {
namespace {

constexpr double edge = 14;
constexpr std::size_t most_names = 40;  // in one plot, and fewer among very many; who has none is named on hover

double nice_below(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  return value >= 5 * power ? 5 * power : value >= 2 * power ? 2 * power : power;
}

std::string sentence_list(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : "; ") + item;
  return text;
}

/// "Not drawn: A, B (no speed measured); C (oom)."
void add_not_drawn(std::vector<std::string>& caption, const std::vector<std::pair<std::string, std::string>>& not_drawn) {
  std::vector<std::pair<std::string, std::string>> by_reason;  // reason, names
  for (const auto& [name, reason] : not_drawn) {
    const auto known = std::find_if(by_reason.begin(), by_reason.end(), [&reason = reason](const auto& one) { return one.first == reason; });
    if (known == by_reason.end()) by_reason.emplace_back(reason, name);
    else known->second += ", " + name;
  }
  std::vector<std::string> parts;
  for (const auto& [reason, names] : by_reason) parts.push_back(fmt::format("{} ({})", names, reason));
  if (!parts.empty()) caption.push_back("Not drawn: " + sentence_list(parts) + ".");
}

void set_memory_unit(Chart& chart) {
  double largest = 0;
  for (const Bubble& bubble : chart.bubbles) largest = std::max(largest, bubble.bytes);
  const bool gib = largest >= 1.5 * 1024 * 1024 * 1024;
  chart.memory_unit = gib ? "GiB" : "MiB";
  chart.bytes_per_unit = gib ? 1024.0 * 1024 * 1024 : 1024.0 * 1024;
}

}  // namespace

Chart runs_chart(const ScoreGroup& scores, const SpeedGroup* speed, Memory memory) {
  Chart chart;
  chart.name = "bubble_" + scores.slug;
  chart.title = fmt::format("{}: accuracy, training speed and memory", scores.task_name);
  chart.subtitle = scores.condition;
  chart.y_title = scores.is_average() ? scores.task_name + ", accuracy (%)" : scores.task_name + " test accuracy (%)";
  chart.memory_title = "Peak memory";
  chart.levels = scores.reference_levels;
  std::set<std::int64_t> n;
  std::set<std::string> error_kinds, revisions;
  bool dirty = false, other_revision = false;
  for (const ScoreRow& row : scores.rows) {
    if (!row.test) {
      chart.not_drawn.emplace_back(row.label, row.status + (row.status == "ok" || row.status == "incomplete" ? ": " + row.message : ""));
      continue;
    }
    const SpeedRow* measured = speed == nullptr ? nullptr : speed_of(row, *speed);
    if (measured == nullptr || (memory == Memory::process && !measured->peak_rss_bytes)) {
      chart.not_drawn.emplace_back(row.label, "no speed and memory measured under these conditions");
      continue;
    }
    chart.bubbles.push_back({row.label, row.mixer, measured->examples_per_second->mean, row.test->mean, row.test->error,
                             memory == Memory::tensors ? *measured->peak_tensor_bytes : *measured->peak_rss_bytes});
    n.insert(row.test->n);
    revisions.insert(measured->revision.substr(0, 10));
    dirty = dirty || measured->dirty;
    other_revision = other_revision || (!row.records.empty() && text_at(row.records.front()->build, "revision") != measured->revision);
    if (!row.test->error_kind.empty()) {
      error_kinds.insert(row.test->error_kind == "binomial SE" ? "binomial standard error of the test set" : row.test->error_kind == "sd over seeds" ? "standard deviation over seeds" : "standard error " + row.test->error_kind);
    }
  }
  if (!n.empty()) {
    chart.caption.push_back(*n.begin() == *n.rbegin() ? fmt::format("n = {} seed{} each.", *n.begin(), *n.begin() == 1 ? "" : "s")
                                                      : fmt::format("n = {} to {} seeds.", *n.begin(), *n.rbegin()));
  }
  if (!error_kinds.empty()) {
    chart.caption.push_back(fmt::format("Vertical bars: ± one {}.", fmt::join(error_kinds, " (one seed) or ")));
  }
  chart.caption.push_back(memory == Memory::tensors ? "Circle area: peak bytes held by tensors during a training step."
                                                    : "Circle area: the process's high-water mark in the computer's memory, program and libraries included.");
  if (speed == nullptr) {
    chart.x_title = "Training speed (not measured)";
  } else if (speed->source == "bench") {
    chart.x_title = fmt::format("Training speed (examples/s, {} tokens each, batch {})", speed->length, speed->batch_size);
    chart.caption.push_back(fmt::format("Speed and memory: bench on {}, {} tokens per sequence, batch {}.", speed->host, speed->length, speed->batch_size));
  } else {
    chart.x_title = fmt::format("Training speed seen while training on {} (examples/s, batch {})", speed->task_name, speed->batch_size);
    chart.caption.push_back("Speed and memory are those seen while training, at the task's own lengths.");
  }
  for (const std::string& warning : scores.warnings) chart.caption.push_back(warning);
  if (other_revision) chart.caption.push_back("Some speeds come from another program revision than the scores.");
  if (revisions.size() > 1) chart.caption.push_back(fmt::format("Speeds come from different program revisions: {}.", fmt::join(revisions, ", ")));
  if (dirty) chart.caption.push_back("Some speeds come from programs with uncommitted changes.");
  set_memory_unit(chart);
  return chart;
}

Chart paper_chart(const Json& published, const std::string& length) {
  Chart chart;
  chart.name = length == "4K" ? "bubble_paper_2020" : "bubble_paper_2020_" + length;
  chart.title = "Long Range Arena, 2020: published accuracy, speed and memory";
  chart.subtitle = fmt::format("Tay et al., arXiv 2011.04006, Tables 1 and 2 · byte-level text at {} tokens · batch 32 · 16 TPU v3 chips", length);
  chart.x_title = fmt::format("Training speed (examples/s, {} tokens, steps/s × 32)", length);
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
      chart.not_drawn.emplace_back(model, fmt::format("{:.2f} %; not in Table 2", scores["Avg_recomputed_5"].get<double>()));
      continue;
    }
    std::string mixer;
    for (const auto& [name, link] : published.at("mixers").items()) {
      if (mixer.empty() && link["model"] == model) mixer = name;
    }
    chart.bubbles.push_back({model, mixer, 32 * (*speeds)["steps_per_sec"][length].get<double>(), scores["Avg_recomputed_5"].get<double>(), 0,
                             1e9 * (*speeds)["peak_memory_gb_per_device"][length].get<double>(), "arXiv 2011.04006, Table 1 (average) and Table 2 (speed, memory)"});
    if (std::abs(scores["Avg_printed"].get<double>() - chart.bubbles.back().y) > 0.015) {
      chart.caption.push_back(fmt::format("{}: the mean of its five printed scores, {:.2f}, is drawn; the paper prints {:.2f}.", model, chart.bubbles.back().y,
                                          scores["Avg_printed"].get<double>()));
    }
  }
  chart.caption.insert(chart.caption.begin(), "The paper's own figure prints no values, and what can be read off it fits no single length (its Performer, at about 300 examples/s, lies between the tables' 3K and 1K): this one is rebuilt from the "
                       "tables. Circle area: peak memory per device.");
  return chart;
}

std::vector<bool> pareto_front(const std::vector<Bubble>& bubbles) {
  std::vector<bool> front;
  for (const Bubble& a : bubbles) {
    front.push_back(std::none_of(bubbles.begin(), bubbles.end(), [&](const Bubble& b) {
      return b.x >= a.x && b.y >= a.y && b.bytes <= a.bytes && (b.x > a.x || b.y > a.y || b.bytes < a.bytes);
    }));
  }
  return front;
}

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
  for (const Bubble& bubble : chart.bubbles) {
    const Point centre{x.pixel(bubble.x), down(bubble.y)};
    labelled.push_back({centre, radius(bubble), centre.y - down(bubble.y + bubble.error), shorten(bubble.label, layout.narrow ? 22 : 36)});
  }
  const std::size_t room = std::clamp<std::size_t>(4000 / std::max<std::size_t>(labelled.size(), 1), 5, most_names);
  if (labelled.size() > room) {  // those on the front, then the most accurate
    const std::vector<bool> front = pareto_front(chart.bubbles);
    std::vector<std::size_t> order(labelled.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return std::pair(front[a], chart.bubbles[a].y) > std::pair(front[b], chart.bubbles[b].y); });
    for (std::size_t i = room; i < order.size(); ++i) labelled[order[i]].text.clear();
  }
  const auto labels = place_labels(labelled, layout.width, layout.height, level_pixels, name_size(layout));

  Json bubbles = Json::array(), bars = Json::array();
  std::set<std::string> present;
  const std::vector<bool> front = pareto_front(chart.bubbles);
  for (std::size_t i = 0; i < chart.bubbles.size(); ++i) {
    const Bubble& bubble = chart.bubbles[i];
    const Family& family = family_of(bubble.mixer);
    present.insert(family.title);
    Json item = {{"model", bubble.label}, {"family", family.title}, {"x", bubble.x}, {"y", bubble.y}, {"memory", bubble.bytes / chart.bytes_per_unit}, {"front", front[i] ? "yes" : "no"}};
    if (!bubble.source.empty()) item["source"] = bubble.source;
    bubbles.push_back(item);
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

  const Json x_field = axis_field("x", x, chart.x_title + (log ? ", log scale" : ""), ",~r", layout);
  const auto y_field = [&](const char* field) { return axis_field(field, y, chart.y_title, "~r", layout); };

  // Names of the dashed lines stand right of the plot, pushed apart where lines are close; the legends stand beyond them. Without that room they are in the caption.
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
    layers.push_back(layer(level_lines, {{"type", "rule"}, {"strokeDash", {5, 4}}, {"color", line_grey}, {"strokeWidth", 1}},
                           {{"x", pixels(0)}, {"x2", pixels(layout.width)}, {"y", y_field("y")}}));
    if (layout.narrow) caption.push_back(fmt::format("Dashed lines: {}.", sentence_list(level_texts)));
    else
      layers.push_back(layer(level_names, {{"type", "text"}, {"align", "left"}, {"baseline", "middle"}, {"fontSize", small_size(layout)}, {"color", grey_ink}},
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
  if (!chart.bubbles.empty() && !chart.bubbles.front().source.empty()) tooltip.push_back({{"field", "source"}, {"title", "Source"}});
  const auto legend = [&](Json options) {
    options["offset"] = layout.narrow ? 10.0 : 18 + side;
    if (layout.narrow) options.update({{"orient", "bottom"}, {"columns", 3}, {"columnPadding", 8}});
    return options;
  };
  const auto on_front = [](const Json& yes, const Json& no) { return Json{{"condition", {{"test", "datum.front === 'yes'"}, {"value", yes}}}, {"value", no}}; };
  layers.push_back(layer(
      bubbles, {{"type", "circle"}, {"opacity", 0.62}},
      {{"x", x_field},
       {"y", y_field("y")},
       {"stroke", on_front(ink, "white")},
       {"strokeWidth", on_front(1.7, 1)},
       {"size",
        {{"field", "memory"},
         {"type", "quantitative"},
         {"scale", {{"domain", {0, std::max(largest / chart.bytes_per_unit, 1e-9)}}, {"range", {0, largest_area}}, {"zero", true}, {"nice", false}}},
         {"legend", legend({{"title", fmt::format("{} ({})", chart.memory_title, chart.memory_unit)}, {"values", sizes}, {"format", ",~r"},
                            {"symbolFillColor", line_grey}, {"symbolOpacity", 0.7}, {"symbolStrokeColor", line_grey}})}}},
       {"color", {{"field", "family"}, {"type", "nominal"}, {"scale", {{"domain", domain}, {"range", colours}}},
                  {"legend", legend({{"title", "Token mixing"}, {"symbolType", "circle"}, {"symbolSize", 120}, {"symbolOpacity", 0.75}})}}},
       {"tooltip", tooltip}}));
  if (chart.bubbles.empty()) {
    layers.back()["encoding"]["size"]["legend"] = layers.back()["encoding"]["color"]["legend"] = nullptr;
    layers.push_back(layer(Json::array({Json::object()}), {{"type", "text"}, {"text", "No run has both a score and a measured speed."}, {"fontSize", layout.narrow ? 11 : 15}, {"color", grey_ink}},
                           {{"x", pixels(layout.width / 2)}, {"y", pixels(layout.height / 2)}}));
  }
  std::vector<std::string> nameless;
  Json names = Json::array(), leaders = Json::array();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const PlacedLabel& label = labels[i];
    if (!label.placed) {
      nameless.push_back(shorten(chart.bubbles[i].label, 36));
      continue;
    }
    const auto rounded = [](double value) { return std::round(value * 10) / 10; };
    if (label.leader) leaders.push_back({{"px", rounded(label.from.x)}, {"py", rounded(label.from.y)}, {"qx", rounded(label.to.x)}, {"qy", rounded(label.to.y)}});
    names.push_back({{"text", labelled[i].text}, {"px", rounded((label.box.left + label.box.right) / 2)}, {"py", rounded((label.box.top + label.box.bottom) / 2)}});
  }
  if (!leaders.empty()) {
    layers.push_back(layer(leaders, {{"type", "rule"}, {"color", line_grey}, {"strokeWidth", 0.8}},
                           {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"x2", {{"field", "qx"}}}, {"y2", {{"field", "qy"}}}}));
  }
  if (!names.empty()) {
    layers.push_back(layer(names, {{"type", "text"}, {"align", "center"}, {"baseline", "middle"}, {"fontSize", name_size(layout)}, {"color", ink}},
                           {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"text", {{"field", "text"}}}}));
  }

  if (!chart.bubbles.empty()) caption.push_back("Dark rim: on the Pareto front, no other is at least as accurate, as fast and as small.");
  if (!far_levels.empty()) {
    std::vector<std::string> texts;
    for (const auto& [name, value] : far_levels) texts.push_back(fmt::format("{} {:.1f} %", name, value));
    caption.push_back("Reference levels outside the plot: " + sentence_list(texts) + ".");
  }
  if (nameless.size() > most_names) caption.push_back(fmt::format("Without room for a name: {} mechanisms.", nameless.size()));
  else if (!nameless.empty()) caption.push_back("Without room for a name: " + sentence_list(nameless) + ".");
  add_not_drawn(caption, chart.not_drawn);
  return {chart_spec(chart.title, chart.subtitle, layout, std::move(layers)), caption};
}

Drawing draw(const LineChart& chart, const Layout& layout) {
  std::vector<std::pair<double, double>> xs, ys;
  double names_width = 0;
  const std::size_t name_length = layout.narrow ? 18 : 36;
  const double size = small_size(layout);
  for (const Line& line : chart.lines) {
    names_width = std::max(names_width, text_width(shorten(line.label, name_length), size));
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
    layers.push_back(layer(level_lines, {{"type", "rule"}, {"strokeDash", {5, 4}}, {"color", line_grey}}, {{"x", pixels(0)}, {"x2", pixels(plot.width)}, {"y", y_field}}));
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
  for (const Line& line : chart.lines) {
    const Family& family = family_of(line.mixer);
    domain.push_back(line.label);
    colours.push_back(family.colour);
    dashes.push_back(patterns[static_cast<std::size_t>(of_family[family.name]++) % patterns.size()]);
    for (const auto& [px, py] : line.points) points.push_back({{"model", line.label}, {"x", px}, {"y", py}});
    if (line.points.empty()) continue;
    const double end = layout.height - y.pixel(line.points.back().second);
    if (names.size() >= most_names - chart.levels.size()) continue;
    names.push_back({end, x.pixel(line.points.back().first), end, shorten(line.label, name_length), line.label});
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
  const double room = names.empty() ? size + 2 : std::min(size + 2, (layout.height + 24) / static_cast<double>(names.size()));
  const double text_size = std::min(size, room - 1);
  std::vector<double> wanted;
  std::stable_sort(names.begin(), names.end(), [](const Name& a, const Name& b) { return a.y < b.y; });
  for (const Name& name : names) wanted.push_back(name.y);
  const auto places = spread(wanted, room, -12, layout.height + 12);
  Json labels = Json::array();
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Name& name = names[i];
    labels.push_back({{"text", name.text}, {"model", name.model}, {"px", plot.width + 16}, {"py", places[i]}, {"ex", std::max(name.end_x, 0.0)}, {"ey", name.end_y}, {"lx", plot.width + 13}});
  }
  const Json colour = {{"field", "model"}, {"type", "nominal"}, {"scale", {{"domain", domain}, {"range", colours}}}, {"legend", nullptr}};
  const Json faded = {{"condition", {{"param", "near"}, {"value", 1}, {"empty", true}}}, {"value", 0.15}};
  if (!labels.empty()) {
    layers.push_back(layer(labels, {{"type", "rule"}, {"strokeWidth", 0.9}, {"clip", false}},
                           {{"x", pixel_field("ex")}, {"y", pixel_field("ey")}, {"x2", {{"field", "lx"}}}, {"y2", {{"field", "py"}}}, {"color", colour}, {"opacity", faded}}));
    layers.push_back(layer(labels, {{"type", "text"}, {"align", "left"}, {"baseline", "middle"}, {"fontSize", text_size}, {"color", ink}},
                           {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"text", {{"field", "text"}}}, {"opacity", faded}}));
  }
  layers.push_back(layer(points, {{"type", "line"}, {"strokeWidth", 1.8}},
                         {{"x", x_field}, {"y", y_field}, {"color", colour}, {"opacity", faded},
                          {"strokeDash", {{"field", "model"}, {"type", "nominal"}, {"scale", {{"domain", domain}, {"range", dashes}}}, {"legend", nullptr}}}}));
  layers.push_back(layer(points, {{"type", "circle"}, {"size", 26}},
                         {{"x", x_field}, {"y", y_field}, {"color", colour}, {"opacity", faded},
                          {"tooltip", {{{"field", "model"}, {"title", "Mechanism"}}, {{"field", "x"}, {"title", chart.x_title}, {"format", ",~r"}},
                                       {{"field", "y"}, {"title", chart.y_title}, {"format", ",.4~r"}}}}}));
  layers.back()["params"] = {{{"name", "near"}, {"select", {{"type", "point"}, {"on", "pointerover"}, {"clear", "pointerout"}, {"fields", {"model"}}}}}};
  std::vector<std::string> caption = chart.caption;
  add_not_drawn(caption, chart.not_drawn);
  return {chart_spec(chart.title, chart.subtitle, plot, std::move(layers)), caption};
}

Json picture(const Drawing& drawing, const Layout& layout) {
  Json spec = complete_spec(drawing.spec, layout);
  if (!drawing.caption.empty()) spec["layer"].push_back(caption_layer(drawing.caption, layout));
  return spec;
}

}  // namespace lra::report
