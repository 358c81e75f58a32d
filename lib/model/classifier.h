#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <memory>
#include <vector>

#include "core/config.h"
#include "mixers/mixer.h"

namespace lra {

/// Token and position embedding, pre-norm blocks (mixer, feed-forward), final norm. Identical for every mixer but for the mixer itself.
class Encoder;

/// Embedding → encoder → pooling → head. Parameter and buffer names are those of the checkpoint.
class Classifier : public torch::nn::Module {
 public:
  /// Initialises from the default generator (seed it first: torch::manual_seed).
  Classifier(const TaskConfig& task, const ModelConfig& model, std::uint64_t seed);

  /// tokens (T) int64 packed; `layout` without CLS. Returns logits (B, num_classes); (B/2, num_classes) for pairs, whose two
  /// sequences lie one after the other.
  at::Tensor forward(const at::Tensor& tokens, const SequenceLayout& layout);

  std::int64_t parameter_count() const;
  /// Forward pass over one sequence of n tokens (CLS added inside): matrix multiplications, 2 per multiply-add; values saved for backward.
  MixerCost cost(std::int64_t n) const;
  /// Calls Mixer::begin_training_step on every mixer.
  void begin_training_step(std::int64_t step);
  const std::vector<std::shared_ptr<Mixer>>& mixers() const;
  /// All generators that the model owns, in a fixed order, for the checkpoint.

 private:
  TaskConfig task_;
  ModelConfig model_;
  std::shared_ptr<Encoder> encoder_;
  torch::nn::Linear hidden_{nullptr}, pair_hidden_{nullptr}, logits_{nullptr};
};

}  // namespace lra
