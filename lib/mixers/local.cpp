#include "mixers/attention_mixer.h"
#include "ops/packed_attention.h"

namespace lra {
namespace {

struct LocalOptions {
  std::int64_t window = 64;
  bool blocked = false;
  std::int64_t block = 50;

  void describe(FieldVisitor& fields) {
    fields.integer("window", window, not_negative, "a query sees the keys at most this many places away");
    fields.boolean("blocked", blocked,
                   "instead of a window: non-overlapping contiguous blocks, as meant by the LRA paper");
    fields.integer("block", block, positive, "size of those blocks");
  }
};

/// Softmax attention over the keys near the query: a window, or the query's own block (arXiv 2011.04006).
class LocalAttention : public AttentionMixer {
 public:
  LocalAttention(const MixerSpec& spec, const LocalOptions& options) : AttentionMixer(spec), options_(options) {}

 private:
  ops::BlockPattern pattern(std::int64_t n, const at::Device& device) const {
    return options_.blocked ? ops::diagonal_pattern(n, options_.block, device)
                            : ops::window_pattern(n, options_.window, device);
  }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    return ops::block_sparse_attention(q, k, v, context.mask, pattern(q.size(2), q.device()), attention_dropout()).out;
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const std::int64_t n = context.layout.max_length();
    const ops::BlockPattern keys = options_.blocked ? ops::diagonal_pattern(n, options_.block, at::kCPU)
                                                    : ops::dense_pattern(n, n, options_.window);
    return ops::packed_attention(q, context.layout.offsets(), {{k, v, {}, context.visible, keys}}, attention_dropout())
        .out;
  }

  MixerCost attend_cost(std::int64_t n) const override {
    return pattern_cost(
        options_.blocked ? ops::diagonal_pairs(n, options_.block) : ops::window_pairs(n, options_.window),
        spec_.num_heads);
  }

  const LocalOptions options_;
};

const bool registered = register_mixer<LocalAttention, LocalOptions>(
    "local", {.rows_sum_to_one = true, .hides_keys = true, .attention_dropout = true});

}  // namespace
}  // namespace lra
