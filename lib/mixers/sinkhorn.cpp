#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logical_not.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "mixers/attention_mixer.h"
#include "mixers/seed.h"
#include "ops/packed_attention.h"
#include "ops/pad.h"

namespace lra {
namespace {

struct SinkhornOptions {
  std::int64_t block = 64;
  std::int64_t iterations = 8;
  double temperature = 0.75;
  bool gumbel = true;

  void describe(FieldVisitor& fields) {
    fields.integer("block", block, positive, "tokens in a block");
    fields.integer("iterations", iterations, positive,
                   "normalisations of the columns, then of the rows, of the blocks' scores");
    fields.number("temperature", temperature, {1e-3, 1e3}, "divides the blocks' scores");
    fields.boolean("gumbel", gumbel, "Gumbel noise on the blocks' scores in training");
  }
};

/// Every block attends to itself and to a mixture of all blocks, near to one of them: a sorting network's scores made
/// doubly stochastic (arXiv 2002.11296). Noise is a function of the mixer's seed, the step and the sequence's number in
/// the step.
class Sinkhorn : public AttentionMixer {
 public:
  Sinkhorn(const MixerSpec& spec, const SinkhornOptions& options) : AttentionMixer(spec), options_(options) {
    const auto sorter = [&] {
      return torch::nn::Linear(torch::nn::LinearOptions(spec.d_model, spec.d_qkv).bias(false));
    };
    sort_query_ = register_module("sort_query", sorter());
    sort_key_ = register_module("sort_key", sorter());
  }

  void begin_training_step(std::int64_t step) override {
    step_ = static_cast<std::uint64_t>(step);
    sequences_ = 0;
  }

 private:
  bool reads_input() const override { return true; }

  std::int64_t block_size(std::int64_t n) const { return std::min(options_.block, n); }

  // (B, H, blocks, blocks) float64 on the CPU; what a sequence gets does not depend on the others or on padding.
  at::Tensor noise(const std::vector<std::int64_t>& lengths, std::int64_t size, std::int64_t blocks) {
    std::vector<at::Tensor> squares;
    for (const std::int64_t length : lengths) {
      const at::Generator generator =
          at::make_generator<at::CPUGeneratorImpl>(mixed_seed(mixed_seed(spec_.seed, step_), sequences_++));
      const std::int64_t own = (length + size - 1) / size;
      const at::Tensor uniform =
          at::rand({spec_.num_heads, own, own}, generator, at::kDouble).clamp_min_(std::numeric_limits<double>::min());
      squares.push_back(at::constant_pad_nd(uniform, {0, blocks - own, 0, blocks - own}, 0.5));
    }
    return at::stack(squares).log_().neg_().log_().neg_();
  }

  // log P (B, H, blocks, blocks), rows normalised last; x (B, N, d_model); counts (B or 1, blocks) of real tokens; real
  // (B, blocks) bool, undefined if all blocks are.
  at::Tensor log_matching(const at::Tensor& x, const std::vector<std::int64_t>& lengths, std::int64_t size,
                          const at::Tensor& counts, const at::Tensor& real) {
    const std::int64_t batch = x.size(0), blocks = counts.size(1), missing = blocks * size - x.size(1);
    const at::Tensor whole = missing == 0 ? x : at::constant_pad_nd(x, {0, 0, 0, missing});
    const at::Tensor sums = whole.view({batch, blocks, size, -1}).sum(2);
    const at::Tensor means = sums / counts.clamp_min(1).unsqueeze(-1).to(sums.scalar_type());
    const double scale = 1.0 / (std::sqrt(static_cast<double>(spec_.d_head())));
    at::Tensor scores = at::matmul(split_heads(sort_query_->forward(means)) * scale,
                                   split_heads(sort_key_->forward(means)).transpose(-2, -1));
    if (scores.scalar_type() == at::kBFloat16) scores = scores.to(at::kFloat);
    if (is_training() && options_.gumbel) scores = scores + noise(lengths, size, blocks).to(scores.options());
    scores = scores / options_.temperature;
    const at::Tensor unreal =
        real.defined() ? at::logical_not(real.view({batch, 1, blocks, 1}).logical_and(real.view({batch, 1, 1, blocks})))
                       : at::Tensor();
    const auto masked = [&](const at::Tensor& all) {
      return unreal.defined() ? all.masked_fill(unreal, masked_logit) : all;
    };
    scores = masked(scores);
    for (std::int64_t i = 0; i < options_.iterations; ++i) {
      scores = masked(at::log_softmax(scores, 2));
      scores = masked(at::log_softmax(scores, 3));
    }
    return scores;
  }

  // (B or 1, blocks): real tokens in each block.
  static at::Tensor tokens_in_blocks(const std::vector<std::int64_t>& lengths, std::int64_t size, std::int64_t blocks,
                                     const at::Device& device) {
    const auto integers = at::TensorOptions(at::kLong).device(device);
    const bool uniform = std::equal(lengths.begin() + 1, lengths.end(), lengths.begin());
    const at::Tensor ends =
        at::tensor(uniform ? std::vector<std::int64_t>{lengths[0]} : lengths, integers).unsqueeze(1);
    return (ends - at::arange(blocks, integers) * size).clamp(0, size);
  }

  // Slot t of a matched block is the mean, weighted by P, of the blocks that have it. All blocks but a sequence's last
  // have all slots.
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    const std::int64_t batch = q.size(0), heads = q.size(1), n = q.size(2), d = q.size(3);
    const std::int64_t size = block_size(n), blocks = (n + size - 1) / size;
    const bool padded = context.mask.defined();
    const at::Tensor counts = tokens_in_blocks(context.lengths, size, blocks, q.device());
    const at::Tensor log_weights =
        log_matching(context.x, context.lengths, size, counts, padded ? counts.gt(0) : at::Tensor());

