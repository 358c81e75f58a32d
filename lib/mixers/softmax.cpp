#include <ATen/ops/dropout.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include <cmath>

#include "mixers/attention_mixer.h"

namespace lra {
namespace {

/// softmax(Q Kᵀ / √d) V with the n × n weights materialised: the papers' Transformer (arXiv 1706.03762).
class SoftmaxAttention : public AttentionMixer {
 public:
  SoftmaxAttention(const MixerSpec& spec, const NoOptions&) : AttentionMixer(spec) {}

 private:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    at::Tensor logits = at::matmul(q * (1.0 / std::sqrt(static_cast<double>(spec_.d_head()))), k.transpose(-2, -1));
    if (context.mask.defined()) logits.masked_fill_(context.mask.logical_not().unsqueeze(1).unsqueeze(2), masked_logit);
    at::Tensor weights = at::softmax(logits, -1);
    if (is_training() && spec_.attention_dropout > 0) weights = at::dropout(weights, spec_.attention_dropout, true);
    return at::matmul(weights, v);
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const double copies = spec_.attention_dropout > 0 ? 3 : 1;  // weights; with dropout also its noise and the product
    return {.flops = 4 * tokens * tokens * static_cast<double>(spec_.d_qkv),
            .saved_values = copies * tokens * tokens * static_cast<double>(spec_.num_heads) +
                            tokens * static_cast<double>(spec_.d_qkv),
            // Gradients of the weights and of the logits; what was dropped is gone when these are made.
            .transient_values = (copies > 1 ? 1 : 2) * tokens * tokens * static_cast<double>(spec_.num_heads)};
  }
};

const bool registered = register_mixer<SoftmaxAttention, NoOptions>(
    "softmax", {.rows_sum_to_one = true, .quadratic_memory = true, .hides_keys = true, .attention_dropout = true});

}  // namespace
}  // namespace lra
