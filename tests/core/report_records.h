#pragma once

#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "report/collect.h"
#include "report/remarks.h"

/// Records as lra-run writes them, for tests of the report.
namespace lra::report::testing {

namespace fs = std::filesystem;

/// Made at once, removed at the end.
struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / ("lra_report_" + std::to_string(::getpid()));
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
};

inline std::vector<std::string> sentences_of(const std::vector<Result>& results) {
  std::vector<std::string> sentences;
  for (const Remark& remark : remarks_on(results)) sentences.push_back(remark.sentence);
  return sentences;
}

inline Json train_record(const std::string& mixer, std::int64_t seed, double accuracy) {
  return {{"schema_version", 1},
          {"kind", "train"},
          {"status", "ok"},
          {"task", "listops"},
          {"mixer", mixer},
          {"variant", mixer},
          {"display_name", "The " + mixer},
          {"profile", "small"},
          {"seed", seed},
          {"config", {{"seq_len", 2000}, {"limit", 0}, {"train_steps", 5000}, {"batch_size", 32}, {"seed", seed}}},
          {"metrics", {{"test_accuracy", accuracy}, {"test_examples", 2000}, {"reference_levels", {{"chance", 0.1}}}}},
          {"speed", {{"train_examples_per_second", {{"median", 70.0}, {"spread", 2.0}, {"count", 20}}}}},
          {"memory", {{"peak_tensor_bytes", 7000}}},
          {"host", {{"name", "a"}, {"device", "cpu"}, {"threads", 2}}},
          {"data", {{"test", "hash"}}}};
}

inline Json bench_record(const std::string& mixer, std::int64_t length, double speed, std::int64_t bytes) {
  Json record = train_record(mixer, 0, 0);
  record["kind"] = "bench";
  record["task"] = "bytes";
  record["sequence_length"] = length;
  record["metrics"] = Json::object();
  record["data"] = Json::object();
  record["config"] = {{"batch_size", 1}};
  record["speed"]["train_examples_per_second"]["median"] = speed;
  record["memory"]["peak_tensor_bytes"] = bytes;
  return record;
}

inline std::vector<Result> parse(const std::vector<Json>& records) {
  std::vector<Result> results;
  for (std::size_t i = 0; i < records.size(); ++i) results.push_back(parse_result(records[i], "r" + std::to_string(i)));
  return results;
}

inline const Json& published() {
  static const Json json = read_json(fs::path(LRA_SOURCE_DIR) / "data/published/lra.json");
  return json;
}

template <class Rows>
const auto& row_of(const Rows& rows, const std::string& label) {
  for (const auto& row : rows) {
    if (row.label == label) return row;
  }
  throw std::runtime_error("no row " + label);
}

}  // namespace lra::report::testing
