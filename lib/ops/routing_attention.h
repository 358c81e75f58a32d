#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace lra::ops {

struct Routed {
  at::Tensor out;           ///< (T, H, d)
  at::Tensor sums, counts;  ///< only if `collect`: (H, clusters, d) and (H, clusters, 1) int64, see `routing_attention`
};

/// Attention inside clusters (Routing Transformer, arXiv 2003.05997) on packed tokens, the CPU's kernels, float32 or
/// float64; bfloat16 is computed in float32. Queries and keys are normalised (at::layer_norm without weights); each
/// centroid (H, clusters, d) takes the `window` queries and the `window` keys that have the largest products with it;
/// of equal products, the first. A query gets the mean of the outputs of its clusters. A query in no cluster sees the
/// keys at most `fallback_window` places away. q, k, v (T, H, d), the last dimension contiguous. Each thread copies the
/// queries and keys of one head at a time. `collect`: also sum the unit vectors of the queries and keys nearest to each
/// centroid, and count them.
Routed routing_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const std::vector<std::int64_t>& offsets, const at::Tensor& centroids, std::int64_t window,
                         std::int64_t fallback_window, double dropout, bool collect);

}  // namespace lra::ops
