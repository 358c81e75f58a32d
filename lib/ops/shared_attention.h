#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// softmax(S) V with logits S that all sequences share (Synthesizer, arXiv 2005.00743): a sequence of n tokens uses the
/// first n rows and columns. Weights exist for one block of rows at a time and are used for all sequences of that
/// length. The backward pass computes them again. v (T, H, d) packed, on the CPU; `logits` (H, N, N), or with `right`
/// (H, N, r) the product logits rightᵀ of logits (H, N, r); `visible` (T) bool or undefined, false at tokens that
/// nobody reads. Returns (T, H, d).
at::Tensor shared_attention(const at::Tensor& v, const at::Tensor& logits, const at::Tensor& right,
                            at::IntArrayRef lengths, const at::Tensor& visible);

}  // namespace lra::ops
