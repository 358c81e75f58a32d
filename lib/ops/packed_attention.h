#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "ops/block_sparse_attention.h"

namespace lra::ops {

/// Some keys that the queries of packed sequences see. All sequences of a batch have their keys one after another, (Tk,
/// H, d).
struct KeySource {
  at::Tensor k, v;                         ///< (Tk, H, d), the last dimension contiguous
  std::vector<std::int64_t> offsets = {};  ///< (B + 1) first key of each sequence; empty: those of the queries
  at::Tensor visible = {};                 ///< (Tk) bool, false at keys that no query sees; undefined: all are seen
  BlockPattern pattern;  ///< of the longest sequence, in places of one sequence; blocks and keys beyond a shorter one
                         ///< do not exist
  /// With a stride > 1 in packed_attention: does the pattern hold inside each class of places (mod stride)? If not, it
  /// must have one query block.
  bool by_class = true;
  bool unit_keys = false;  ///< keys are divided by their length
  /// Keys and values are mixtures of the sequence's blocks of k and v, of pattern.key_block places (Sinkhorn, arXiv
  /// 2002.11296): block i is Σ_j mixture[0, s, h, i, j] block j in the places that all blocks have, and Σ_j mixture[1,
  /// s, h, i, j] block j in the others, without the last block, which is shorter. (1 or 2, B, H, blocks, blocks), of
  /// which a shorter sequence has a corner; undefined: they are k and v. At most one source has it; no stride, no
  /// rounds.
  at::Tensor mixture = {};
};

/// Hash rounds (Reformer, arXiv 2001.04451): in round r the tokens are in the order `order` and the pattern holds for
/// places in it; at most 16 rounds. Query i meets key j in r if own[r, j] is own[r, i] or before[r, i]; it sees the
/// keys that it meets in any round, each once, and itself only if it meets nobody else. All (R, H, T) int32; `order`
/// and the tokens are numbered within each sequence.
struct HashRounds {
  at::Tensor order, own, before;
};

/// Softmax attention, softmax(Q Kᵀ / √d) V, over the keys of all sources together (no key may be in two of them), by
/// blocks on packed tokens: no copy of Q, K or V, no more than a tile of weights at a time, recomputed in the backward
/// pass (arXiv 2205.14135). q (T, H, d), the last dimension contiguous; sequence s has the queries offsets[s] ..
/// offsets[s + 1] - 1. Returns (T, H, d) and the logits' log-sum-exp (T, H); a query without a key gets zeros. CPU,
/// float32 or float64; bfloat16: products of bfloat16 with float32 sums where the processor has instructions for them,
/// all else in float32. With `stride` > 1, places i, i + stride, .. of each sequence are a sequence of their own. With
/// `dropout` weights are dropped with this probability (to 1/65536), by a seed from the default generator.
PartialAttention packed_attention(const at::Tensor& q, const std::vector<std::int64_t>& offsets,
                                  const std::vector<KeySource>& sources, double dropout = 0, std::int64_t stride = 1,
                                  const HashRounds& rounds = {});

/// The gradients of q, k and v of one source, where autograd is not at work (lib/ops/torch_library.cpp): `result` is
/// what packed_attention returned, `gradient` its gradients, of which one or both may be undefined.
std::vector<at::Tensor> packed_attention_backward(const PartialAttention& gradient, const PartialAttention& result,
                                                  const at::Tensor& q, const std::vector<std::int64_t>& offsets,
                                                  const KeySource& source, std::int64_t stride);

}  // namespace lra::ops
