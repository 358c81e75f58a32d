#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include <algorithm>

#include "core/error.h"
#include "mixers/attention_mixer.h"
#include "ops/packed_attention.h"
#include "ops/residues.h"

namespace lra {
namespace {

struct SparseOptions {
  std::string pattern = "fixed";
  std::int64_t block = 50;
  std::int64_t columns = 10;
  bool merged = false;

  void describe(FieldVisitor& fields) {
    fields.choice("pattern", pattern, {"fixed", "strided"},
                  "fixed: own block, last columns of every block; strided: window, every block-th place");
    fields.integer("block", block, positive, "l: size of blocks, half width of the window, distance of columns");
    fields.integer("columns", columns, positive,
                   "fixed: c, the last places of every block, which the second half of the heads sees");
    fields.boolean("merged", merged, "every head sees what both halves see, instead of each half of the heads its own");
  }
};

/// Sparse Transformer (arXiv 1904.10509) without its causal mask: the first half of the heads sees near keys, the
/// second far ones; a query always sees itself.
class SparseAttention : public AttentionMixer {
 public:
  SparseAttention(const MixerSpec& spec, const SparseOptions& options) : AttentionMixer(spec), options_(options) {
    if (fixed() && options.columns > options.block) {
      throw Error("sparse: mixer_options.columns is " + std::to_string(options.columns) +
                  ", expected at most mixer_options.block, which is " + std::to_string(options.block));
    }
    if (spec.num_heads < 2 && !options.merged)
      throw Error("sparse: half of the heads see near keys and half far ones, but num_heads is 1",
                  "set mixer_options.merged=true");
  }

 private:
  bool fixed() const { return options_.pattern == "fixed"; }
  std::int64_t near_heads() const { return options_.merged ? spec_.num_heads : (spec_.num_heads + 1) / 2; }
  std::int64_t far_heads() const { return options_.merged ? spec_.num_heads : spec_.num_heads / 2; }

  ops::BlockPattern near_pattern(std::int64_t n, const at::Device& device) const {
    return fixed() ? ops::diagonal_pattern(n, options_.block, device) : ops::window_pattern(n, options_.block, device);
  }

  // The last `columns` places of every block of n.
  at::Tensor column_places(std::int64_t n, const at::Device& device) const {
    const at::Tensor places = at::arange(n, at::TensorOptions(device).dtype(at::kLong));
    return places.masked_select(places.remainder(options_.block).ge(options_.block - options_.columns));
  }

  // The far part; if merged, without the keys of the near part.
  ops::PartialAttention far(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& real) const {
    const std::int64_t n = q.size(2), l = options_.block;
    const at::Tensor places = at::arange(n, real.options().dtype(at::kLong));
    if (fixed()) {
      const at::Tensor columns = column_places(n, q.device());
      at::Tensor hidden = real.index_select(1, columns).logical_not().unsqueeze(1).unsqueeze(2);
      if (options_.merged) {
        const auto block = [&](const at::Tensor& x) { return x.floor_divide(l); };
        hidden = hidden.logical_or(block(places).unsqueeze(1).eq(block(columns)));
      }
      const ops::PartialAttention part =
          ops::dense_attention(q, k.index_select(2, columns), v.index_select(2, columns), hidden, attention_dropout());
      if (options_.merged) return part;
      ops::PartialAttention self = ops::single_key_attention(q, k, v, attention_dropout());
      const at::Tensor hidden_self = real.logical_not().unsqueeze(1);
      self.log_sum = self.log_sum.masked_fill(places.remainder(l).ge(l - options_.columns).logical_or(hidden_self),
                                              masked_logit);  // columns are in the other part
      self.out = self.out.masked_fill(hidden_self.unsqueeze(3), 0);
      return ops::merge({part, self});
    }
    const std::int64_t stride = std::min(l, n);
    at::Tensor hidden = ops::split_mask(real, stride).logical_not().unsqueeze(1).unsqueeze(2);
    const at::Tensor rows = at::arange(hidden.size(3), places.options());
    if (options_.merged) hidden = hidden.logical_or((rows.unsqueeze(1) - rows).abs().le(1));  // within the window of l
    const auto split = [&](const at::Tensor& x) { return ops::split_residues(x, stride); };
    const ops::PartialAttention part = ops::dense_attention(split(q), split(k), split(v), hidden, attention_dropout());
    return {ops::join_residues(part.out, stride, n), ops::join_residues(part.log_sum, stride, n)};
  }

