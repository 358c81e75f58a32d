#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "cli/estimate.h"
#include "core/config.h"
#include "train/progress.h"

namespace lra {

/// Exit codes of lra-run; documented in --help and in the README.
enum ExitCode : int {
  exit_ok = 0,
  exit_internal = 1,    ///< a fault of the program
  exit_user = 2,        ///< something in the call, a file or the machine; `error: ...` says what
  exit_not_all_ok = 3,  ///< a run ended with a status other than ok
  exit_interrupted = 130,
};

/// Does one run in this process, in exactly `folder`, and writes config.json, result.json and, for training,
/// metrics.jsonl, events.out.tfevents.lra, checkpoint.safetensors and model.safetensors. `suite_child`: this process
/// has inherited the lock on the folder from a suite. `sizes`: see example_sizes.
ExitCode run_in_folder(const RunConfig& config, const std::filesystem::path& folder, const ExampleSizes& sizes,
                       bool suite_child, ProgressSink& progress);

/// The note in the record of a run whose score is no better than guessing.
inline constexpr const char* nothing_learned =
    "no better than always guessing the most frequent class: nothing was learned";

/// What a record says, for the console: status, score, speed, memory.
std::string summary_of(const Json& record);

/// The record in `folder`, if there is one.
std::optional<Json> record_in(const std::filesystem::path& folder);

/// The configuration of the record in `folder`. A relative data_dir counts from where that run was started; here it
/// leads to the same data, if they are still there. Null if the record has none.
Json config_of_record(const Json& record, const std::filesystem::path& folder);

/// What the record in `folder` says: "" if there is none, else its status, or "shorter" for that of a run which
/// `config` lengthens. Throws Error if it is of a run with another configuration or on other data than `config` finds
/// now.
std::string recorded_status(const RunConfig& config, const std::filesystem::path& folder);

/// Does the status say that the run need not be done again?
bool finished(const std::string& status);

/// Writes the record of a run that could not write its own.
void write_failure(const RunConfig& config, const std::filesystem::path& folder, const std::string& status,
                   const std::string& message, double seconds);

}  // namespace lra
