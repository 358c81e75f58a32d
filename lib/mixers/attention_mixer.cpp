#include "mixers/attention_mixer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <utility>

#include "ops/pad.h"
#include "ops/projections.h"

namespace lra {
namespace {

// From this mean length on, the calls of one sequence after another cost less than the copies into a rectangle and the
// work on padding.
constexpr std::int64_t long_sequence = 256;

torch::nn::Linear projection(std::int64_t in, std::int64_t out, bool bias) {
  return torch::nn::Linear(torch::nn::LinearOptions(in, out).bias(bias));
}

// (T, width) → (B, H, N, width / H), a view; undefined stays undefined.
at::Tensor heads_of(const at::Tensor& rows, std::int64_t batch, std::int64_t heads) {
  if (!rows.defined()) return rows;
  return rows.view({batch, rows.size(0) / batch, heads, rows.size(1) / heads}).transpose(1, 2);
}

// One tensor for each sequence. split, not narrow: its derivative is one cat, that of B narrows is B additions to
// tensors of full size.
std::vector<at::Tensor> split_sequences(const at::Tensor& packed, const SequenceLayout& layout) {
  if (!packed.defined()) return std::vector<at::Tensor>(static_cast<std::size_t>(layout.batch()));
  return packed.split_with_sizes(layout.lengths());
}

}  // namespace

AttentionMixer::AttentionMixer(const MixerSpec& spec, Projections projections) : spec_(spec) {
  if (projections.query) query = register_module("query", projection(spec.d_model, spec.d_qkv, spec.bias));
  if (projections.key) key = register_module("key", projection(spec.d_model, spec.d_qkv, spec.bias));
  value = register_module("value", projection(spec.d_model, spec.d_qkv, spec.bias));
  output = register_module("output", projection(spec.d_qkv, spec.d_model, spec.bias));
}

bool AttentionMixer::one_call_per_sequence(const at::Tensor& x, const SequenceLayout& layout) const {
  if (spec_.layout != "auto") return spec_.layout == "per_sequence";
  return x.is_cpu() && layout.tokens() >= long_sequence * layout.batch();
}

at::Tensor AttentionMixer::attend_packed(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                         const PackedContext&) {
  TORCH_CHECK(false, "this mixer has no kernel on packed tokens");
}

at::Tensor AttentionMixer::mix_values(const at::Tensor& x, const at::Tensor& value_x, const SequenceLayout& layout) {
  at::Tensor q, k, v;
  if (spec_.fused && value_x.is_same(x)) {
    std::vector<at::Tensor> weights, biases;
    for (const auto& linear : {query, key, value}) {
      if (!linear) continue;
      weights.push_back(linear->weight);
      biases.push_back(linear->bias);
    }
    const auto projected = ops::projections(x, weights, biases);
    if (query) q = projected[0];
    if (key) k = projected[query ? 1 : 0];
    v = projected.back();
  } else {
    if (query) q = query->forward(x);
    if (key) k = key->forward(x);
    v = value->forward(value_x);
  }
  const at::Tensor input = reads_input() ? x : at::Tensor();
  const at::Tensor value_input = reads_input() ? value_x : at::Tensor();
  const bool same = value_x.is_same(x);
  const at::Tensor ids = reads_token_ids() ? layout.token_ids() : at::Tensor();
  const at::Tensor& visible = layout.visible();
  const std::int64_t heads = spec_.num_heads;
  if (runs_on_kernel() && x.is_cpu()) {
    const auto in_heads = [&](const at::Tensor& rows) {
      return rows.defined() ? rows.view({-1, heads, spec_.d_head()}) : rows;
    };
    return project_output(attend_packed(in_heads(q), in_heads(k), in_heads(v), {layout, x, value_x, visible})
                              .reshape({layout.tokens(), spec_.d_qkv}));
  }
  if (visible.defined()) {  // weights of 0 do not hide what is not a number
    const at::Tensor hidden = visible.logical_not().unsqueeze(1);
    if (k.defined()) k = k.masked_fill(hidden, 0);
    v = v.masked_fill(hidden, 0);
  }
  AttentionContext context;
  at::Tensor mixed;  // (T, d_qkv)
  if (layout.batch() > 1 && one_call_per_sequence(x, layout)) {
    const auto queries = split_sequences(q, layout);
    const auto keys = split_sequences(k, layout);
    const auto values = split_sequences(v, layout);
    const auto inputs = split_sequences(input, layout);
    const auto value_inputs = split_sequences(value_input, layout);
    const auto sequence_ids = split_sequences(ids, layout);
    const auto sequence_visible = split_sequences(visible, layout);
    std::vector<at::Tensor> parts;
    for (std::size_t b = 0; b < queries.size(); ++b) {
      context.lengths = {layout.lengths()[b]};
      if (reads_input()) context.x = inputs[b].unsqueeze(0);
      if (reads_input()) context.value_x = same ? context.x : value_inputs[b].unsqueeze(0);
      if (ids.defined()) context.token_ids = sequence_ids[b].unsqueeze(0);
      if (visible.defined()) context.mask = sequence_visible[b].unsqueeze(0);
      parts.push_back(
          attend(heads_of(queries[b], 1, heads), heads_of(keys[b], 1, heads), heads_of(values[b], 1, heads), context)
              .squeeze(0)
              .transpose(0, 1));
    }
    mixed = at::cat(parts).view({layout.tokens(), spec_.d_qkv});
  } else if (layout.uniform()) {
    const std::int64_t batch = layout.batch();
    context.lengths = layout.lengths();
    if (reads_input()) context.x = x.view({batch, layout.max_length(), spec_.d_model});
    if (reads_input()) context.value_x = same ? context.x : value_x.view({batch, layout.max_length(), spec_.d_model});
    if (ids.defined()) context.token_ids = ids.view({batch, layout.max_length()});
    if (visible.defined()) context.mask = visible.view({batch, layout.max_length()});
    mixed = attend(heads_of(q, batch, heads), heads_of(k, batch, heads), heads_of(v, batch, heads), context)
                .transpose(1, 2)
                .reshape({layout.tokens(), spec_.d_qkv});
  } else {
    const at::Tensor places = x.is_cpu() ? at::Tensor() : layout.places(x.device());
    const auto pad = [&](const at::Tensor& rows, std::int64_t h) {
      return rows.defined() ? ops::pad_sequences(rows, layout.lengths(), h, places) : rows;
    };
    context.lengths = layout.lengths();
    context.mask = layout.mask(x.device());
    const auto in_rectangle = [&](const at::Tensor& rows, const at::Scalar& padding) {
      return at::full({layout.batch() * layout.max_length()}, padding, rows.options())
          .index_copy_(0, layout.places(x.device()), rows)
          .view(context.mask.sizes());
    };
    if (reads_input()) context.x = pad(input, 1).squeeze(1);
    if (reads_input()) context.value_x = same ? context.x : pad(value_input, 1).squeeze(1);
    if (ids.defined()) context.token_ids = in_rectangle(ids, -1);
    if (visible.defined()) context.mask = in_rectangle(visible, false);
    mixed = ops::pack_sequences(attend(pad(q, heads), pad(k, heads), pad(v, heads), context), layout.lengths(), places);
  }
  if (visible.defined()) {  // queries that see nothing
    std::vector<at::Tensor> blind;
    for (const at::Tensor& some : split_sequences(visible, layout))
      blind.push_back(some.any().logical_not().expand_as(some));
    mixed = mixed.masked_fill(at::cat(blind).unsqueeze(1), 0);
  }
  return project_output(mixed);
}

at::Tensor AttentionMixer::project_output(const at::Tensor& mixed) {
  return spec_.fused ? ops::projections(mixed, {output->weight}, {output->bias})[0] : output->forward(mixed);
}

MixerCost AttentionMixer::pair_cost(const ops::PairCount& pairs, std::int64_t heads, double gathered) const {
  const auto d = static_cast<double>(spec_.d_head());
  const auto copies = static_cast<double>(heads);
  return {.flops = 4 * pairs.computed * d * copies,
          .masked_flops = 4 * (pairs.computed - pairs.seen) * d * copies,
          .saved_values = (pairs.computed + 2 * gathered * d) * copies,
          .transient_values = (2 * pairs.computed + 2 * gathered * d) * copies};
}

MixerCost AttentionMixer::residue_cost(std::int64_t n, std::int64_t stride, std::int64_t window,
                                       std::int64_t heads) const {
  stride = std::min(stride, n);
  const std::int64_t rows = (n + stride - 1) / stride;
  const std::int64_t long_classes = (n - 1) % stride + 1;  // the others have a place less
  const ops::PairCount whole = ops::window_pairs(rows, window);
  const double shorter = rows > 1 ? ops::window_pairs(rows - 1, window).seen : 0;
  return pattern_cost(
      {.computed = static_cast<double>(stride) * whole.computed,
       .seen = static_cast<double>(long_classes) * whole.seen + static_cast<double>(stride - long_classes) * shorter,
       .query_block = whole.query_block},
      heads);
}

MixerCost AttentionMixer::feature_memory(std::int64_t features) const {
  const auto count = static_cast<double>(features), d = static_cast<double>(spec_.d_head()),
             heads = static_cast<double>(spec_.num_heads);
  return {.saved_values = count * (2 * d + heads * (d + 2)), .transient_values = count * (3 * heads * (d + 2) + 256)};
}

at::Tensor AttentionMixer::real_places(const AttentionContext& context, const at::Tensor& q) {
  return context.mask.defined() ? context.mask : at::ones({q.size(0), q.size(2)}, q.options().dtype(at::kBool));
}

at::Tensor AttentionMixer::hidden_keys(const AttentionContext& context) {
  return context.mask.defined() ? context.mask.logical_not().unsqueeze(1).unsqueeze(2) : at::Tensor();
}

AttentionMixer::SomeTokens AttentionMixer::some_tokens(const SequenceLayout& layout, const at::Tensor& chosen) {
  SomeTokens some{chosen.nonzero().squeeze(1), {0}};
  const at::Tensor flags = chosen.contiguous();
  const auto* flag = flags.const_data_ptr<bool>();
  for (const std::int64_t length : layout.lengths()) {
    some.offsets.push_back(some.offsets.back() + std::count(flag, flag + length, true));
    flag += length;
  }
  return some;
}

MixerCost AttentionMixer::cost(std::int64_t n) const {
  MixerCost cost = attend_cost(n);
  const auto values = static_cast<double>(n) * static_cast<double>(spec_.d_qkv);
  const double projections = 2.0 + (query ? 1.0 : 0.0) + (key ? 1.0 : 0.0);
  cost.flops += 2.0 * projections * values * static_cast<double>(spec_.d_model);
  if (runs_on_kernel()) {  // kernels compute weights and features again, from one sum for each row
    const MixerCost memory = kernel_memory(n);
    cost.saved_values = memory.saved_values + static_cast<double>(n) * static_cast<double>(spec_.num_heads);
    cost.transient_values = memory.transient_values;
  }
  cost.saved_values += projections * values + static_cast<double>(n) * static_cast<double>(spec_.d_model);
  cost.transient_values += projections * values;  // gradients
  return cost;
}

}  // namespace lra
