#include "ops/block_sparse_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

#include "ops/masked_logit.h"

namespace lra::ops {
namespace {

// Sizes of tensors are SymInts in block_sparse_attention and what it calls: torch.compile traces it with sizes that are
// unknown.
using c10::SymInt;

template <class Size>
Size divide_up(const Size& a, std::int64_t b) {
  return (a + b - 1) / b;
}

at::Tensor scaled(const at::Tensor& q) {
  return q * (1.0 / std::sqrt(static_cast<double>(q.sym_size(-1).guard_int(__FILE__, __LINE__))));
}

at::Tensor dropped(const at::Tensor& weights, double probability) {
  return probability > 0 ? at::dropout(weights, probability, true) : weights;
}

// (B, H, n, d) → (B, H, blocks * size, d), zero beyond n.
at::Tensor whole_blocks(const at::Tensor& x, std::int64_t size) {
  const SymInt missing = divide_up(x.sym_size(2), size) * size - x.sym_size(2);
  return missing == 0 ? x : at::constant_pad_nd_symint(x, std::initializer_list<SymInt>{0, 0, 0, missing});
}

// The blocks of x (B, H, M, d) that `index` (B, H, query blocks, S) names: (B, H, query blocks, S * size, d).
at::Tensor gather_blocks(const at::Tensor& x, std::int64_t size, const at::Tensor& index) {
  const SymInt width = x.sym_size(3);
  const at::Tensor rows = whole_blocks(x, size).reshape_symint({-1, width * size});
  return rows.index_select(0, index.flatten())
      .view_symint({x.sym_size(0), x.sym_size(1), index.sym_size(2), index.sym_size(3) * size, width});
}

// The keys' places (B or 1, H or 1, query blocks, S * key_block), 0 where there is none, and which pairs the pattern
// lets through (.., query blocks, query_block or 1, S * key_block).
struct Places {
  at::Tensor keys, seen;
};

Places places_of(const BlockPattern& pattern, const SymInt& keys) {
  const at::Tensor& lists = pattern.key_blocks;
  const at::Tensor key_places =
      (lists.unsqueeze(-1) * pattern.key_block + at::arange(pattern.key_block, lists.options())).flatten(3);
  at::Tensor seen = key_places.ge(0).logical_and_(key_places.lt(keys));
  const at::Tensor real_places = at::where(seen, key_places, 0);
  seen = seen.unsqueeze(3);
  if (pattern.band.has_value()) {
    const auto integers = lists.options().dtype(at::kInt);  // half the size of what is as large as the logits
    const at::Tensor query_places = at::arange(lists.sym_size(2) * pattern.query_block, integers)
                                        .view_symint({1, 1, lists.sym_size(2), pattern.query_block, 1});
    seen = seen.logical_and((query_places - real_places.to(at::kInt).unsqueeze(3)).abs_().le(*pattern.band));
  }
  return {real_places, seen};
}

// 0 x NaN is NaN: values that are not finite must reach only the rows that have a weight for them. They are looked for
// on the CPU alone, since elsewhere the question would wait for the device.
bool need_care(const at::Tensor& values) {
  return values.is_cpu() && !std::isfinite(values.detach().sum().item<double>());
}

// Weights, some of which are hidden pairs' zeros, times values.
at::Tensor weighted_sum(const at::Tensor& weights, const at::Tensor& values) {
  if (!need_care(values)) return at::matmul(weights, values);
  const at::Tensor bad = values.detach().isfinite().all(-1, true).logical_not();  // (.., keys, 1)
  const at::Tensor touched = at::matmul(weights.detach(), bad.to(weights.scalar_type())).ne(0);
  return at::matmul(weights, values.masked_fill(bad, 0)) +
         at::zeros_like(touched, weights.options()).masked_fill_(touched, std::nan(""));
}

PartialAttention attend(at::Tensor logits, const at::Tensor& values, const at::Tensor& hidden, double dropout) {
  if (hidden.defined()) logits = logits.masked_fill(hidden, masked_logit);
  if (logits.scalar_type() == at::kBFloat16) logits = logits.to(at::kFloat);  // sums of exponentials need more digits
  const at::Tensor weights = dropped(at::softmax(logits, -1), dropout).to(values.scalar_type());
  PartialAttention part{hidden.defined() ? weighted_sum(weights, values) : at::matmul(weights, values),
                        at::logsumexp(logits, at::IntArrayRef({-1}))};
  if (hidden.defined())
    part.out.masked_fill_(part.log_sum.lt(masked_logit / 2).unsqueeze(-1),
                          0);  // as the kernel: zeros where there is no key
  return part;
}

}  // namespace

PartialAttention block_sparse_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                        const std::optional<at::Tensor>& key_mask, const BlockPattern& pattern,
                                        double dropout, const ChangeLogits& change_logits) {
  const SymInt batch = q.sym_size(0), heads = q.sym_size(1), n = q.sym_size(2), keys = k.sym_size(2);
  const SymInt query_blocks = divide_up(n, pattern.query_block), all_key_blocks = divide_up(keys, pattern.key_block);
  const at::Tensor& lists = pattern.key_blocks;
  TORCH_CHECK(lists.dim() == 4 && lists.sym_size(2) == query_blocks, "a pattern of ", lists.sym_sizes(), " for ",
              query_blocks, " query blocks");
  const auto places = q.options().dtype(at::kLong);

  const at::Tensor first_blocks =
      (at::arange(batch, places).view({-1, 1, 1, 1}) * heads + at::arange(heads, places).view({1, -1, 1, 1})) *
      all_key_blocks;
  const at::Tensor index = first_blocks + lists.clamp(0, all_key_blocks - 1);
  const at::Tensor queries = whole_blocks(scaled(q), pattern.query_block)
                                 .reshape_symint({batch, heads, query_blocks, pattern.query_block, q.sym_size(3)});
  at::Tensor logits = at::matmul(queries, gather_blocks(k, pattern.key_block, index).transpose(-2, -1));

  const auto [key_places, visible] = places_of(pattern, keys);
  at::Tensor seen = visible;
  if (key_mask.has_value() && key_mask->defined()) {
    const at::Tensor at_places = key_places.expand_symint({batch, -1, -1, -1});
    const at::Tensor real =
        key_mask->view_symint({batch, 1, 1, keys}).expand_symint({batch, at_places.sym_size(1), query_blocks, keys});
    seen = seen.logical_and(real.gather(3, at_places).unsqueeze(3));
  }
  if (change_logits) logits = change_logits(logits, key_places);
  PartialAttention part = attend(logits, gather_blocks(v, pattern.key_block, index), seen.logical_not(), dropout);
  part.out = part.out.flatten(2, 3).narrow_symint(2, 0, n);
  part.log_sum = part.log_sum.flatten(2, 3).narrow_symint(2, 0, n);
  return part;
}

