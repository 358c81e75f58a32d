#include "ops/positive_features.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// As a function of its own it keeps one tensor for the backward pass instead of three.
struct PositiveFeatures : torch::autograd::Function<PositiveFeatures> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits, bool per_vector, double epsilon) {
    const at::Tensor largest = per_vector ? at::amax(logits, {-1}, true) : at::amax(logits, {-2, -1}, true);
    at::Tensor features = at::sub(logits, largest).exp_();
    if (epsilon != 0) features.add_(epsilon);
    context->save_for_backward({features});
    context->saved_data["per_vector"] = per_vector;
    context->saved_data["epsilon"] = epsilon;
    return features;
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const at::Tensor features = context->get_saved_variables()[0];
    const double epsilon = context->saved_data["epsilon"].toDouble();
    at::Tensor gradient = epsilon == 0 ? gradients[0] * features : gradients[0] * (features - epsilon);
    // s moves with the largest logit, whose feature stays exactly 1 + epsilon. (Ties, if any, share.)
    const std::vector<std::int64_t> dims = context->saved_data["per_vector"].toBool() ? std::vector<std::int64_t>{-1} : std::vector<std::int64_t>{-2, -1};
    const at::Tensor largest = features.eq(at::amax(features, dims, true));
    const at::Tensor count = largest.sum(dims, true, gradient.scalar_type());
    gradient.sub_(largest * (gradient.sum(dims, true) / count));
    return {gradient, {}, {}};
  }
};

}  // namespace

at::Tensor positive_features(const at::Tensor& logits, bool per_vector, double epsilon) {
  return PositiveFeatures::apply(logits, per_vector, epsilon);
}

}  // namespace lra::ops
