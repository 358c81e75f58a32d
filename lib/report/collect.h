#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
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
  std::optional<std::int64_t> test_examples, sequence_length, peak_tensor_bytes, peak_rss_bytes, parameters, steps_done;
  std::optional<double> flops_per_step, wall_seconds;
  std::optional<Measured> train_steps_per_second, train_examples_per_second, inference_examples_per_second;
  Json reference_levels, config, host, build, data, notes;
  Json
      settings;  ///< the configuration with the defaults of keys that the record lacks; equal settings have equal texts
  std::string disturbed;   ///< why its speed is not to be trusted: what the record says, else a spread of more than a
                           ///< quarter of the median; or empty
  std::string incomplete;  ///< how the data differ from the complete official ones, or empty
  std::string signature;   ///< the settings without what changes neither results nor speed; equal for the seeds of one
                           ///< setting and the lengths of a bench
};

/// A value of an object as text, "" where there is none.
std::string text_at(const Json& object, const char* key);

/// Does its speed count for little because other runs of its suite trained at the same time?
bool trained_beside_another(const Result& result);

/// "spread is 40 % of the median" where it is more than a quarter; else empty.
std::string wide_spread(const std::optional<Measured>& speed);

/// Equal for records of the same data: the hashes of the splits, else all that the record says of its data.
std::string data_identity(const Result& result);

/// The fraction of each split's sequences that seq_len cuts, where that is known and above 0.
std::map<std::string, double> cut_shares(const Result& result);

/// Checks a record's schema version and types. `file` names it in errors.
Result parse_result(const Json& json, const std::filesystem::path& file);

/// The records that could be read, and sentences about problems: one for each record that could not be read (broken
/// JSON, another schema version, a wrong type) or is a copy of another, and one for each folder that could not be read.
struct Collection {
  std::vector<Result> results;
  std::vector<std::string> broken;
};

/// Keys of a configuration that change neither what is computed nor how fast a step is.
const std::set<std::string>& bookkeeping_keys();

/// Every `result.json` below the folders, also behind symbolic links (each file once, sorted by path). Throws Error for
/// a missing folder, or where no record can be read.
Collection collect(const std::vector<std::filesystem::path>& folders);

/// One line of a run's metrics.jsonl.
struct CurvePoint {
  std::int64_t step = 0;
  std::string split;              ///< train | valid
  double loss = 0, accuracy = 0;  ///< accuracy in percent
};

/// metrics.jsonl in a run's folder; empty where there is none. Lines that cannot be read (the last one of a run that is
/// being written) are left out.
std::vector<CurvePoint> read_curve(const std::filesystem::path& run_folder);

}  // namespace lra::report
