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

/// Records every operator on every thread while one of these lives; one at a time. An operator of ours is seen where it
/// has RECORD_FUNCTION; it reports its FLOPs by a floating-point number as the last of the inputs there.
class OperatorRecording {
 public:
  OperatorRecording();
  ~OperatorRecording();
  OperatorRecording(const OperatorRecording&) = delete;
  OperatorRecording& operator=(const OperatorRecording&) = delete;

 private:
  std::uint64_t handle_;
};

/// All that was recorded since the last call of this, the longest first. Where one thread calls all operators, as in
/// training on a CPU, the seconds add up to no more than the time that passed.
std::vector<OperatorTime> take_recorded_operators();

/// What this machine can do with the threads that are set, measured in one to two seconds: the best of some matrix
/// products, of copying (bytes read and written) and of the first write to fresh memory. {"float32_flops",
/// "bf16_flops", "copy_bytes", "first_touch_bytes"}, all per second.
Json machine_limits();

/// profile.json: {"steps", "seconds_per_step", "limits", "operators": [{"name", "backward", "calls", "seconds",
/// "share", "flops", "bytes", "flops_per_second", "bytes_per_second"}]}, all for one step; the last operator, "outside
/// operators", has what remains of the step.
Json profile_json(const std::vector<OperatorTime>& operators, std::int64_t steps, double seconds, const Json& limits);

/// The same as a table of the operators that matter, for people.
std::string profile_table(const Json& profile);

}  // namespace lra