  // Merged window and columns overlap in a way that the kernel cannot tell apart.
  bool has_kernel() const override { return fixed() || !options_.merged; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const SequenceLayout& layout = context.layout;
    const std::int64_t n = layout.max_length(), heads = near_heads(), block = options_.block;
    const auto first = [&](const at::Tensor& x) { return x.narrow(1, 0, heads); };
    const auto last = [&](const at::Tensor& x) { return x.narrow(1, spec_.num_heads - far_heads(), far_heads()); };
    if (!fixed()) {
      const at::Tensor near =
          ops::packed_attention(first(q), layout.offsets(),
                                {{first(k), first(v), {}, context.visible, ops::dense_pattern(n, n, block)}},
                                attention_dropout())
              .out;
      const at::Tensor far = ops::packed_attention(last(q), layout.offsets(),
                                                   {{last(k), last(v), {}, context.visible, ops::dense_pattern(n, n)}},
                                                   attention_dropout(), std::min(block, n))
                                 .out;
      return at::cat({near, far}, 1);
    }
    const at::Tensor is_column = layout.positions(at::kCPU).remainder(block).ge(block - options_.columns);
    const auto [columns, offsets] = some_tokens(layout, is_column);
    const auto visible_columns = context.visible.defined() ? context.visible.index_select(0, columns) : at::Tensor();
    const ops::KeySource far{last(k).index_select(0, columns), last(v).index_select(0, columns), offsets,
                             visible_columns, ops::dense_pattern(n, n)};
    at::Tensor others = is_column.logical_not();
    if (context.visible.defined()) others = others.logical_and(context.visible);
    if (options_.merged) {  // the near part has no columns
      return ops::packed_attention(q, layout.offsets(),
                                   {{k, v, {}, others, ops::diagonal_pattern(n, block, at::kCPU)}, far},
                                   attention_dropout())
          .out;
    }
    const at::Tensor near =
        ops::packed_attention(first(q), layout.offsets(),
                              {{first(k), first(v), {}, context.visible, ops::diagonal_pattern(n, block, at::kCPU)}},
                              attention_dropout())
            .out;
    const ops::KeySource self{last(k), last(v), {}, others, ops::dense_pattern(n, n, 0)};
    return at::cat({near, ops::packed_attention(last(q), layout.offsets(), {far, self}, attention_dropout()).out}, 1);
  }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    const at::Tensor real = real_places(context, q);
    const auto near_part = [&](std::int64_t heads) {
      return ops::block_sparse_attention(q.narrow(1, 0, heads), k.narrow(1, 0, heads), v.narrow(1, 0, heads),
                                         context.mask, near_pattern(q.size(2), q.device()), attention_dropout());
    };
    if (options_.merged) return ops::merge({near_part(near_heads()), far(q, k, v, real)}).out;
    const auto last = [&](const at::Tensor& x) { return x.narrow(1, near_heads(), far_heads()); };
    return at::cat({near_part(near_heads()).out, far(last(q), last(k), last(v), real).out}, 1);
  }

  MixerCost attend_cost(std::int64_t n) const override {
    MixerCost cost = pattern_cost(
        fixed() ? ops::diagonal_pairs(n, options_.block) : ops::window_pairs(n, options_.block), near_heads());
    const auto tokens = static_cast<double>(n);
    const auto l = static_cast<double>(options_.block);
    ops::PairCount pairs;
    double twice = 0;  // far pairs that the near part has
    if (fixed()) {
      const auto rest = static_cast<double>(n % options_.block);
      const auto last = std::max(0.0, rest - (l - static_cast<double>(options_.columns)));
      pairs.computed = pairs.seen =
          tokens * (static_cast<double>(n / options_.block) * static_cast<double>(options_.columns) + last);
      twice = (tokens - rest) * static_cast<double>(options_.columns) + rest * last;
    } else {
      const std::int64_t stride = std::min(options_.block, n);
      const auto classes = static_cast<double>(stride), rows = static_cast<double>((n + stride - 1) / stride);
      const auto long_classes = static_cast<double>((n - 1) % stride + 1);
      pairs.computed = classes * rows * rows;
      pairs.seen = long_classes * rows * rows + (classes - long_classes) * (rows - 1) * (rows - 1);
      twice = long_classes * (3 * rows - 2) + (classes - long_classes) * std::max(0.0, 3 * (rows - 1) - 2);
    }
    if (options_.merged) pairs.seen -= twice;
    cost += pair_cost(pairs, far_heads(), tokens);
    return cost;
  }

  // The outputs of both halves of the heads, then side by side.
  MixerCost kernel_memory(std::int64_t n) const override {
    const double values = static_cast<double>(n) * static_cast<double>(spec_.d_qkv);
    return {.saved_values = options_.merged ? 0 : values, .transient_values = values};
  }

  const SparseOptions options_;
};

// At a given block size the far heads cost N² / block, in time and in memory.
const bool registered = register_mixer<SparseAttention, SparseOptions>(
    "sparse", {.rows_sum_to_one = true, .quadratic_memory = true, .hides_keys = true, .attention_dropout = true});

}  // namespace
}  // namespace lra
