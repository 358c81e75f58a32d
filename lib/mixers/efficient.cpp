#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include "mixers/attention_mixer.h"
#include "ops/feature_attention.h"

namespace lra {
namespace {

/// softmax over the features of each query, softmax over the tokens for each feature of the keys, and Kᵀ V first (arXiv
/// 1812.01243).
class EfficientAttention : public AttentionMixer {
 public:
  EfficientAttention(const MixerSpec& spec, const NoOptions&) : AttentionMixer(spec) {}

 private:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    at::Tensor keys = k;
    if (context.mask.defined())
      keys = keys.masked_fill(context.mask.logical_not().unsqueeze(1).unsqueeze(-1), masked_logit);
    return at::matmul(at::softmax(q, -1), at::matmul(at::softmax(keys, -2).transpose(-2, -1), v));
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    return ops::feature_attention(q, k, v, context.layout.offsets(), {.kind = ops::cpu::Features::softmax});
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const double values = static_cast<double>(n) * static_cast<double>(spec_.d_qkv);
    return {.flops = 4 * values * static_cast<double>(spec_.d_head()), .saved_values = 3 * values};
  }
};

const bool registered = register_mixer<EfficientAttention, NoOptions>("efficient", {.rows_sum_to_one = true});

}  // namespace
}  // namespace lra
