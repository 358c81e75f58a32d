#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// Sequences packed as (T, H*d) → one contiguous rectangle (B, H, N, d), zero beyond each sequence; N is the longest
/// length. `places` (T) int64 are the tokens' places in the rectangle (B*N); only read on devices other than the CPU,
/// where one gather is faster than a copy for each sequence.
at::Tensor pad_sequences(const at::Tensor& packed, at::IntArrayRef lengths, std::int64_t heads,
                         const at::Tensor& places);

/// The reverse: (B, H, N, d) → (T, H*d), contiguous.
at::Tensor pack_sequences(const at::Tensor& padded, at::IntArrayRef lengths, const at::Tensor& places);

}  // namespace lra::ops
