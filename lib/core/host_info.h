#pragma once

#include "core/json_file.h"

namespace lra {

/// {"name", "os", "cpu", "cores" (that this process may use), "memory_bytes", "load_average"} of this machine, without torch.
Json host_info();

/// Cores that this process may run on: the scheduler's affinity, cut by a cgroup's CPU quota.
std::int64_t usable_cores();

}  // namespace lra
