#include <ATen/ops/elu.h>
#include <ATen/ops/matmul.h>

#include "mixers/attention_mixer.h"
#include "ops/feature_attention.h"

namespace lra {
namespace {

/// φ(Q) (φ(K)ᵀ V) / (φ(Q) Σ φ(K)) with φ = elu + 1 (arXiv 2006.16236).
class LinearAttention : public AttentionMixer {
 public:
  LinearAttention(const MixerSpec& spec, const NoOptions&) : AttentionMixer(spec) {}

 private:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionContext& context) override {
    const at::Tensor query_features = at::elu(q).add_(1);
    at::Tensor key_features = at::elu(k).add_(1);
    if (context.mask.defined()) key_features = key_features * context.mask.unsqueeze(1).unsqueeze(-1).to(key_features.scalar_type());
    const at::Tensor normaliser = at::matmul(query_features, key_features.sum(-2).unsqueeze(-1));
    return at::matmul(query_features, at::matmul(key_features.transpose(-2, -1), v)) / normaliser;
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const PackedContext& context) override {
    return ops::feature_attention(q, k, v, context.layout.offsets(), {.kind = ops::cpu::Features::elu});
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto width = static_cast<double>(spec_.d_qkv);
    return {.flops = tokens * width * (4 * static_cast<double>(spec_.d_head()) + 2), .saved_values = tokens * (3 * width + static_cast<double>(spec_.num_heads))};
  }
};

const bool registered = register_mixer<LinearAttention, NoOptions>("linear", {.rows_sum_to_one = true});

}  // namespace
}  // namespace lra
