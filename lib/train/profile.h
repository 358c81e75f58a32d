#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json_file.h"

namespace lra {

/// One operator's share of what was recorded.
struct OperatorTime {
  std::string name;       ///< "aten::mm", "lra::residual_norm", or a node of the backward pass: "MmBackward0"
  bool backward = false;  ///< called by the backward pass
  std::int64_t calls = 0;
  double seconds = 0;  ///< without the operators that it called
  double flops = 0;    ///< matrix products, from the shapes of their arguments, 2 per multiply-add; or what an operator
                       ///< of ours reports
  double bytes = 0;    ///< arguments and results, each once; none for views, fresh memory, and operators that leave the
                       ///< work to others
};

/// Records every operator on every thread while this object lives. Only one may exist. Our own operators are seen if
/// they use RECORD_FUNCTION; the last of the inputs given there, a floating-point number, is their FLOPs.
class OperatorRecording {
 public:
  OperatorRecording();
  ~OperatorRecording();
  OperatorRecording(const OperatorRecording&) = delete;
  OperatorRecording& operator=(const OperatorRecording&) = delete;

 private:
  std::uint64_t handle_;
};

/// Everything recorded since the last call, the longest operator first. If one thread calls all operators, as in
/// training on a CPU, the sum of the seconds is at most the time that passed.
std::vector<OperatorTime> take_recorded_operators();

/// What this machine can do with the current number of threads, measured in one to two seconds: the fastest of several
/// matrix products, copying (bytes read plus bytes written), and first writes to fresh memory. {"float32_flops",
/// "bf16_flops", "copy_bytes", "first_touch_bytes"}, all per second.
Json machine_limits();

/// profile.json: {"steps", "seconds_per_step", "limits", "operators": [{"name", "backward", "calls", "seconds",
/// "share", "flops", "bytes", "flops_per_second", "bytes_per_second"}]}, all for one step; the last operator, "outside
/// operators", has what remains of the step.
Json profile_json(const std::vector<OperatorTime>& operators, std::int64_t steps, double seconds, const Json& limits);

/// The same as a table of the operators that matter, for people.
std::string profile_table(const Json& profile);

}  // namespace lra
