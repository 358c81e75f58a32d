#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "ops/block_sparse_attention.h"

namespace lra::ops {

/// A set of keys for the queries of a packed batch. The keys of all sequences lie one after another, (Tk, H, d).
struct KeySource {
  at::Tensor k, v;                         ///< (Tk, H, d), the last dimension contiguous
  std::vector<std::int64_t> offsets = {};  ///< (B + 1) first key of each sequence; empty: as those of the queries
  at::Tensor visible = {};                 ///< (Tk) bool, false at keys that no query sees; undefined: all are seen
  BlockPattern pattern;                    ///< for the longest sequence; what lies beyond a shorter one is ignored
  /// Only if packed_attention has a stride > 1. True: a query sees keys of its own class (place mod stride) alone, and
  /// the pattern counts places in the class. False: it sees keys of the whole sequence, and the pattern must have one
  /// query block.
  bool by_class = true;
  bool unit_keys = false;  ///< keys are divided by their Euclidean norm
  /// Keys and values are mixtures of the sequence's blocks of k and v, of pattern.key_block places (Sinkhorn, arXiv
  /// 2002.11296): block i is Σ_j mixture[0, s, h, i, j] block j in the places that all blocks have, and Σ_j mixture[1,
  /// s, h, i, j] block j in the others, without the last block, which is shorter. (1 or 2, B, H, blocks, blocks), of
  /// which a shorter sequence has a corner; undefined: they are k and v. At most one source has it; no stride, no
  /// rounds.
  at::Tensor mixture = {};
};

/// Hash rounds (Reformer, arXiv 2001.04451), at most 16. In round r the tokens are sorted by `order`, and the pattern
/// holds for sorted places. Query i meets key j in round r if own[r, j] equals own[r, i] or before[r, i]. It sees every
/// key that it meets in some round, once, and itself only if it meets no other. All are (R, H, T) int32. Tokens are
/// numbered within their sequence.
struct HashRounds {
  at::Tensor order, own, before;
};

/// softmax(Q Kᵀ / √d) V over the keys of all sources together, on packed tokens. No key may be in two sources. Q, K and
/// V are not copied. Weights exist for one tile at a time, and the backward pass computes them again (arXiv
/// 2205.14135). q (T, H, d), the last dimension contiguous; sequence s has the queries offsets[s] .. offsets[s + 1] -
/// 1. Returns (T, H, d) and the logits' log-sum-exp (T, H); a query without a key gets zeros. CPU; float32, float64 or
/// bfloat16. For bfloat16, matrix products have bfloat16 factors and float32 sums if the processor has instructions for
/// them; everything else is float32. With `stride` > 1, places i, i + stride, .. of each sequence are a sequence of
/// their own. Each weight is dropped with the probability `dropout` (rounded to 1/65536), with a seed from the default
/// generator.
PartialAttention packed_attention(const at::Tensor& q, const std::vector<std::int64_t>& offsets,
                                  const std::vector<KeySource>& sources, double dropout = 0, std::int64_t stride = 1,
                                  const HashRounds& rounds = {});

/// The gradients of q, k and v of one source, for callers without autograd (lib/ops/torch_library.cpp). `result` is
/// what packed_attention returned. `gradient` has the gradients of its two tensors; each may be undefined.
std::vector<at::Tensor> packed_attention_backward(const PartialAttention& gradient, const PartialAttention& result,
                                                  const at::Tensor& q, const std::vector<std::int64_t>& offsets,
                                                  const KeySource& source, std::int64_t stride);

}  // namespace lra::ops
