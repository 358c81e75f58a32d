#include <ATen/TensorOperators.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/init.h>

#include <algorithm>
#include <cmath>

#include "mixers/attention_mixer.h"
#include "ops/shared_attention.h"

namespace lra {
namespace {

struct SynthesizerOptions {
  std::string kind = "random";
  bool factorized = false;
  std::int64_t rank = 8;
  std::int64_t factor = 0;
  bool mixture = false;

  void describe(FieldVisitor& fields) {
    fields.choice(
        "kind", kind, {"random", "dense"},
        "random: learned logits, the same for every sequence; dense: each token makes its own from itself alone");
    fields.boolean("factorized", factorized, "logits from two smaller factors");
    fields.integer("rank", rank, positive, "random, factorized: rank of the logits");
    fields.integer("factor", factor, not_negative,
                   "dense, factorized: length of the second factor; 0: the root of the length");
    fields.boolean("mixture", mixture, "the logits of queries and keys are added");
  }
};

/// Softmax attention whose logits are learned for each pair of places, or made by an MLP of each token (arXiv
/// 2005.00743). A shorter sequence uses the logits of the first n places.
class Synthesizer : public AttentionMixer {
 public:
  Synthesizer(const MixerSpec& spec, const SynthesizerOptions& options)
      : AttentionMixer(spec, {options.mixture, options.mixture}), options_(options) {
    const std::int64_t length = spec.max_length;
    if (options.kind == "random" && options.factorized) {
      left_ = matrices("left", length, options.rank);
      right_ = matrices("right", length, options.rank);
    } else if (options.kind == "random") {
      logits_ = matrices("logits", length, length);
    } else {
      hidden_ = register_module("hidden",
                                torch::nn::Linear(torch::nn::LinearOptions(spec.d_model, spec.d_qkv).bias(spec.bias)));
      if (options.factorized) {
        const auto root = static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(length))));
        factor_ = options.factor == 0 ? root : std::min(options.factor, length);
        a_ = dense_layer("a", (length - 1) / factor_ + 1);
        b_ = dense_layer("b", factor_);
      } else {
        dense_ = dense_layer("dense", length);
      }
    }
  }

 private:
  struct DenseLayer {
    at::Tensor weight, bias;  // (H, rows, d), (H, rows)
  };

  // (H, rows, columns), Xavier-uniform for each head on its own. The paper only says that the logits are initialised at
  // random.
  at::Tensor matrices(const char* name, std::int64_t rows, std::int64_t columns) {
    const double bound = std::sqrt(6.0 / static_cast<double>(rows + columns));
    return register_parameter(name,
                              torch::nn::init::uniform_(at::empty({spec_.num_heads, rows, columns}), -bound, bound));
  }

  DenseLayer dense_layer(const std::string& name, std::int64_t rows) {
    const at::Tensor weight = matrices((name + "_weight").c_str(), rows, spec_.d_head());
    return {weight, register_parameter(name + "_bias", at::zeros({spec_.num_heads, rows}))};
  }

  // The first `rows` rows of the layer: (B, H, n, d) → (B, H, n, rows).
  static at::Tensor first_rows(const at::Tensor& hidden, const DenseLayer& layer, std::int64_t rows) {
    return at::matmul(hidden, layer.weight.narrow(1, 0, rows).transpose(-2, -1))
        .add_(layer.bias.narrow(1, 0, rows).unsqueeze(1));
  }

  // (B, H, n, n); (1, H, n, n) if all sequences have the same.
  at::Tensor learned_logits(std::int64_t n, const at::Tensor& x) {
    if (left_.defined())
      return at::matmul(left_.narrow(1, 0, n), right_.narrow(1, 0, n).transpose(-2, -1)).unsqueeze(0);
    if (logits_.defined()) return logits_.narrow(1, 0, n).narrow(2, 0, n).unsqueeze(0);
    const at::Tensor hidden = split_heads(at::relu(hidden_->forward(x)));
    if (factor_ == 0) return first_rows(hidden, dense_, n);
    const at::Tensor a = first_rows(hidden, a_, (n - 1) / factor_ + 1);
    const at::Tensor b = first_rows(hidden, b_, std::min(factor_, n));
    return (a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2).narrow(-1, 0, n);
  }

  void check_length(std::int64_t n) const {
    TORCH_CHECK(n <= spec_.max_length, "synthesizer: a sequence of ", n, " tokens, but its logits are made for ",
                spec_.max_length);
  }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    const std::int64_t batch = v.size(0), heads = v.size(1), n = v.size(2), d = v.size(3);
    check_length(n);
    at::Tensor logits = learned_logits(n, context.x);
    if (options_.mixture)
      logits = at::matmul(q * (1.0 / std::sqrt(static_cast<double>(d))), k.transpose(-2, -1)).add_(logits);
    if (context.mask.defined())
      logits = logits.masked_fill(context.mask.logical_not().unsqueeze(1).unsqueeze(2), masked_logit);
    at::Tensor weights = at::softmax(logits, -1);
    if (is_training() && spec_.attention_dropout > 0)
      weights = at::dropout(weights.expand({batch, heads, n, n}), spec_.attention_dropout, true);
    if (weights.size(0) == batch) return at::matmul(weights, v);
    // The same weights for all sequences: one product for each head with the values of all as its columns, instead of
    // copies of the weights.
    const at::Tensor columns = v.permute({1, 2, 0, 3}).reshape({heads, n, batch * d});
    return at::matmul(weights.squeeze(0), columns).view({heads, n, batch, d}).permute({2, 0, 1, 3});
  }

  // Only for logits that all sequences share; dropout needs the weights.
  bool has_kernel() const override {
    return options_.kind == "random" && !options_.mixture && !(is_training() && spec_.attention_dropout > 0);
  }
  at::Tensor attend_packed(const at::Tensor&, const at::Tensor&, const at::Tensor& v,
                           const PackedContext& context) override {
    check_length(context.layout.max_length());
    const at::Tensor values = context.visible.defined()
                                  ? v.masked_fill(context.visible.logical_not().view({-1, 1, 1}), 0)
                                  : v;  // 0 x NaN is NaN
    return ops::shared_attention(values, left_.defined() ? left_ : logits_, right_, context.layout.lengths(),
                                 context.visible);
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto width = static_cast<double>(spec_.d_qkv);
    const auto heads = static_cast<double>(spec_.num_heads);
    const double copies = spec_.attention_dropout > 0 ? 3 : 1;  // weights; with dropout also its noise and the product
    MixerCost cost{.flops = 2 * tokens * tokens * width,
                   .saved_values = copies * tokens * tokens * heads + tokens * width,
                   .transient_values = (copies > 1 ? 1 : 2) * tokens * tokens * heads};
    if (options_.mixture) cost.flops += 2 * tokens * tokens * width;
    if (left_.defined()) cost.flops += 2 * tokens * tokens * static_cast<double>(options_.rank) * heads;
    if (hidden_) {
      const double rows = factor_ == 0 ? tokens : static_cast<double>((n - 1) / factor_ + 1 + std::min(factor_, n));
      cost.flops += 2 * tokens * static_cast<double>(spec_.d_model) * width + 2 * tokens * rows * width;
      cost.saved_values += tokens * width + (factor_ == 0 ? 0 : tokens * rows * heads);
    }
    return cost;
  }

  bool reads_input() const override { return options_.kind == "dense"; }

  const SynthesizerOptions options_;
  std::int64_t factor_ = 0;  // 0: the logits are no products of factors
  at::Tensor logits_, left_, right_;
  torch::nn::Linear hidden_{nullptr};
  DenseLayer dense_, a_, b_;
};

const bool registered = register_mixer<Synthesizer, SynthesizerOptions>("synthesizer", {.rows_sum_to_one = true,
                                                                                        .quadratic_memory = true,
                                                                                        .fixed_length = true,
                                                                                        .hides_keys = true,
                                                                                        .attention_dropout = true});

}  // namespace
}  // namespace lra
