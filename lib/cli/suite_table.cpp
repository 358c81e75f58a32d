#include "cli/suite_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "cli/columns.h"
#include "cli/resolve.h"
#include "cli/run.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr const char* untrusted = "†";

using Row = std::vector<std::string>;

/// A number of the record, if it has one at this JSON pointer.
std::optional<double> number(const Json& record, const char* pointer) {
  const Json::json_pointer place(pointer);
  if (!record.contains(place) || !record.at(place).is_number()) return {};
  return record.at(place).get<double>();
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// The runs of one task and mixer that differ in their seeds.
struct Trained {
  Trained(std::string task_name, std::string variant_name)
      : task(std::move(task_name)), variant(std::move(variant_name)) {}

  std::string task, variant;
  std::vector<double> scores, speeds, bytes;
  std::map<std::string, int> statuses;
  bool disturbed = false, learned_nothing = false;

  void add(const Json& record) {
    ++statuses[record.value("status", "?")];
    if (const auto score = number(record, "/metrics/test_accuracy")) scores.push_back(*score);
    if (const auto speed = number(record, "/speed/train_examples_per_second/median")) speeds.push_back(*speed);
    if (const auto peak = number(record, "/memory/peak_tensor_bytes")) bytes.push_back(*peak);
    disturbed = disturbed || record.contains(Json::json_pointer("/speed/disturbed"));
    for (const auto& note : record.value("notes", Json::array()))
      learned_nothing = learned_nothing || note == nothing_learned;
  }

  /// In per cent, of several seeds with the standard error of their mean.
  std::string score() const {
    if (scores.empty()) return "-";
    if (scores.size() == 1) return fmt::format("{:.2f} %", 100 * scores[0]);
    double squares = 0;
    for (const double one : scores) squares += (one - mean(scores)) * (one - mean(scores));
    const auto count = static_cast<double>(scores.size());
    return fmt::format("{:.2f} ± {:.2f} %", 100 * mean(scores), 100 * std::sqrt(squares / (count - 1) / count));
  }

  Row row() const {
    std::string status;
    for (const auto& [name, count] : statuses) {
      status += status.empty() ? "" : ", ";
      status += statuses.size() > 1 ? fmt::format("{} {}", count, name) : name;
    }
    if (learned_nothing) status += "; learned nothing";
    return {task,
            variant,
            score(),
            speeds.empty() ? "-" : fmt::format("{:.4g}{}", mean(speeds), disturbed ? untrusted : ""),
            bytes.empty() ? "-" : fmt::format("{:.1f}", *std::max_element(bytes.begin(), bytes.end()) / 1e6),
            status};
  }
};

Row bench_row(const RunConfig& run, const Json& record) {
  const auto steps = number(record, "/speed/train_steps_per_second/median"),
             spread = number(record, "/speed/train_steps_per_second/spread");
  const auto examples = number(record, "/speed/train_examples_per_second/median"),
             loading = number(record, "/speed/loading_examples_per_second/median");
  const auto peak = number(record, "/memory/peak_tensor_bytes");
  const bool disturbed = record.contains(Json::json_pointer("/speed/disturbed"));
  return {run.variant,
          std::to_string(run.task.seq_len),
          std::to_string(run.train.batch_size),
          steps ? fmt::format("{:.4g}", *steps) : "-",
          examples ? fmt::format("{:.4g}{}", *examples, disturbed ? untrusted : "") : "-",
          steps && spread ? fmt::format("{:.1f}", 100 * *spread / *steps) : "-",
          peak ? fmt::format("{:.1f}", *peak / 1e6) : "-",
          examples && loading ? fmt::format("{:.3g}", *loading / *examples) : "-",
          record.value("status", "?")};
}

}  // namespace

std::string suite_table(const std::vector<RunConfig>& runs, const fs::path& out) {
  std::vector<Trained> trained;
  std::map<std::pair<std::string, std::string>, std::size_t> places;
  // loading x: how many times as fast as it trains one thread reads and packs the examples.
  std::vector<Row> scores{{"task", "mixer", "score", "examples/s", "MB", "status"}},
      measured{{"mixer", "length", "batch", "steps/s", "examples/s", "spread %", "MB", "loading x", "status"}};
  for (const auto& run : runs) {
    const auto record = record_in(run_folder(out, run));
    if (!record || !record->is_object()) continue;
    if (run.kind == "bench") {
      measured.push_back(bench_row(run, *record));
      continue;
    }
    const auto [place, is_new] =
        places.try_emplace({fmt::format("{} n{}", run.task.task, run.task.seq_len), run.variant}, trained.size());
    if (is_new) trained.emplace_back(place->first.first, run.variant);
    trained[place->second].add(*record);
  }
  for (const auto& row : trained) scores.push_back(row.row());
  std::string text;
  if (scores.size() > 1) text += fmt::format("\n{}", columns(scores, 2));
  if (measured.size() > 1) text += fmt::format("\n{}", columns(measured, 1));
  if (text.find(untrusted) != std::string::npos)
    text +=
        fmt::format("{} not to be trusted: other runs or programs worked beside it, or the speed varied\n", untrusted);
  return text;
}

}  // namespace lra
