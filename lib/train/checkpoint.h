#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "model/classifier.h"
#include "train/optimizer.h"

namespace lra {

/// The state of a training run besides its tensors. The step is also the position in the data, because batches depend
/// on (seed, step) alone.
struct TrainState {
  std::int64_t step = 0;               ///< finished updates
  std::int64_t evaluated_step = 0;     ///< the last step whose evaluation is done
  std::int64_t metrics_lines = 0;      ///< of metrics.jsonl; not bytes, for the speeds in them differ from run to run
  std::int64_t peak_tensor_bytes = 0;  ///< in training steps, above what was there before the model
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

/// Writes `folder`/checkpoint.safetensors atomically: parameters and buffers under their names, the optimiser's state
/// under "optimizer/...", the generators' states under "generator/...", and in the metadata the configuration, the
/// state and the hashes of the data (see split_hashes).
void save_checkpoint(const std::filesystem::path& folder, const RunConfig& config, const Json& hashes,
                     const Classifier& model, const AdamW& optimizer, const TrainState& state);

/// What a checkpoint gave back.
struct Resumed {
  TrainState state;
  std::vector<std::string> notes;  ///< for the record
};

/// Restores a run from `folder`/checkpoint.safetensors; returns nothing if there is no such file. Throws Error if the
/// file is damaged, was trained on other data, or belongs to another run (see config_difference).
std::optional<Resumed> load_checkpoint(const std::filesystem::path& folder, const RunConfig& config, const Json& hashes,
                                       Classifier& model, AdamW& optimizer);

/// Writes parameters and buffers only, with the resolved configuration, the step and the hashes of the data in the
/// metadata.
void save_model(const std::filesystem::path& file, const RunConfig& config, const Json& hashes, const Classifier& model,
                std::int64_t step);

/// Reads parameters and buffers from a file of `save_model` or from a checkpoint. Throws Error naming the first tensor
/// that does not fit, or that the model does not have.
void load_model(const std::filesystem::path& file, Classifier& model);

/// What the metadata of such a file say of its run.
struct ModelFacts {
  Json config;                       ///< resolved
  Json hashes = Json::object();      ///< of the data; empty in files of older versions
  std::optional<std::int64_t> step;  ///< of save_model
};

/// Throws Error if there is no configuration in the file.
ModelFacts read_model_facts(const std::filesystem::path& file);

/// `folder`/resume.json: facts that differ from run to run, such as times. They are kept apart so that equal runs have
/// equal checkpoints.
struct ResumeFacts {
  double seconds = 0;              ///< that the run has taken up to the last checkpoint, all processes together
  std::int64_t metrics_lines = 0;  ///< so many lines of metrics.jsonl have
  std::string metrics_sha256;      ///< this hash
};
void write_resume_facts(const std::filesystem::path& folder, const ResumeFacts& facts);

/// Nothing if there is no such file. Throws Error if it is not sound.
std::optional<ResumeFacts> read_resume_facts(const std::filesystem::path& folder);

}  // namespace lra
