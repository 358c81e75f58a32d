#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// x weightᵀ + bias for few rows of weight. x (B, D), weight (C, D), bias (C). On the CPU the gradient of the weight is
/// added up over the rows of x in their order: it has the same bits with any number of threads, which a BLAS does not
/// promise. Elsewhere, and under autocast, at::linear. No second derivative.
at::Tensor linear_in_order(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace lra::ops
