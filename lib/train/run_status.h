#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <string>

#include "core/config.h"
#include "core/record.h"

namespace lra {

/// Thrown to end a run before its end with a status of its own: timeout, nan, interrupted.
struct Ended {
  std::string status, message;
};

/// Calls `work` under the run's memory limit and turns what it throws into the record's status and message: Ended into its own, memory that ran out into oom,
/// everything else into failed. An Error (a user's mistake) passes through. Sets `wall_seconds` and `peak_rss_bytes`.
void run_with_status(const RunConfig& config, RunRecord& record, const std::function<void()>& work);

/// Bytes that tensors and what is kept for their reuse may take: `memory_limit_gb`, or what the machine allows where that is less or none is given.
std::int64_t memory_limit_bytes(const TrainConfig& config);

/// Throws Ended when a stop was asked for (interrupted), or `seconds` are above the time limit (timeout).
void end_if_asked(const TrainConfig& config, double seconds);

/// Fills in the configuration, {"device", "allocator"} of the host, and notes on how the configuration was understood.
void describe_run(const RunConfig& config, at::Device device, RunRecord& record);

}  // namespace lra
