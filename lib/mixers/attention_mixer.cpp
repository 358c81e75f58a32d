#include "mixers/attention_mixer.h"

#include <ATen/ops/cat.h>

#include <utility>

#include "ops/pad.h"

namespace lra {
namespace {

// From this mean length on, the calls of one sequence after another cost less than the copies into a rectangle and the work on padding.
constexpr std::int64_t long_sequence = 256;

torch::nn::Linear projection(std::int64_t in, std::int64_t out, bool bias) {
  return torch::nn::Linear(torch::nn::LinearOptions(in, out).bias(bias));
}

// (n, H*d) → (1, H, n, d), a view.
at::Tensor split_heads(const at::Tensor& rows, std::int64_t batch, std::int64_t heads) {
  return rows.view({batch, rows.size(0) / batch, heads, rows.size(1) / heads}).transpose(1, 2);
}

}  // namespace

AttentionMixer::AttentionMixer(const MixerSpec& spec)
    : query(register_module("query", projection(spec.d_model, spec.d_qkv, spec.bias))),
      key(register_module("key", projection(spec.d_model, spec.d_qkv, spec.bias))),
      value(register_module("value", projection(spec.d_model, spec.d_qkv, spec.bias))),
      output(register_module("output", projection(spec.d_qkv, spec.d_model, spec.bias))),
      spec_(spec) {}

bool AttentionMixer::one_call_per_sequence(const at::Tensor& x, const SequenceLayout& layout) const {
  if (spec_.layout != "auto") return spec_.layout == "per_sequence";
  return x.is_cpu() && layout.tokens() >= long_sequence * layout.batch();
}

at::Tensor AttentionMixer::forward(const at::Tensor& x, const SequenceLayout& layout) {
  const at::Tensor q = query->forward(x);
  const at::Tensor k = key->forward(x);
  const at::Tensor v = value->forward(x);
  const std::int64_t heads = spec_.num_heads;
  AttentionContext context;
  at::Tensor mixed;  // (T, d_qkv)
  if (layout.batch() > 1 && one_call_per_sequence(x, layout)) {
    // split, not narrow: its derivative is one cat, that of B narrows is B additions to tensors of full size.
    const auto queries = q.split_with_sizes(layout.lengths());
    const auto keys = k.split_with_sizes(layout.lengths());
    const auto values = v.split_with_sizes(layout.lengths());
    const auto inputs = reads_input() ? x.split_with_sizes(layout.lengths()) : std::vector<at::Tensor>{};
    std::vector<at::Tensor> parts;
    for (std::size_t b = 0; b < queries.size(); ++b) {
      context.lengths = {layout.lengths()[b]};
      if (reads_input()) context.x = inputs[b].unsqueeze(0);
      parts.push_back(attend(split_heads(queries[b], 1, heads), split_heads(keys[b], 1, heads), split_heads(values[b], 1, heads), context)
                          .squeeze(0)
                          .transpose(0, 1));
    }
    mixed = at::cat(parts).view({layout.tokens(), spec_.d_qkv});
  } else if (layout.uniform()) {
    context.lengths = layout.lengths();
    if (reads_input()) context.x = x.view({layout.batch(), layout.max_length(), spec_.d_model});
    mixed = attend(split_heads(q, layout.batch(), heads), split_heads(k, layout.batch(), heads), split_heads(v, layout.batch(), heads), context)
                .transpose(1, 2)
                .reshape({layout.tokens(), spec_.d_qkv});
  } else {
    const at::Tensor places = x.is_cpu() ? at::Tensor() : layout.places(x.device());
    const auto pad = [&](const at::Tensor& rows, std::int64_t h) { return ops::pad_sequences(rows, layout.lengths(), h, places); };
    context.lengths = layout.lengths();
    context.mask = layout.mask(x.device());
    if (reads_input()) context.x = pad(x, 1).squeeze(1);
    mixed = ops::pack_sequences(attend(pad(q, heads), pad(k, heads), pad(v, heads), context), layout.lengths(), places);
  }
  return output->forward(mixed);
}

MixerCost AttentionMixer::cost(std::int64_t n) const {
  MixerCost cost = attend_cost(n);
  const auto values = static_cast<double>(n) * static_cast<double>(spec_.d_qkv);
  cost.flops += 8.0 * values * static_cast<double>(spec_.d_model);
  cost.saved_values += 4.0 * values + static_cast<double>(n) * static_cast<double>(spec_.d_model);
  return cost;
}

}  // namespace lra
