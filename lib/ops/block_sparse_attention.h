#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <vector>

namespace lra::ops {

/// Softmax attention over some of a query's keys. Parts over disjoint sets of keys merge into attention over all of
/// them.
struct PartialAttention {
  at::Tensor out;      ///< (B, H, N, d)
  at::Tensor log_sum;  ///< (B, H, N): log Σ exp(logits); about masked_logit where there is no key
};

/// Which keys a query sees. Queries and keys are cut into blocks. A query sees the real keys in the key blocks listed
/// for its query block, if they are at most `band` places away.
struct BlockPattern {
  std::int64_t query_block = 1, key_block = 1;  ///< places in a block; the last block of a sequence may be shorter
  at::Tensor
      key_blocks;  ///< (B or 1, H or 1, query blocks, S) int64: S different key blocks for each query block; -1: none
  std::optional<std::int64_t> band;  ///< largest distance of query and key
};

/// Changes logits before the softmax. Takes logits (B, H, query blocks, query_block, S * key_block) and the places of
/// their keys in k, int64 (B or 1, H or 1, query blocks, S * key_block), 0 where there is no key. Returns new logits of
/// the same shape.
using ChangeLogits = std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& key_places)>;

/// softmax(Q Kᵀ / √d) V over the keys of the pattern. q (B, H, N, d); k, v (B, H, M, d); `key_mask` (B, M) bool, true
/// at real keys. Outputs at padding are finite and have no meaning. Each weight is dropped with the probability
/// `dropout`. Memory grows with query blocks * S * block sizes.
PartialAttention block_sparse_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                        const std::optional<at::Tensor>& key_mask, const BlockPattern& pattern,
                                        double dropout = 0, const ChangeLogits& change_logits = {});

/// softmax(Q Kᵀ / √d) V over the keys that are not `hidden`: bool, broadcast to (B, H, N, M); may be undefined. The
/// weights are materialised.
PartialAttention dense_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& hidden, double dropout = 0);

/// Attention of each query to one key of its own: out = v, log_sum = q·k / √d. q, k and v have the same shape (B, H, N,
/// d).
PartialAttention single_key_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      double dropout = 0);

/// Attention over all keys of the parts. A query without a key in any part gets a finite number.
PartialAttention merge(const std::vector<PartialAttention>& parts);

/// Keys at most `window` places away, for n places.
BlockPattern window_pattern(std::int64_t n, std::int64_t window, const at::Device& device);

/// One block with all keys of n queries, or with those at most `band` places away. For packed_attention, which divides
/// it into tiles by itself.
BlockPattern dense_pattern(std::int64_t n, std::int64_t keys, std::optional<std::int64_t> band = std::nullopt);

/// Keys in the query's own block: non-overlapping contiguous blocks of `block` places.
BlockPattern diagonal_pattern(std::int64_t n, std::int64_t block, const at::Device& device);

/// Pairs of query and key of one sequence of n places.
struct PairCount {
  double computed = 0;     ///< logits that are computed: whole blocks
  double seen = 0;         ///< those that the pattern lets through
  double query_block = 1;  ///< queries that share a block's keys
};
/// The pairs of window_pattern and diagonal_pattern. No pattern is made, so counting takes the same time for any n.
PairCount window_pairs(std::int64_t n, std::int64_t window);
PairCount diagonal_pairs(std::int64_t n, std::int64_t block);

}  // namespace lra::ops
