#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <memory>
#include <vector>

#include "core/config.h"
#include "mixers/mixer.h"
#include "ops/fused_layers.h"

namespace lra {

/// One pre-norm block: x + mixer(norm(x)), then x + feed_forward(norm(x)).
class EncoderBlock : public torch::nn::Module {
 public:
  EncoderBlock(const ModelConfig& model, std::shared_ptr<Mixer> mixer);

  /// Takes x.sum (T, d_model) packed and x.norm = mixer_norm(x.sum). Returns the block's output (T, d_model) and
  /// next_norm of it. If `rows` (B) int64 is defined, only the tokens at these places are returned: (B, d_model).
  ops::SumAndNorm forward(const ops::SumAndNorm& x, torch::nn::LayerNorm next_norm, const SequenceLayout& layout,
                          const at::Tensor& rows);

  const torch::nn::LayerNorm& mixer_norm() const { return mixer_norm_; }

 private:
  /// What follows the mixer.
  ops::SumAndNorm after_mixer(at::Tensor x, at::Tensor mixed, torch::nn::LayerNorm next_norm, const at::Tensor& rows);

  const double dropout_;
  const bool tanh_, fused_, recomputes_;
  const bool keeps_mixer_;  // its forward pass changes its state (sums for centroids, a counter), so it runs once
  torch::nn::LayerNorm mixer_norm_{nullptr}, feed_forward_norm_{nullptr};
  std::shared_ptr<Mixer> mixer_;
  torch::nn::Linear expand_{nullptr}, contract_{nullptr};
};

/// Dropout, blocks and the final norm. Identical for every mixer but for the mixer itself.
class Encoder : public torch::nn::Module {
 public:
  /// `max_length` counts CLS, `vocab_size` does not.
  Encoder(const ModelConfig& model, std::int64_t max_length, std::int64_t vocab_size, std::uint64_t seed);

  /// x (T, d_model) packed → (T, d_model); if `rows` is defined, only the tokens there, and what follows the last mixer
  /// is computed for them alone.
  at::Tensor forward(at::Tensor x, const SequenceLayout& layout, const at::Tensor& rows);

  const std::vector<std::shared_ptr<Mixer>>& mixers() const { return mixers_; }

 private:
  const double dropout_;
  const bool fused_;
  std::vector<std::shared_ptr<EncoderBlock>> blocks_;
  std::vector<std::shared_ptr<Mixer>> mixers_;
  torch::nn::LayerNorm norm_{nullptr};
};

}  // namespace lra
