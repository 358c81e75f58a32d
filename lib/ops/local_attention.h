#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace lra::ops {

/// softmax(Q Kᵀ / √d) V over the keys within `window` places of the query. q, k, v (B, H, N, d), any N; `mask` (B, N) bool, true at real
/// tokens. The softmax is over real keys only; outputs at padding mean nothing. Memory grows with N * window.
at::Tensor window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>& mask,
                            std::int64_t window);

/// The same over the keys of the query's own block: non-overlapping contiguous blocks of `block` places, the last one may be shorter.
at::Tensor block_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>& mask,
                           std::int64_t block);

/// How window_attention cuts a sequence of n tokens: `rows` queries at a time against `columns` keys.
struct WindowBlocks {
  std::int64_t rows, columns;
};
WindowBlocks window_blocks(std::int64_t n, std::int64_t window);

}  // namespace lra::ops
