#pragma once

#include <cstdint>
#include <filesystem>

#include "core/json_file.h"

namespace lra {

/// {"name", "os", "cpu", "cores", "memory_bytes" (that this process may use), "load_average"} of this machine, without
/// torch.
Json host_info();

/// What containers and batch systems allow: the tightest limit of this process's control groups (versions 1 and 2) and
/// of the groups above them.
struct GroupLimits {
  double cores;         ///< CPU time per time; infinite where there is no quota
  double memory_bytes;  ///< infinite where there is no limit
};
/// `root`: the folder that holds proc and sys; tests give their own.
GroupLimits group_limits(const std::filesystem::path& root = "/");

/// What this process may use: the machine's own, cut by the scheduler's affinity, by control groups (of `root`) and by
/// the limits of `ulimit -v` and `-d`.
struct MachineLimits {
  std::int64_t cores = 1;  ///< at least 1; a part of a core counts as one
  std::int64_t memory_bytes = 0;
};
MachineLimits usable_machine(const std::filesystem::path& root = "/");

/// The cores of `usable_machine`.
std::int64_t usable_cores();

}  // namespace lra
