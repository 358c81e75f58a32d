#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/relu.h>

#include "mixers/attention_mixer.h"
#include "ops/feature_attention.h"

namespace lra {
namespace {

/// φ(Q) (φ(K)ᵀ V) / (φ(Q) Σ φ(K)) with φ = elu + 1 (arXiv 2006.16236), without an epsilon: at any finite input the
/// weights are those of exact arithmetic.
class LinearAttention : public AttentionMixer {
 public:
  LinearAttention(const MixerSpec& spec, const NoOptions&) : AttentionMixer(spec) {}

 private:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    // A factor of one feature of all keys, and one of all features of a query, cancel. Without them features underflow,
    // and the normaliser is 0.
    const auto features = [](const at::Tensor& x, const at::Tensor& shift) {
      return (at::relu(x) + 1) * (x.clamp_max(0) + shift).exp();
    };
    const at::Tensor keys =
        context.mask.defined() ? k.masked_fill(context.mask.logical_not().unsqueeze(1).unsqueeze(-1), masked_logit) : k;
    const at::Tensor largest = keys.detach().clamp_max(0).amax(-2, true);
    const at::Tensor key_features = features(keys, -largest);
    const at::Tensor query_features = features(q, largest - (q.detach().clamp_max(0) + largest).amax(-1, true));
    const at::Tensor normaliser = at::matmul(query_features, key_features.sum(-2).unsqueeze(-1));
    return at::matmul(query_features, at::matmul(key_features.transpose(-2, -1), v)) / normaliser;
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    return ops::feature_attention(q, k, v, context.layout.offsets(), {.kind = ops::cpu::Features::elu});
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto width = static_cast<double>(spec_.d_qkv);
    return {.flops = tokens * width * (4 * static_cast<double>(spec_.d_head()) + 2),
            .saved_values = tokens * (3 * width + static_cast<double>(spec_.num_heads))};
  }
};

const bool registered = register_mixer<LinearAttention, NoOptions>("linear", {.rows_sum_to_one = true});

}  // namespace
}  // namespace lra
