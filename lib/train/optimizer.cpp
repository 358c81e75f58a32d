#include "train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

namespace lra {

AdamW::AdamW(std::vector<at::Tensor> parameters, double beta2, double eps, double weight_decay)
    : parameters_(std::move(parameters)), beta2_(beta2), eps_(eps), weight_decay_(weight_decay) {
  const at::NoGradGuard no_grad;
  for (const auto& parameter : parameters_) {
    exp_avg_.push_back(at::zeros_like(parameter));
    exp_avg_sq_.push_back(at::zeros_like(parameter));
  }
  step_ = at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(parameters_.front().device()));
}

std::vector<at::Tensor> AdamW::gradients() const {
  std::vector<at::Tensor> gradients;
  for (const auto& parameter : parameters_) {
    if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
    gradients.push_back(parameter.grad());
  }
  return gradients;
}

void AdamW::step(double learning_rate, double beta1) {
  const at::NoGradGuard no_grad;
  step_.add_(1);  // the fused kernel expects the count of this update
  const std::vector<at::Tensor> steps(parameters_.size(), step_);
  at::_fused_adamw_(parameters_, gradients(), exp_avg_, exp_avg_sq_, {}, steps, learning_rate, beta1, beta2_,
                    weight_decay_, eps_,
                    /*amsgrad=*/false, /*maximize=*/false);
}

void AdamW::clip_gradients(double max_norm) {
  const at::NoGradGuard no_grad;
  const auto all = gradients();
  const auto norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(all)));
  at::_foreach_mul_(all, (max_norm / (norm + 1e-6)).clamp_max(1.0));
}

void AdamW::zero_grad() {
  for (const auto& parameter : parameters_) parameter.mutable_grad().reset();
}

}  // namespace lra
