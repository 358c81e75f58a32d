#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/config.h"
#include "model/classifier.h"
#include "train/optimizer.h"

namespace lra {

/// Where a training run stands, beside its tensors. The step is the sampler's position too: batches depend on (seed, step) alone.
struct TrainState {
  std::int64_t step = 0;                  ///< finished updates
  std::int64_t evaluated_step = 0;        ///< the last step whose evaluation is done
  std::int64_t metrics_lines = 0;         ///< of metrics.jsonl; not bytes, for the speeds in them differ from run to run
  std::int64_t peak_tensor_bytes = 0;     ///< in training steps, above what was there before the model
  // Sums over the training batches since the last evaluation.
  std::int64_t window_examples = 0;
  std::int64_t window_correct = 0;
  double window_loss_sum = 0;
  std::int64_t window_peak_tensor_bytes = 0;
  // At the last evaluation; -1: there was none.
  double train_accuracy = -1;
  double valid_accuracy = -1;
  double best_valid_accuracy = -1;
  std::int64_t best_step = 0;
};

/// Writes `folder`/checkpoint.safetensors atomically: parameters and buffers under their names, the optimiser's state under
/// "optimizer/...", the generators' states under "generator/...", and in the metadata the configuration and the state.
void save_checkpoint(const std::filesystem::path& folder, const RunConfig& config, const Classifier& model, const AdamW& optimizer,
                     const TrainState& state);

/// Restores all of it from `folder`/checkpoint.safetensors; nothing if there is no such file. Throws Error if the file is not sound or
/// comes from a run whose configuration differs in anything that can change the numbers (limits, names and measuring may differ).
std::optional<TrainState> load_checkpoint(const std::filesystem::path& folder, const RunConfig& config, Classifier& model, AdamW& optimizer);

/// Writes parameters and buffers only, with the resolved configuration in the metadata.
void save_model(const std::filesystem::path& file, const RunConfig& config, const Classifier& model, std::int64_t step);

/// Reads parameters and buffers from a file of `save_model` or from a checkpoint. Throws Error naming the first tensor that does not fit.
void load_model(const std::filesystem::path& file, Classifier& model);

/// The resolved configuration in a file of `save_model` or in a checkpoint. Throws Error if it has none.
Json read_model_config(const std::filesystem::path& file);

}  // namespace lra
