#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace lra::ops {

/// What of a matrix is for a sequence of n tokens: its first n rows, columns or both; otherwise all.
struct Follows {
  bool rows = false, columns = false;
};

/// A map along the places of each sequence, y = A x + b, without a copy or a transpose: sequences lie one after another
/// in x (T, width), as rows, and in the result; A is what `follows` takes of `weight` (R, C). With weight (H, R, C), x
/// (T, H, d) and each head has its own. `bias` (R) or undefined, for weights of two dimensions. A sequence has as many
/// rows in x as A has columns, and in the result as A has rows; `lengths` are their n.
at::Tensor map_places(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::IntArrayRef lengths,
                      Follows follows);

/// A convolution along the places of each sequence and within each head: slot t of a sequence is Σ_j weight[h, j]ᵀ x[t
/// * stride + j], with zeros beyond the sequence, for every t with t * stride < n. x (T, H, d), weight (H, kernel, d,
/// d) → (slots of all sequences, H, d), nothing unfolded.
at::Tensor compress_places(const at::Tensor& x, const at::Tensor& weight, at::IntArrayRef lengths, std::int64_t stride);

/// (B + 1): where each sequence's slots begin.
std::vector<std::int64_t> slot_offsets(at::IntArrayRef lengths, std::int64_t stride);

/// softmax(Q Kᵀ / √d) V of each sequence's queries (T, H, d) over its own few keys (S, H, d), which begin at
/// key_offsets: ops::packed_attention over all of them.
at::Tensor attend_slots(const at::Tensor& q, const std::vector<std::int64_t>& offsets, const at::Tensor& k,
                        const at::Tensor& v, const std::vector<std::int64_t>& key_offsets);

}  // namespace lra::ops
