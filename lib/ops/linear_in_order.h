#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// x weightᵀ + bias, for a weight with few rows. x (B, D), weight (C, D), bias (C). On the CPU the weight's gradient is
/// summed over the rows of x in order, so it has the same bits with any number of threads. A BLAS does not promise
/// that. Elsewhere, and under autocast, at::linear. No second derivative.
at::Tensor linear_in_order(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace lra::ops
