#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "core/json_file.h"
#include "core/record.h"

namespace lra {

/// Others' load above which a measurement is not to be trusted.
inline constexpr double disturbing_cores = 0.5;

/// What other processes compute while this one measures.
struct Load {
  std::optional<double> before = {},
                        during = {};  ///< CPU use by other programs, in cores; absent where it is not known
  std::optional<double> suite = {};   ///< the same, during, by other runs of the same suite

  Json to_json() const;
};

/// A moment, and the CPU time used until then, in seconds.
struct CpuTimes {
  double moment = 0;
  double all =
      0;  ///< by all programs on the cores that this process may use, and by other virtual machines in their place
  double own = 0;    ///< by this process and its children that have ended
  double suite = 0;  ///< by the rest of the suite that this process has joined
};

/// Now, from /proc/stat; in a container that is often the host's. All is 0 where the file cannot be read.
CpuTimes cpu_times();

/// From now on the work of the process `suite` and its children is no other program's. Begins the count of
/// `cpu_times_at_start` anew.
void join_suite(pid_t suite);

/// When this program was started, or joined a suite.
CpuTimes cpu_times_at_start();

/// Now; waits until a tenth of a second has passed since the start, so that the load before a measurement is known.
CpuTimes cpu_times_before_measuring();

/// CPU use by other programs between two moments, in cores. Absent when they are less than a tenth of a second apart,
/// since the system counts in hundredths, or when the times are not known.
std::optional<double> other_load(const CpuTimes& from, const CpuTimes& to);

/// Of a measurement that began at `from`, until now.
Load load_since(const CpuTimes& from);

/// CPU time of all programs in the text of a /proc/stat, in seconds, on the cores that `counts` says.
double busy_seconds(std::string_view stat, double ticks_per_second, bool (*counts)(int core));

/// Why a speed is not to be trusted: other programs or runs used more than half a core, or its interquartile range is
/// above a quarter of its median. Empty if it is to be.
std::string disturbance(const Load& load, const Measured& speed);

/// How `disturbance` says that a run trained side by side with others of its suite.
inline constexpr const char* beside_another_run = "trained beside another run of this suite";

/// What to do about other disturbances, for the console.
inline constexpr const char* disturbance_remedy =
    "close other programs or use threads=1, raise measure_steps, and measure again with another --out";

}  // namespace lra