    // Weights relative to the largest of the complete blocks keep the divisor from vanishing where P is almost all on
    // the last one.
    const at::Tensor incomplete = counts.lt(size).unsqueeze(1).unsqueeze(2);
    const at::Tensor largest = log_weights.detach().masked_fill(incomplete, masked_logit).amax(-1, true);
    const at::Tensor weights = (log_weights - largest).clamp_max(40).exp().to(v.scalar_type());
    const auto integers = q.options().dtype(at::kLong);
    const at::Tensor slots =
        at::arange(size, integers).lt(counts.unsqueeze(-1)).unsqueeze(1);    // (B or 1, 1, blocks, size)
    const at::Tensor sums = at::matmul(weights, slots.to(v.scalar_type()));  // (B, H, blocks, size)
    const at::Tensor divisor = at::where(sums.gt(0), sums, 1).unsqueeze(-1);
    const auto with_matched = [&](const at::Tensor& x) {
      const at::Tensor whole =
          at::constant_pad_nd(x, {0, 0, 0, blocks * size - n}).reshape({batch, heads, blocks, size * d});
      const at::Tensor matched =
          (at::matmul(weights, whole).view({batch, heads, blocks, size, d}) / divisor).flatten(2, 3);
      return at::cat({whole.view({batch, heads, blocks * size, d}), matched}, 2);
    };
    const at::Tensor own = at::arange(blocks, integers).view({1, 1, blocks, 1});
    const ops::BlockPattern pattern{size, size, at::cat({own, own + blocks}, 3), std::nullopt};
    at::Tensor mask;  // a matched block has the slots of the sequence's first block
    if (padded || blocks * size > n) {
      const at::Tensor matched = slots.select(2, 0).expand({-1, blocks, -1}).flatten(1);
      mask = at::cat({slots.view({slots.size(0), blocks * size}), matched}, 1).expand({batch, -1});
    }
    return ops::block_sparse_attention(q, with_matched(k), with_matched(v), mask, pattern, attention_dropout()).out;
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const SequenceLayout& layout = context.layout;
    const std::int64_t n = layout.max_length(), size = block_size(n), blocks = (n + size - 1) / size;
    const at::Tensor counts = tokens_in_blocks(layout.lengths(), size, blocks, at::kCPU);
    const at::Tensor x = layout.uniform() ? context.x.view({layout.batch(), n, -1})
                                          : ops::pad_sequences(context.x, layout.lengths(), 1, {}).squeeze(1);
    const at::Tensor log_weights =
        log_matching(x, layout.lengths(), size, counts, layout.uniform() ? at::Tensor() : counts.gt(0));
    std::vector<at::Tensor> mixtures{log_weights.softmax(-1)};
    if (!layout.uniform() || n % size != 0)
      mixtures.push_back(log_weights.masked_fill(counts.lt(size).unsqueeze(1).unsqueeze(2), masked_logit).softmax(-1));
    const ops::BlockPattern own_block = ops::diagonal_pattern(n, size, at::kCPU);
    return ops::packed_attention(q, layout.offsets(),
                                 {{.k = k, .v = v, .pattern = own_block},
                                  {.k = k, .v = v, .pattern = own_block, .mixture = at::stack(mixtures)}},
                                 attention_dropout())
        .out;
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const std::int64_t size = block_size(n), blocks = (n + size - 1) / size;
    const ops::PairCount own = ops::diagonal_pairs(n, size);
    const double computed = 2 * own.computed, seen = static_cast<double>(n) * static_cast<double>(size) + own.seen;
    const auto width = static_cast<double>(spec_.d_qkv), heads = static_cast<double>(spec_.num_heads);
    const auto all = static_cast<double>(blocks), slots = static_cast<double>(blocks * size);
    const double sorter = 4 * all * width * static_cast<double>(spec_.d_model) + 2 * all * all * width;
    const double matching = all * slots * (4 * width + 2 * heads);
    return {.flops = 4 * computed * width + sorter + matching,
            .masked_flops = 4 * (computed - seen) * width,
            .saved_values = computed * heads + 8 * slots * width + matching_values(n),
            .transient_values = 2 * computed * heads + 4 * slots * width};
  }

  // Of the blocks' scores all normalisations are kept; with each goes a node of the graph, some 250 numbers' worth.
  double matching_values(std::int64_t n) const {
    const std::int64_t size = block_size(n), blocks = (n + size - 1) / size;
    const double scores =
        static_cast<double>(blocks) * static_cast<double>(blocks) * static_cast<double>(spec_.num_heads);
    return static_cast<double>(2 * options_.iterations) * (scores + 250) + 4 * scores;
  }
  // Mixed keys and values of one head at a time.
  MixerCost kernel_memory(std::int64_t n) const override {
    const double matching = matching_values(n), blocks = static_cast<double>((n - 1) / block_size(n) + 1);
    return {.saved_values = matching + 3 * blocks * static_cast<double>(spec_.d_model + spec_.d_qkv),
            .transient_values = 4 * static_cast<double>(n) * static_cast<double>(spec_.d_head()) +
                                4 * blocks * blocks * static_cast<double>(spec_.num_heads)};
  }

  const SinkhornOptions options_;
  torch::nn::Linear sort_query_{nullptr}, sort_key_{nullptr};
  std::uint64_t step_ = 0, sequences_ = 0;  // of training
};

const bool registered =
    register_mixer<Sinkhorn, SinkhornOptions>("sinkhorn", {.rows_sum_to_one = true, .attention_dropout = true});

}  // namespace
}  // namespace lra
