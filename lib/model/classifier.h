#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <memory>
#include <vector>

#include "core/config.h"
#include "mixers/mixer.h"

namespace lra {

class Embedding;
class Encoder;

/// Cost of a training step on one sequence, on the CPU, with the kernels that the configuration allows.
struct ModelCost {
  double flops = 0;         ///< of the forward pass: matrix multiplications, 2 per multiply-add
  double saved_values = 0;  ///< numbers kept for the backward pass
  // The most numbers that exist at one time, without weights and their gradients:
  double mixer_values = 0;         ///< in the last mixer
  double feed_forward_values = 0;  ///< in the last feed-forward layer; `batch_values` come on top
  double last_values = 0;          ///< while the first layer's gradients are made, when all others exist
  double forward_values = 0;       ///< in a forward pass without gradients
  double batch_values = 0;         ///< scratch, once for a batch of any size
};

/// Embedding → encoder → pooling → head. Parameter and buffer names are those of the checkpoint. Everything outside a
/// mixer runs on packed tokens, so there is no work on padding.
class Classifier : public torch::nn::Module {
 public:
  /// Weights are drawn from the default generator, so call torch::manual_seed first. `seed` is for what mixers draw
  /// from generators of their own.
  Classifier(const TaskConfig& task, const ModelConfig& model, std::uint64_t seed);

  /// tokens (T) int64 packed; `layout` without CLS. Returns logits (B, num_classes); (B/2, num_classes) for pairs,
  /// whose two sequences lie one after the other.
  at::Tensor forward(const at::Tensor& tokens, const SequenceLayout& layout);

  std::int64_t parameter_count() const;
  /// For one sequence of n tokens; CLS is added inside. Of a pair: for one of its sequences, and half of the head.
  ModelCost cost(std::int64_t n) const;
  /// Calls Mixer::begin_training_step on every mixer. What mixers draw depends on their seed and the step alone, so
  /// there are no generators to save.
  void begin_training_step(std::int64_t step);
  /// Calls Mixer::end_training_step on every mixer.
  void end_training_step();
  const std::vector<std::shared_ptr<Mixer>>& mixers() const;

 private:
  bool pairs() const { return model_.pair_head != "none"; }
  bool has_cls() const { return model_.pooling == "cls"; }
  /// Does pooling read only the first token of each sequence?
  bool reads_first() const { return has_cls() || model_.pooling == "first"; }
  void initialise_as_lra();
  /// As `forward`, but `layout` counts CLS.
  at::Tensor score(const at::Tensor& tokens, SequenceLayout layout);
  at::Tensor pool(const at::Tensor& x, const SequenceLayout& layout) const;

  const TaskConfig task_;
  const ModelConfig model_;
  std::shared_ptr<Embedding> embedding_;
  std::shared_ptr<Encoder> encoder_;
  torch::nn::Linear hidden_{nullptr}, pair_hidden_{nullptr}, logits_{nullptr};
};

}  // namespace lra
