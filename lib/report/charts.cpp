#include "report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/thousands.h"
#include "report/labels.h"

namespace lra::report {
namespace {

/// "more than 20 and fewer than 120 symbols", as its generator was told, or "up to 1,024 tokens".
std::string lengths_of(const Result& result) {
  const auto generator = result.data.find("generator");
  if (generator != result.data.end() && generator->is_object() && generator->contains("min_length") &&
      generator->contains("max_length")) {
    return fmt::format("more than {} and fewer than {} symbols", shorten(text_at(*generator, "min_length"), 12),
                       shorten(text_at(*generator, "max_length"), 12));
  }
  const std::string length = text_at(result.config, "seq_len");
  return length.empty() ? "" : fmt::format("up to {} tokens", shorten(length, 12));
}

/// How far the steps' speeds vary, and whose speed is not to be trusted.
std::string spread_text(const std::vector<Bubble>& bubbles) {
  double least = 1e300, most = 0;
  std::vector<std::string> disturbed;
  for (const Bubble& bubble : bubbles) {
    if (!bubble.disturbed.empty()) disturbed.push_back(shorten(bubble.label, 36));
    if (bubble.x_error <= 0) continue;
    least = std::min(least, bubble.x_error / bubble.x);
    most = std::max(most, bubble.x_error / bubble.x);
  }
  std::string text;
  if (most > 0)
    text = fmt::format(
        "Speeds: medians; their spread (interquartile range over steps, or deviation over records) is {:.2g} to {:.2g} "
        "% of them.",
        100 * least, 100 * most);
  if (!disturbed.empty()) {
    const bool all = disturbed.size() == bubbles.size();
    text += fmt::format(" Do not compare {}: the machine was busy with something else.",
                        all ? "these speeds" : fmt::format("the speeds of {}", fmt::join(disturbed, ", ")));
  }
  return text;
}

void set_memory_unit(Chart& chart) {
  double largest = 0;
  for (const Bubble& bubble : chart.bubbles) largest = std::max(largest, bubble.bytes);
  const bool giga = largest >= 1.5e9;
  chart.memory_unit = giga ? "GB" : "MB";
  chart.bytes_per_unit = giga ? 1e9 : 1e6;
}

/// A row without a score or a speed.
void add_failure(const ScoreRow& row, const SpeedGroup* speed, const SpeedRow* measured, Chart& chart) {
  if (!row.test && (row.status == "ok" || row.status == "incomplete")) {
    chart.not_drawn.emplace_back(row.label, row.status + ": " + row.message);
    return;
  }
  Failure failure{row.label, row.mixer, row.variant, row.status};
  if (measured != nullptr) failure.x = measured->examples_per_second->mean;
  if (row.test) {
    failure.y = row.test->mean;
    failure.reason = "no speed";
    for (const SpeedRow& other : speed == nullptr ? std::vector<SpeedRow>() : speed->rows) {
      const bool same = other.variant == row.variant && (row.model.empty() || other.model == row.model);
      if (same && other.status != "ok") failure.reason = other.status;
    }
  }
  chart.failures.push_back(failure);
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
  std::set<std::string> error_kinds, revisions, lengths;
  bool dirty = false, other_revision = false;
  for (const ScoreRow& row : scores.rows) {
    const SpeedRow* measured = speed == nullptr ? nullptr : speed_of(row, *speed);
    if (measured != nullptr && memory == Memory::process && !measured->peak_rss_bytes) measured = nullptr;
    if (!row.test || measured == nullptr) {
      add_failure(row, speed, measured, chart);
      continue;
    }
    chart.bubbles.push_back({row.label, row.mixer, measured->examples_per_second->mean, row.test->mean, row.test->error,
                             memory == Memory::tensors ? *measured->peak_tensor_bytes : *measured->peak_rss_bytes});
    Bubble& bubble = chart.bubbles.back();
    bubble.x_error = measured->examples_per_second->error;
    bubble.bytes_error = memory == Memory::tensors ? measured->peak_tensor_spread : 0;
    bubble.disturbed = measured->disturbed;
    bubble.key = row.variant;
    for (const Result* record : row.records) lengths.insert(lengths_of(*record));
    n.insert(row.test->n);
    revisions.insert(measured->revision.substr(0, 10));
    dirty = dirty || measured->dirty;
    other_revision = other_revision ||
                     (!row.records.empty() && text_at(row.records.front()->build, "revision") != measured->revision);
    if (!row.test->error_kind.empty()) {
      error_kinds.insert(row.test->error_kind == "binomial SE"     ? "binomial standard error of the test set"
                         : row.test->error_kind == "sd over seeds" ? "standard deviation over seeds"
                                                                   : "standard error " + row.test->error_kind);
    }
  }
  if (!n.empty()) {
    chart.caption.push_back(*n.begin() == *n.rbegin()
                                ? fmt::format("n = {} seed{} each.", *n.begin(), *n.begin() == 1 ? "" : "s")
                                : fmt::format("n = {} to {} seeds.", *n.begin(), *n.rbegin()));
  }
  if (!error_kinds.empty()) {
    chart.caption.push_back(fmt::format("Vertical bars: ± one {}.", fmt::join(error_kinds, " (one seed) or ")));
  }
  lengths.erase("");
  const std::string scored = lengths.empty() ? "" : fmt::format("Scores: {}; ", fmt::join(lengths, ", "));
  chart.caption.push_back(
      memory == Memory::tensors
          ? "Circle area: peak bytes held by tensors during a training step."
          : "Circle area: the process's high-water mark in the computer's memory, program and libraries included.");
  if (speed == nullptr) {
    chart.x_title = "Training speed (not measured)";
  } else if (speed->source == "bench") {
    chart.x_title =
        fmt::format("Training speed (examples/s, {} tokens each, batch {})", speed->length, speed->batch_size);
    chart.caption.push_back(
        fmt::format("{}peed and memory: {} tokens in every sequence, batch {}, measured by bench on {}.",
                    scored.empty() ? "S" : scored + "s", with_commas(speed->length), speed->batch_size, speed->host));
  } else {
    chart.x_title = fmt::format("Training speed seen while training on {} (examples/s, batch {})", speed->task_name,
                                speed->batch_size);
    chart.caption.push_back(fmt::format("{}peed and memory: those seen while training, at the same lengths.",
                                        scored.empty() ? "S" : scored + "s"));
  }
  if (const std::string text = spread_text(chart.bubbles); !text.empty()) chart.caption.push_back(text);
  for (const std::string& warning : scores.warnings) chart.caption.push_back(warning);
  if (other_revision) chart.caption.push_back("Some speeds come from another program revision than the scores.");
  if (revisions.size() > 1)
    chart.caption.push_back(
        fmt::format("Speeds come from different program revisions: {}.", fmt::join(revisions, ", ")));
  if (dirty) chart.caption.push_back("Some speeds come from programs with uncommitted changes.");
  set_memory_unit(chart);
  return chart;
}

Chart paper_chart(const Json& published, const std::string& length) {
  Chart chart;
  chart.name = length == "4K" ? "bubble_paper_2020" : "bubble_paper_2020_" + length;
  chart.title = "Long Range Arena, 2020: published accuracy, speed and memory";
  chart.subtitle = fmt::format(
      "Tay et al., arXiv 2011.04006, Tables 1 and 2 · byte-level text at {} tokens · batch 32 · 16 TPU v3 chips",
      length);
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
      chart.not_drawn.emplace_back(model,
                                   fmt::format("{:.2f} %; not in Table 2", scores["Avg_recomputed_5"].get<double>()));
      continue;
    }
    std::string mixer;
    for (const auto& [name, link] : published.at("mixers").items()) {
      if (mixer.empty() && link["model"] == model) mixer = name;
    }
    chart.bubbles.push_back({model, mixer, 32 * (*speeds)["steps_per_sec"][length].get<double>(),
                             scores["Avg_recomputed_5"].get<double>(), 0,
                             1e9 * (*speeds)["peak_memory_gb_per_device"][length].get<double>(),
                             "arXiv 2011.04006, Table 1 (average) and Table 2 (speed, memory)"});
    chart.bubbles.back().key = mixer;
    if (std::abs(scores["Avg_printed"].get<double>() - chart.bubbles.back().y) > 0.015) {
      chart.caption.push_back(
          fmt::format("{}: the mean of its five printed scores, {:.2f}, is drawn; the paper prints {:.2f}.", model,
                      chart.bubbles.back().y, scores["Avg_printed"].get<double>()));
    }
  }
  chart.caption.insert(
      chart.caption.begin(),
      "The paper's own figure prints no values, and what can be read off it fits no single length (its Performer, at "
      "about 300 examples/s, lies between the tables' 3K and 1K): this one is rebuilt from the "
      "tables. Circle area: peak memory per device.");
  return chart;
}

std::vector<bool> pareto_front(const std::vector<Bubble>& bubbles) {
  std::vector<bool> front;
  for (const Bubble& a : bubbles) {
    front.push_back(std::none_of(bubbles.begin(), bubbles.end(), [&](const Bubble& b) {
      const bool nowhere_worse = b.x >= a.x && b.y >= a.y && b.bytes <= a.bytes;
      const bool faster = b.x - a.x > a.x_error + b.x_error && b.disturbed.empty();
      return nowhere_worse &&
             (faster || b.y - a.y > a.error + b.error || a.bytes - b.bytes > a.bytes_error + b.bytes_error);
    }));
  }
  return front;
}

Json picture(const Drawing& drawing, const Layout& layout) {
  Json spec = complete_spec(drawing.spec, layout);
  if (!drawing.caption.empty()) spec["layer"].push_back(caption_layer(drawing.caption, layout));
  return spec;
}

}  // namespace lra::report
