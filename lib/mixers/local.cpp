#include <algorithm>

#include "mixers/attention_mixer.h"
#include "ops/local_attention.h"

namespace lra {
namespace {

struct LocalOptions {
  std::int64_t window = 64;
  bool blocked = false;
  std::int64_t block = 50;

  void describe(FieldVisitor& fields) {
    fields.integer("window", window, not_negative, "a query sees the keys at most this many places away");
    fields.boolean("blocked", blocked, "instead of a window: non-overlapping contiguous blocks, as meant by the LRA paper");
    fields.integer("block", block, positive, "size of those blocks");
  }
};

/// Softmax attention over the keys near the query: a window, or the query's own block (arXiv 2011.04006).
class LocalAttention : public AttentionMixer {
 public:
  LocalAttention(const MixerSpec& spec, const LocalOptions& options) : AttentionMixer(spec), options_(options) {}

 private:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionContext& context) override {
    return options_.blocked ? ops::block_attention(q, k, v, context.mask, options_.block)
                            : ops::window_attention(q, k, v, context.mask, options_.window);
  }

  // Blocks that a window covers in part are counted whole, and so are those that reach over the sequence's ends.
  MixerCost attend_cost(std::int64_t n) const override {
    const std::int64_t block = std::min(options_.block, n);
    const auto [rows, columns] = options_.blocked ? ops::WindowBlocks{block, block} : ops::window_blocks(n, options_.window);
    const auto places = static_cast<double>((n + rows - 1) / rows * rows);
    const auto width = static_cast<double>(spec_.d_qkv);
    const auto overlap = static_cast<double>(columns) / static_cast<double>(rows);
    return {.flops = 4 * places * static_cast<double>(columns) * width,
            .saved_values = places * (static_cast<double>(columns * spec_.num_heads) + width * (1 + 2 * overlap))};
  }

  const LocalOptions options_;
};

const bool registered = register_mixer<LocalAttention, LocalOptions>("local", {.rows_sum_to_one = true});

}  // namespace
}  // namespace lra
