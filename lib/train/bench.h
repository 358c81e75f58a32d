#pragma once

#include "core/config.h"
#include "core/record.h"
#include "train/progress.h"

namespace lra {

/// Measures one model at one batch size: `measure_warmup_steps` untimed and `measure_steps` timed training steps
/// (forward, backward and optimiser, device synchronised) on batches of the task's training split, then as many forward
/// passes for inference. Fills speeds, `peak_tensor_bytes` and, where all sequences had one length, `sequence_length`.
/// Status ok, oom, timeout, interrupted, nan or failed; throws Error for a user's mistake.
RunRecord bench(const RunConfig& config, ProgressSink& progress);

}  // namespace lra
