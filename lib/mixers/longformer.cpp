#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/index_copy.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "mixers/attention_mixer.h"
#include "ops/packed_attention.h"
#include "ops/residues.h"

namespace lra {
namespace {

struct LongformerOptions {
  std::int64_t window = 256;
  std::int64_t dilation = 1;
  std::int64_t dilated_heads = 0;
  std::int64_t global_tokens = 1;

  void describe(FieldVisitor& fields) {
    fields.integer("window", window, not_negative, "keys on each side of the query");
    fields.integer("dilation", dilation, positive, "distance of neighbouring keys in the dilated heads");
    fields.integer("dilated_heads", dilated_heads, not_negative,
                   "how many heads, the last ones, have a dilated window");
    fields.integer("global_tokens", global_tokens, not_negative,
                   "the first places, CLS among them, which see all and are seen by all");
  }
};

/// Longformer (arXiv 2004.05150): a window, dilated in some heads, and global tokens with projections of their own.
class Longformer : public AttentionMixer {
 public:
  Longformer(const MixerSpec& spec, const LongformerOptions& options) : AttentionMixer(spec), options_(options) {
    if (options.dilated_heads > spec.num_heads) {
      throw Error("longformer: mixer_options.dilated_heads is " + std::to_string(options.dilated_heads) +
                  ", but num_heads is " + std::to_string(spec.num_heads));
    }
    if ((options.dilation > 1) != (options.dilated_heads > 0)) {
      throw Error("longformer: mixer_options.dilation is " + std::to_string(options.dilation) +
                  " and mixer_options.dilated_heads is " + std::to_string(options.dilated_heads) +
                  ": one has no effect without the other");
    }
    if (options.global_tokens == 0) return;
    const auto projection = [&](const char* name) {
      return register_module(name,
                             torch::nn::Linear(torch::nn::LinearOptions(spec.d_model, spec.d_qkv).bias(spec.bias)));
    };
    query_global_ = projection("query_global");
    key_global_ = projection("key_global");
    value_global_ = projection("value_global");
  }

 private:
  bool reads_input() const override { return options_.global_tokens > 0; }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    const std::int64_t n = q.size(2), dilated = options_.dilated_heads, plain = spec_.num_heads - dilated;
    const std::int64_t global = std::min(options_.global_tokens, n);
    // Global keys come in a part of their own.
    at::Tensor seen = real_places(context, q).clone();
    seen.narrow(1, 0, global).fill_(false);
    std::vector<at::Tensor> outs, sums;
    const auto add = [&](std::int64_t first, std::int64_t count, std::int64_t dilation) {
      if (count == 0) return;
      const auto some = [&](const at::Tensor& x) { return x.narrow(1, first, count); };
      const ops::PartialAttention part = ops::strided_window_attention(some(q), some(k), some(v), seen, dilation,
                                                                       options_.window, attention_dropout());
      outs.push_back(part.out);
      sums.push_back(part.log_sum);
    };
    add(0, plain, 1);
    add(plain, dilated, options_.dilation);
    const ops::PartialAttention near{at::cat(outs, 1), at::cat(sums, 1)};
    if (global == 0) return near.out;

    const at::Tensor padding = hidden_keys(context);
    const at::Tensor global_padding = padding.defined() ? padding.narrow(3, 0, global) : padding;
    const at::Tensor out = ops::merge({near, ops::dense_attention(q, k.narrow(2, 0, global), v.narrow(2, 0, global),
                                                                  global_padding, attention_dropout())})
                               .out;
    const at::Tensor rows =
        ops::dense_attention(split_heads(query_global_->forward(context.x.narrow(1, 0, global))),
                             split_heads(key_global_->forward(context.x)),
                             split_heads(value_global_->forward(context.value_x)), padding, attention_dropout())
            .out;
    return at::cat({rows, out.narrow(2, global, n - global)}, 2);
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const SequenceLayout& layout = context.layout;
    const std::int64_t n = layout.max_length(), plain = spec_.num_heads - options_.dilated_heads;
    const std::int64_t global = std::min(options_.global_tokens, n);
    const at::Tensor is_global = layout.positions(at::kCPU).lt(global);
    at::Tensor ordinary = is_global.logical_not();
    if (context.visible.defined()) ordinary = ordinary.logical_and(context.visible);
    std::vector<at::Tensor> outs;
    const auto add = [&](std::int64_t first, std::int64_t count, std::int64_t dilation) {
      if (count == 0) return;
      const auto some = [&](const at::Tensor& x) { return count == spec_.num_heads ? x : x.narrow(1, first, count); };
      const at::Tensor some_keys = some(k), some_values = some(v);
      std::vector<ops::KeySource> keys{
          {some_keys, some_values, {}, ordinary, ops::dense_pattern(n, n, options_.window)}};
      if (global > 0)
        keys.push_back({some_keys, some_values, {}, context.visible, ops::dense_pattern(n, global), false});
      outs.push_back(
          ops::packed_attention(some(q), layout.offsets(), keys, attention_dropout(), std::min(dilation, n)).out);
    };
    add(0, plain, 1);
    add(plain, options_.dilated_heads, options_.dilation);
    const at::Tensor out = outs.size() == 1 ? outs[0] : at::cat(outs, 1);
    if (global == 0) return out;