PartialAttention dense_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& hidden, double dropout) {
  return attend(at::matmul(scaled(q), k.transpose(-2, -1)), v, hidden, dropout);
}

PartialAttention single_key_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double dropout) {
  const at::Tensor log_sum = (scaled(q) * k).sum(-1);
  return {dropout > 0 ? v * dropped(at::ones_like(log_sum), dropout).unsqueeze(-1).to(v.scalar_type()) : v, log_sum};
}

PartialAttention merge(const std::vector<PartialAttention>& parts) {
  std::vector<at::Tensor> sums;
  for (const auto& part : parts) sums.push_back(part.log_sum);
  const at::Tensor log_sums = at::stack(sums, -1);  // (B, H, N, parts)
  const at::Tensor shares = at::softmax(log_sums, -1);
  at::Tensor out;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const at::Tensor share =
        shares.select(-1, static_cast<std::int64_t>(p)).unsqueeze(-1).to(parts[p].out.scalar_type());
    const at::Tensor of_part =
        (need_care(parts[p].out) ? parts[p].out.masked_fill(share.eq(0), 0) : parts[p].out) * share;
    out = out.defined() ? out + of_part : of_part;
  }
  return {out, at::logsumexp(log_sums, at::IntArrayRef({-1}))};
}

namespace {

// Small blocks waste little beyond the band, large ones give fewer and larger products.
struct WindowBlocks {
  std::int64_t block, reach, blocks;  // size, how many on each side, how many in all
  WindowBlocks(std::int64_t n, std::int64_t window)
      : block(std::clamp<std::int64_t>(window / 2, 16, 128)),
        reach(divide_up(window, block)),
        blocks(divide_up(n, block)) {}
  bool all() const { return 2 * reach + 1 >= blocks; }
};

}  // namespace

BlockPattern window_pattern(std::int64_t n, std::int64_t window, const at::Device& device) {
  const WindowBlocks sizes(n, window);
  const auto [block, reach, blocks] = sizes;
  const auto places = at::TensorOptions(device).dtype(at::kLong);
  if (sizes.all()) return {n, n, at::zeros({1, 1, 1, 1}, places), window};
  const at::Tensor lists = at::arange(blocks, places).unsqueeze(1) + at::arange(-reach, reach + 1, places);
  return {block, block, at::where(lists.lt(blocks), lists, -1).clamp_min(-1).view({1, 1, blocks, -1}), window};
}

BlockPattern dense_pattern(std::int64_t n, std::int64_t keys, std::optional<std::int64_t> band) {
  return {n, keys, at::zeros({1, 1, 1, 1}, at::kLong), band};
}

BlockPattern diagonal_pattern(std::int64_t n, std::int64_t block, const at::Device& device) {
  block = std::min(block, n);
  return {block, block, at::arange(divide_up(n, block), at::TensorOptions(device).dtype(at::kLong)).view({1, 1, -1, 1}),
          std::nullopt};
}

PairCount window_pairs(std::int64_t n, std::int64_t window) {
  const WindowBlocks sizes(n, window);
  const auto places = static_cast<double>(n), block = static_cast<double>(sizes.block),
             near = static_cast<double>(std::min(window, n - 1));
  const double seen = places * (2 * near + 1) - near * (near + 1);
  if (sizes.all()) return {.computed = places * places, .seen = seen, .query_block = places};
  return {.computed = static_cast<double>(sizes.blocks) * block * static_cast<double>(2 * sizes.reach + 1) * block,
          .seen = seen,
          .query_block = block};
}

PairCount diagonal_pairs(std::int64_t n, std::int64_t block) {
  block = std::min(block, n);
  const auto size = static_cast<double>(block), rest = static_cast<double>(n % block);
  return {.computed = static_cast<double>(divide_up(n, block)) * size * size,
          .seen = static_cast<double>(n / block) * size * size + rest * rest,
          .query_block = size};
}

}  // namespace lra::ops
