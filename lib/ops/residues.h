#pragma once

#include <ATen/core/Tensor.h>

#include "ops/block_sparse_attention.h"

namespace lra::ops {

/// Splits sequences into classes of places with the same remainder mod stride: (B, H, N, d) → (B * stride, H, ceil(N /
/// stride), d), filled up with zeros. Neighbours in a class are `stride` places apart, so a dilated window becomes an
/// ordinary window.
at::Tensor split_residues(const at::Tensor& x, std::int64_t stride);

/// The reverse, for any last dimensions: (B * stride, H, ceil(n / stride), ...) → (B, H, n, ...).
at::Tensor join_residues(const at::Tensor& classes, std::int64_t stride, std::int64_t n);

/// `mask` (B, n) bool split likewise: (B * stride, ceil(n / stride)), false beyond n.
at::Tensor split_mask(const at::Tensor& mask, std::int64_t stride);

/// Softmax attention over the keys j = i + t * stride, |t| <= window: a window in each class. q, k, v (B, H, n, d);
/// `key_mask` (B, n) bool, true at keys that may be seen.
PartialAttention strided_window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                          const at::Tensor& key_mask, std::int64_t stride, std::int64_t window,
                                          double dropout = 0);

}  // namespace lra::ops
