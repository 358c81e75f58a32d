#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json_file.h"
#include "core/record.h"

namespace lra::report {

/// One `result.json`, checked. Accuracies are fractions of 1; what was not measured is absent.
struct Result {
  std::filesystem::path file;
  std::string kind;  ///< train | bench
  std::string status, message, suite, task, mixer, variant, display_name, profile;
  std::int64_t seed = 0;
  std::optional<double> train_accuracy, valid_accuracy, test_accuracy;
  std::optional<std::int64_t> test_examples, sequence_length, peak_tensor_bytes, peak_rss_bytes, parameters;
  std::optional<Measured> train_steps_per_second, train_examples_per_second, inference_examples_per_second;
  Json reference_levels, config, host, build, data, notes;
};

/// Checks a record's schema version and types. `file` names it in errors.
Result parse_result(const Json& json, const std::filesystem::path& file);

/// Every `result.json` below the folders (each file once, sorted by path). Throws Error for a missing folder, broken JSON, another
/// schema version, or where there is none.
std::vector<Result> collect(const std::vector<std::filesystem::path>& folders);

}  // namespace lra::report
