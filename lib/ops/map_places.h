#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace lra::ops {

/// Which dimensions of the weight are cropped to the sequence length n. The others are used whole.
struct Follows {
  bool rows = false, columns = false;
};

/// A linear map along the places of each sequence, y = A x + b, without copies or transposes. A is `weight` (R, C),
/// cropped as `follows` says. x (T, width) and the result are packed: a sequence has as many rows in x as A has
/// columns, and as many in the result as A has rows. `lengths` has n for each sequence. With weight (H, R, C) and x (T,
/// H, d), each head has a matrix of its own. `bias` is (R) or undefined; it needs a weight with two dimensions.
at::Tensor map_places(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::IntArrayRef lengths,
                      Follows follows);

/// A convolution along the places of each sequence and within each head: slot t of a sequence is Σ_j weight[h, j]ᵀ x[t
/// * stride + j], with zeros beyond the sequence, for every t with t * stride < n. x (T, H, d), weight (H, kernel, d,
/// d) → (slots of all sequences, H, d), nothing unfolded.
at::Tensor compress_places(const at::Tensor& x, const at::Tensor& weight, at::IntArrayRef lengths, std::int64_t stride);

/// (B + 1): where each sequence's slots begin.
std::vector<std::int64_t> slot_offsets(at::IntArrayRef lengths, std::int64_t stride);

/// softmax(Q Kᵀ / √d) V, where each sequence has few keys of its own: queries (T, H, d), keys (S, H, d) of all
/// sequences, which begin at key_offsets. Each query sees all keys of its sequence (ops::packed_attention).
at::Tensor attend_slots(const at::Tensor& q, const std::vector<std::int64_t>& offsets, const at::Tensor& k,
                        const at::Tensor& v, const std::vector<std::int64_t>& key_offsets);

}  // namespace lra::ops
