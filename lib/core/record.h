#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json_file.h"

namespace lra {

inline constexpr int record_schema_version = 1;

/// A measured quantity: median, interquartile range, and the raw samples (thinned evenly to at most 200; `count` says
/// how many there were).
struct Measured {
  double median = 0;
  double spread = 0;
  std::int64_t count = 0;
  std::vector<double> samples;
};

/// Linear interpolation between the closest ranks; `sorted` is ascending and not empty.
double quantile(const std::vector<double>& sorted, double q);

/// Median and interquartile range of all samples.
Measured measured(std::vector<double> samples);

/// The facts of one run: `result.json`. Accuracies are fractions of 1. What was not measured is absent, never zero.
struct RunRecord {
  std::string status = "ok";     ///< ok oom timeout nan failed interrupted skipped
  std::string message;           ///< why, for every status but ok
  Json config = Json::object();  ///< resolved RunConfig
  std::optional<double> train_accuracy, valid_accuracy, test_accuracy;
  std::optional<std::int64_t> test_examples, selected_step, steps_done;
  Json reference_levels;  ///< from the data
  std::optional<Measured> train_steps_per_second, train_examples_per_second, inference_examples_per_second;
  std::optional<Measured> loading_examples_per_second;  ///< bench: reading and packing a batch, one thread
  std::string disturbed;                                ///< why the speeds are not to be trusted; empty if they are
  std::optional<std::int64_t> sequence_length;          ///< bench: the fixed length of every sequence; train: absent
  std::optional<std::int64_t> peak_tensor_bytes, peak_rss_bytes;
  std::optional<std::int64_t> parameters;
  Json cost;                   ///< flops and bytes estimated before the run
  Json notes = Json::array();  ///< what the reader must know (attention dropout not available, examples limited, ...)
  Json operator_profile;  ///< bench: where the time goes by operator (train/profile.h); a file of its own, profile.json
  Json host, build, data;
  Json files;  ///< that the record vouches for, in its folder: {NAME: {"bytes", "sha256"}}
  double wall_seconds = 0;

  Json to_json() const;
};

}  // namespace lra
