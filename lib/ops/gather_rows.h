#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// Some rows of each head: out[b, h, m] = x[b, h, places[b, h, m]]. x (B, H, N, d), any strides; places (B, H, M) int64 → (B, H, M, d). CPU.
at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& places);

/// The reverse: out[b, h, i] is the mean of the rows m with places[b, h, m] = i, or otherwise[b, h, i] where there is none. rows (B, H, M, d), otherwise
/// (B, H, N, d). CPU.
at::Tensor scatter_mean(const at::Tensor& rows, const at::Tensor& places, const at::Tensor& otherwise);

}  // namespace lra::ops
