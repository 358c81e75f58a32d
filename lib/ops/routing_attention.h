#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace lra::ops {

struct Routed {
  at::Tensor out;           ///< (T, H, d)
  at::Tensor sums, counts;  ///< only if `collect`: (H, clusters, d), (H, clusters, 1) int64, sums of the unit vectors
                            ///< of the queries and keys that are nearest to each centroid, and how many
};

/// Attention inside clusters (Routing Transformer, arXiv 2003.05997) on packed tokens, the CPU's kernels, float32 or
/// float64; bfloat16 is computed in float32. Queries and keys are normalised (at::layer_norm without weights); each
/// centroid (H, clusters, d) takes the `window` queries and keys with the largest products, of equal ones the first. A
/// query gets the mean of what its clusters give it; one that none has taken sees the keys at most `fallback_window`
/// places away. q, k, v (T, H, d), the last dimension contiguous. Copies of a head's queries and keys exist one head at
/// a time on each thread.
Routed routing_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const std::vector<std::int64_t>& offsets, const at::Tensor& centroids, std::int64_t window,
                         std::int64_t fallback_window, double dropout, bool collect);

}  // namespace lra::ops
