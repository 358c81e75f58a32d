#include <ATen/ops/scaled_dot_product_attention.h>

#include "mixers/attention_mixer.h"
#include "ops/packed_attention.h"

namespace lra {
namespace {

/// softmax(Q Kᵀ / √d) V through LibTorch's fused kernel, whose memory grows with n (arXiv 2205.14135); on a CPU through
/// ours.
class FlashAttention : public AttentionMixer {
 public:
  FlashAttention(const MixerSpec& spec, const NoOptions&) : AttentionMixer(spec) {}

 private:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    std::optional<at::Tensor> mask;
    if (context.mask.defined())
      mask = context.mask.unsqueeze(1).unsqueeze(2);  // (B, 1, 1, N): broadcast inside the kernel
    return at::scaled_dot_product_attention(q, k, v, mask, attention_dropout());
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const std::int64_t n = context.layout.max_length();
    return ops::packed_attention(q, context.layout.offsets(), {{k, v, {}, context.visible, ops::dense_pattern(n, n)}},
                                 attention_dropout())
        .out;
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    return {.flops = 4 * tokens * tokens * static_cast<double>(spec_.d_qkv),
            .saved_values = tokens * static_cast<double>(spec_.d_qkv + 2 * spec_.num_heads)};
  }
};

const bool registered = register_mixer<FlashAttention, NoOptions>(
    "flash", {.rows_sum_to_one = true, .hides_keys = true, .attention_dropout = true});

}  // namespace
}  // namespace lra
