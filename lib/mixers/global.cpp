#include <ATen/TensorIndexing.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/index_copy.h>
#include <ATen/ops/isin.h>
#include <ATen/ops/normal.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "core/error.h"
#include "mixers/attention_mixer.h"
#include "ops/packed_attention.h"

namespace lra {
namespace {

struct GlobalOptions {
  std::string tokens = "existing";
  std::int64_t count = 16;
  std::vector<std::int64_t> token_ids;

  void describe(FieldVisitor& fields) {
    fields.choice("tokens", tokens, {"existing", "added"},
                  "special tokens: some of the sequence's own, or learned ones that read it first");
    fields.integer("count", count, positive,
                   "existing: the first places (CLS among them); added: how many are learned");
    fields.integers("token_ids", token_ids, not_negative,
                    "existing: all tokens with these vocabulary numbers (CLS: one past the last) are special, instead "
                    "of the first places");
  }
};

/// Special tokens see all and are seen by all; every other token sees only them and itself (H.-Y. Lee, lecture on
/// self-attention, 2022; ETC, arXiv 2004.08483).
class GlobalAttention : public AttentionMixer {
 public:
  GlobalAttention(const MixerSpec& spec, const GlobalOptions& options) : AttentionMixer(spec), options_(options) {
    if (added() && !options.token_ids.empty())
      throw Error("global: mixer_options.token_ids are of existing tokens, but mixer_options.tokens is \"added\"");
    for (const std::int64_t id : options.token_ids) {
      if (spec.vocab_size > 0 && id > spec.vocab_size) {
        throw Error("global: mixer_options.token_ids has " + std::to_string(id) + ", but the vocabulary ends at " +
                    std::to_string(spec.vocab_size - 1) + " (CLS is " + std::to_string(spec.vocab_size) + ")");
      }
    }
    if (added()) tokens_ = register_parameter("tokens", at::normal(0.0, 1.0, {options.count, spec.d_model}));
  }

 private:
  bool added() const { return options_.tokens == "added"; }
  bool reads_input() const override { return added(); }
  bool reads_token_ids() const override { return !options_.token_ids.empty(); }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    return added() ? attend_to_added(q, k, v, context) : attend_to_existing(q, k, v, context);
  }

  at::Tensor attend_to_added(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const AttentionContext& context) {
    const at::Tensor padding = hidden_keys(context);
    const at::Tensor readers = split_heads(query->forward(tokens_).unsqueeze(0)).expand({q.size(0), -1, -1, -1});
    const auto states = [&](const at::Tensor& values) {  // (B, g, d_model)
      return output->forward(
          ops::dense_attention(readers, k, values, padding, attention_dropout()).out.transpose(1, 2).flatten(2));
    };
    const at::Tensor read = states(v);
    // What the states' keys are made of is no mixed value: see Mixer::mix_values.
    const at::Tensor read_for_keys =
        context.x.is_same(context.value_x) ? read : states(split_heads(value->forward(context.x)));
    return ops::merge({ops::dense_attention(q, split_heads(key->forward(read_for_keys)),
                                            split_heads(value->forward(read)), {}, attention_dropout()),
                       ops::single_key_attention(q, k, v, attention_dropout())})
        .out;
  }

  // The special tokens' places (B, G), G the most that a sequence has, and which of these entries are there.
  struct Special {
    at::Tensor places, there;
  };

  Special find_special(const at::Tensor& q, const AttentionContext& context) const {
    const std::int64_t n = q.size(2);
    if (options_.token_ids.empty()) {
      const std::int64_t count = std::min(options_.count, n);
      const at::Tensor places = at::arange(count, q.options().dtype(at::kLong)).expand({q.size(0), count});
      return {places, real_places(context, q).narrow(1, 0, count)};
    }
    TORCH_CHECK(context.token_ids.defined(), "global: token_ids are given, but the batch has no token numbers");
    const at::Tensor special = at::isin(context.token_ids, at::tensor(options_.token_ids, context.token_ids.options()));
    const auto most = special.sum(1).max().item<std::int64_t>();
    const auto [there, places] = special.to(at::kByte).sort(/*stable=*/true, 1, /*descending=*/true);
    return {places.narrow(1, 0, most), there.narrow(1, 0, most).to(at::kBool)};
  }

