#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/config.h"
#include "core/record.h"
#include "data/dataset.h"
#include "train/progress.h"

namespace lra {

/// Thrown to end a run before its end with a status of its own: timeout, nan, interrupted.
struct Ended {
  std::string status, message;
};

/// Calls `work` under the run's memory limit. An exception becomes the record's status and message: Ended has a status
/// of its own, out of memory becomes oom, everything else becomes failed. An Error (a user's mistake) passes through.
/// Sets `wall_seconds` and `peak_rss_bytes`.
void run_with_status(const RunConfig& config, RunRecord& record, const std::function<void()>& work);

/// The bytes that tensors may take, including freed memory that is kept for reuse: the smaller of `memory_limit_gb` (if
/// given) and what the machine allows.
std::int64_t memory_limit_bytes(const TrainConfig& config);

/// Calls `work` and returns what it returns. Running out of memory outside of a run with a record is an Error.
int within_memory(const std::function<int()>& work);

/// Throws Ended when a stop was asked for (interrupted), or `seconds` are above the time limit (timeout).
void end_if_asked(const TrainConfig& config, double seconds);

/// Fills in the record's facts about the data: `info` as the task gives it, and of each split that is used the share of
/// sequences that seq_len cuts. Adds notes for the reader, also for `progress`: if the data are not the complete
/// official ones, if sequences are cut, if a batch would need more examples than there are.
void describe_data(const RunConfig& config, const Json& info,
                   const std::vector<std::pair<std::string, const Dataset*>>& splits, RunRecord& record,
                   ProgressSink& progress);

/// Fills in the configuration, {"device", "allocator"} of the host, and notes on how the configuration was understood.
void describe_run(const RunConfig& config, at::Device device, RunRecord& record);

}  // namespace lra
