#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// Rows in another order: out[b, r, h, i] = x[b, r, h, order[b, r, h, i]]. x (B, R or 1, H, N, d); order (B, R, H, N)
/// int64, each a permutation of the N rows, and `inverse` its inverse. With the inverse, the derivative is a
/// permutation too, which is much faster than a sum over indices.
at::Tensor permute_rows(const at::Tensor& x, const at::Tensor& order, const at::Tensor& inverse);

}  // namespace lra::ops
