#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lra {

/// Adam with bias correction and decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101) on every
/// parameter, those without a gradient included:
///   m ← β₁m + (1-β₁)g,  v ← β₂v + (1-β₂)g²,  p ← p - lr·wd·p - lr · (m/(1-β₁ᵗ)) / (√(v/(1-β₂ᵗ)) + eps)
class AdamW {
 public:
  AdamW(std::vector<at::Tensor> parameters, double beta2, double eps, double weight_decay);

  /// One update from the parameters' gradients.
  void step(double learning_rate, double beta1);
  /// Scales all gradients so that their common Euclidean norm is at most `max_norm`.
  void clip_gradients(double max_norm);
  /// Frees the gradients.
  void zero_grad();

  // The state, for the checkpoint; in the order of the parameters.
  const std::vector<at::Tensor>& exp_avg() const { return exp_avg_; }
  const std::vector<at::Tensor>& exp_avg_sq() const { return exp_avg_sq_; }
  /// () float32, the number of updates; on the device of the parameters.
  const at::Tensor& step_count() const { return step_; }

 private:
  std::vector<at::Tensor> gradients() const;

  std::vector<at::Tensor> parameters_, exp_avg_, exp_avg_sq_;
  at::Tensor step_;
  double beta2_, eps_, weight_decay_;
};

}  // namespace lra
