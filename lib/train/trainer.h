#pragma once

#include <filesystem>

#include "core/config.h"
#include "core/record.h"
#include "train/progress.h"

namespace lra {

/// Trains, selects and tests one run, and keeps in `folder`: metrics.jsonl (a line for the training batches since the
/// last evaluation, the `valid` and finally the `test` split), events.out.tfevents.lra (the same for TensorBoard),
/// checkpoint.safetensors, and at the end model.safetensors with the selected weights; beside a checkpoint lie
/// resume.json and, with selection `best_valid`, best-STEP.safetensors. A run with a checkpoint in `folder` goes on
/// from there. So does a finished run if train_steps was raised. The same configuration on the same machine gives the
/// same bytes, except for speeds and the times of events, even if the run was interrupted or lengthened.
///
/// The time limit counts the time of all processes of the run together; of a killed process, up to its last checkpoint.
///
/// The record's status is ok, or nan (a loss that is not finite), oom, timeout, interrupted (see install_stop_signals;
/// a checkpoint was written) or failed. Throws Error for a user's mistake: configuration, data, device, a checkpoint
/// that does not fit.
///
/// `train_accuracy` is measured on the training batches between the last two evaluations, with dropout, before each
/// batch's update. Speeds are those of this process's steps after `measure_warmup_steps`. `peak_tensor_bytes` is of
/// training steps, above what was there before the model.
RunRecord train(const RunConfig& config, const std::filesystem::path& folder, ProgressSink& progress);

}  // namespace lra
