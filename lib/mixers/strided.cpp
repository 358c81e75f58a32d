#include <algorithm>

#include "mixers/attention_mixer.h"
#include "ops/packed_attention.h"
#include "ops/residues.h"

namespace lra {
namespace {

struct StridedOptions {
  std::int64_t stride = 8;
  std::int64_t window = 16;

  void describe(FieldVisitor& fields) {
    fields.integer("stride", stride, positive, "distance of neighbouring keys");
    fields.integer("window", window, not_negative, "a query sees the keys at most this many strides away");
  }
};

/// Softmax attention over every stride-th key around the query: a dilated window (H.-Y. Lee, lecture on self-attention,
/// 2022). Sorted by place mod stride it is a plain window.
class StridedAttention : public AttentionMixer {
 public:
  StridedAttention(const MixerSpec& spec, const StridedOptions& options) : AttentionMixer(spec), options_(options) {}

 private:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    return ops::strided_window_attention(q, k, v, real_places(context, q), options_.stride, options_.window,
                                         attention_dropout())
        .out;
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const std::int64_t n = context.layout.max_length();
    return ops::packed_attention(q, context.layout.offsets(),
                                 {{k, v, {}, context.visible, ops::dense_pattern(n, n, options_.window)}},
                                 attention_dropout(), std::min(options_.stride, n))
        .out;
  }

  MixerCost attend_cost(std::int64_t n) const override {
    return residue_cost(n, options_.stride, options_.window, spec_.num_heads);
  }

  const StridedOptions options_;
};

const bool registered =
    register_mixer<StridedAttention, StridedOptions>("strided", {.rows_sum_to_one = true, .attention_dropout = true});

}  // namespace
}  // namespace lra
