#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <vector>

#include "core/config.h"

namespace lra {

/// Exit codes of lra-run; documented in --help and in the README.
enum ExitCode : int {
  exit_ok = 0,
  exit_internal = 1,     ///< a fault of the program
  exit_user = 2,         ///< something in the call, a file or the machine; `error: ...` says what
  exit_not_all_ok = 3,   ///< a run ended with a status other than ok
  exit_interrupted = 130,
};

/// Does every run in a process of its own below `out`: one after another, but those that train with one thread (see chosen_threads) side by side. Finished runs are skipped, half-done ones resumed, runs that another process works on
/// are waited for at the end. A run that fails, dies or exceeds its limits leaves a record with its status, and the next begins.
ExitCode run_suite(const std::vector<RunConfig>& runs, const std::filesystem::path& out);

/// Does one run in this process, in exactly `folder`, and writes config.json, result.json and, for training, metrics.jsonl,
/// events.out.tfevents.lra, checkpoint.safetensors and model.safetensors. `suite_child`: this process has inherited the lock on the folder from a suite.
/// `label` begins each line about its course.
ExitCode run_in_folder(const RunConfig& config, const std::filesystem::path& folder, bool suite_child, const std::string& label = {});

/// Makes this process the child of the suite in the process `suite`: the kernel's first choice when memory runs out, and stopped when the
/// suite dies. False if that has died already.
bool is_suite_child(pid_t suite);

/// The record in `folder`, if there is one.
std::optional<Json> record_in(const std::filesystem::path& folder);

/// What the record in `folder` says: "" if there is none, else its status, or "shorter" for that of a run which `config` lengthens. Throws Error if it
/// is of a run with another configuration or on other data than `config` finds now.
std::string recorded_status(const RunConfig& config, const std::filesystem::path& folder);

}  // namespace lra