    const auto [rows, offsets] = some_tokens(layout, is_global);
    const at::Tensor of_global = global_rows(query_global_->forward(context.x.index_select(0, rows)), offsets, context);
    return at::index_copy(out, 0, rows, of_global);
  }

  // Global queries (G, d_qkv), of sequence s those from offsets[s], see all tokens → (G, H, d_head). They are few
  // (fewer than d_head in a sequence, or this costs more than it saves) and meet many tokens, so the projections of
  // keys and values are moved to their side: q·(W x + b) = (Wᵀ q)·x + q·b and Σ p (W x + b) = W Σ p x + b Σ p.
  at::Tensor global_rows(const at::Tensor& queries, const std::vector<std::int64_t>& offsets,
                         const PackedContext& context) {
    const std::int64_t heads = spec_.num_heads, d = spec_.d_head(), width = spec_.d_model;
    const auto by_head = [&](const at::Tensor& projection) { return projection.view({heads, d, -1}); };
    const at::Tensor q = queries.view({-1, heads, d}).transpose(0, 1) / std::sqrt(static_cast<double>(d));  // (H, G, d)
    const std::vector<std::int64_t>& lengths = context.layout.lengths();
    std::vector<std::int64_t> counts(lengths.size());
    for (std::size_t s = 0; s < counts.size(); ++s) counts[s] = offsets[s + 1] - offsets[s];
    const auto of_sequences = [&](const at::Tensor& x) { return x.split_with_sizes(counts, 1); };
    const auto key_queries = of_sequences(at::bmm(q, by_head(key_global_->weight)));  // (H, g, d_model)
    const auto key_offsets =
        spec_.bias ? of_sequences(at::bmm(q, by_head(key_global_->bias))) : std::vector<at::Tensor>();
    const auto seen = [&](const at::Tensor& x) {  // weights of 0 do not hide what is not a number
      return (context.visible.defined() ? x.masked_fill(context.visible.logical_not().unsqueeze(1), 0) : x)
          .split_with_sizes(lengths, 0);
    };
    const auto keys = seen(context.x);
    const auto values = context.same_input() ? keys : seen(context.value_x);
    const auto visible =
        context.visible.defined() ? context.visible.split_with_sizes(lengths, 0) : std::vector<at::Tensor>();
    std::vector<at::Tensor> sums, totals;
    for (std::size_t s = 0; s < counts.size(); ++s) {
      at::Tensor logits = at::mm(key_queries[s].reshape({-1, width}), keys[s].t());  // (H g, n)
      if (spec_.bias) logits = logits + key_offsets[s].reshape({-1, 1});
      if (!visible.empty()) logits = logits.masked_fill(visible[s].logical_not(), masked_logit);
      at::Tensor weights = at::softmax(logits, 1);
      if (!visible.empty()) weights = weights.masked_fill(visible[s].logical_not(), 0);
      if (attention_dropout() > 0) weights = at::dropout(weights, attention_dropout(), true);
      sums.push_back(at::mm(weights, values[s]).view({heads, counts[s], width}));
      if (spec_.bias) totals.push_back(weights.sum(1).view({heads, counts[s], 1}));
    }
    at::Tensor out = at::bmm(at::cat(sums, 1), by_head(value_global_->weight).transpose(1, 2));
    if (spec_.bias) out = out + at::cat(totals, 1) * value_global_->bias.view({heads, 1, d});
    return out.transpose(0, 1);
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const std::int64_t dilated = options_.dilated_heads;
    MixerCost cost = residue_cost(n, 1, options_.window, spec_.num_heads - dilated);
    if (dilated > 0) cost += residue_cost(n, options_.dilation, options_.window, dilated);
    const auto tokens = static_cast<double>(n);
    const auto g = static_cast<double>(std::min(options_.global_tokens, n));
    if (g > 0) {
      cost += pair_cost({.computed = 2 * g * tokens, .seen = 2 * g * tokens}, spec_.num_heads);
      cost.flops += 2 * (2 * tokens + g) * static_cast<double>(spec_.d_model) * static_cast<double>(spec_.d_qkv);
      cost.saved_values += 4 * tokens * static_cast<double>(spec_.d_qkv);
    }
    return cost;
  }

  // The outputs again, with those of the global tokens: their logits on all tokens, and gradients of these.
  MixerCost kernel_memory(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n), heads = static_cast<double>(spec_.num_heads);
    const double values = tokens * static_cast<double>(spec_.d_qkv),
                 logits = static_cast<double>(std::min(options_.global_tokens, n)) * tokens * heads;
    const double parts = options_.dilated_heads > 0 ? values : 0;
    if (options_.global_tokens == 0) return {.saved_values = parts};
    return {.saved_values = parts + values + 2 * logits,
            .transient_values = 2 * logits + tokens * static_cast<double>(spec_.d_model)};
  }

  const LongformerOptions options_;
  torch::nn::Linear query_global_{nullptr}, key_global_{nullptr}, value_global_{nullptr};
};

const bool registered = register_mixer<Longformer, LongformerOptions>(
    "longformer", {.rows_sum_to_one = true, .hides_keys = true, .attention_dropout = true});

}  // namespace
}  // namespace lra