  at::Tensor attend_to_existing(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const AttentionContext& context) const {
    const Special special = find_special(q, context);
    const at::Tensor index = special.places.unsqueeze(1).unsqueeze(3).expand({-1, q.size(1), -1, q.size(3)});
    const auto pick = [&](const at::Tensor& x) { return x.gather(2, index); };
    // Ordinary tokens: the special ones and themselves. The rows of special tokens are replaced after that.
    const at::Tensor out =
        ops::merge({ops::dense_attention(q, pick(k), pick(v), special.there.logical_not().unsqueeze(1).unsqueeze(2),
                                         attention_dropout()),
                    ops::single_key_attention(q, k, v, attention_dropout())})
            .out.transpose(1, 2);
    const at::Tensor rows = ops::dense_attention(pick(q), k, v, hidden_keys(context), attention_dropout())
                                .out.transpose(1, 2);  // (B, G, H, d)
    const at::Tensor entries = special.there.nonzero();
    const at::Tensor b = entries.select(1, 0), g = entries.select(1, 1);
    return out.index_put({b, special.places.index({b, g})}, rows.index({b, g})).transpose(1, 2);
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const SequenceLayout& layout = context.layout;
    const std::int64_t n = layout.max_length(), g = options_.count;
    if (added()) {
      std::vector<std::int64_t> offsets{0};
      for (std::int64_t b = 0; b < layout.batch(); ++b) offsets.push_back(offsets.back() + g);
      const auto in_heads = [&](const at::Tensor& x) { return x.view({-1, spec_.num_heads, spec_.d_head()}); };
      const at::Tensor readers = in_heads(query->forward(tokens_)).repeat({layout.batch(), 1, 1});
      const auto states = [&](const at::Tensor& values) {  // (B * g, d_model)
        return output->forward(ops::packed_attention(readers, offsets,
                                                     {{k, values, layout.offsets(), {}, ops::dense_pattern(g, n)}},
                                                     attention_dropout())
                                   .out.flatten(1));
      };
      const at::Tensor read = states(v);
      const at::Tensor read_for_keys =
          context.same_input() ? read : states(in_heads(value->forward(context.x)));  // see attend_to_added
      const ops::KeySource to_added{
          in_heads(key->forward(read_for_keys)), in_heads(value->forward(read)), offsets, {}, ops::dense_pattern(n, g)};
      return ops::packed_attention(q, layout.offsets(), {to_added, {k, v, {}, {}, ops::dense_pattern(n, n, 0)}},
                                   attention_dropout())
          .out;
    }
    const at::Tensor& ids = layout.token_ids();
    TORCH_CHECK(options_.token_ids.empty() || ids.defined(),
                "global: token_ids are given, but the batch has no token numbers");
    const at::Tensor special = options_.token_ids.empty()
                                   ? layout.positions(at::kCPU).lt(g)
                                   : at::isin(ids, at::tensor(options_.token_ids, ids.options()));
    const auto [rows, offsets] = some_tokens(layout, special);
    const auto pick = [&](const at::Tensor& x) { return x.index_select(0, rows); };
    const ops::KeySource to_special{pick(k), pick(v), offsets, {}, ops::dense_pattern(n, n)},
        self{k, v, {}, special.logical_not(), ops::dense_pattern(n, n, 0)};
    const at::Tensor out = ops::packed_attention(q, layout.offsets(), {to_special, self}, attention_dropout()).out;
    const at::Tensor of_special =
        ops::packed_attention(pick(q), offsets, {{k, v, layout.offsets(), {}, ops::dense_pattern(n, n)}},
                              attention_dropout())
            .out;
    return at::index_copy(out, 0, rows, of_special);
  }

  // How many tokens have the listed ids depends on the data: counted as if all had.
  MixerCost attend_cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto g = static_cast<double>(added()                      ? options_.count
                                       : options_.token_ids.empty() ? std::min(options_.count, n)
                                                                    : n);
    const auto d_model = static_cast<double>(spec_.d_model);
    const auto width = static_cast<double>(spec_.d_qkv);
    MixerCost cost = pair_cost({.computed = 2 * g * tokens, .seen = 2 * g * tokens}, spec_.num_heads);
    if (added())
      cost.flops += 2 * 4 * g * d_model * width;  // query of the learned tokens; output, key and value of their states
    cost.saved_values += 2 * tokens * width;
    return cost;
  }

  // Existing ones: the outputs again, with those of the special tokens, and these tokens' gradients of all keys and
  // values.
  MixerCost kernel_memory(std::int64_t n) const override {
    const double values = static_cast<double>(n) * static_cast<double>(spec_.d_qkv);
    if (!added()) return {.saved_values = values, .transient_values = 2 * values};
    const double states = static_cast<double>(options_.count) * static_cast<double>(spec_.d_model + 4 * spec_.d_qkv);
    return {.saved_values = states, .transient_values = states};
  }

  const GlobalOptions options_;
  at::Tensor tokens_;
};

// Tokens with listed ids can be a share of the sequence.
const bool registered = register_mixer<GlobalAttention, GlobalOptions>("global", [](const Json& options) {
  return MixerTraits{
      .rows_sum_to_one = true, .quadratic_memory = !options.at("token_ids").empty(), .attention_dropout = true};
});

}  // namespace
}  // namespace lra
