#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_copy.h>
#include <ATen/ops/rand.h>

#include <algorithm>

#include "mixers/attention_mixer.h"
#include "ops/packed_attention.h"

namespace lra {
namespace {

struct BigBirdOptions {
  std::int64_t block = 64;
  std::int64_t global_blocks = 1;
  std::int64_t random_blocks = 3;

  void describe(FieldVisitor& fields) {
    fields.integer("block", block, positive, "size of the blocks");
    fields.integer("global_blocks", global_blocks, not_negative,
                   "the first blocks, CLS among them, which see all and are seen by all");
    fields.integer("random_blocks", random_blocks, not_negative,
                   "blocks drawn for each head and block of queries, once, over the whole sequence");
  }
};

/// BigBird (arXiv 2007.14062): a window of three blocks, global blocks and random blocks, each key block once. Random
/// blocks are the first that exist and are not yet seen in an order drawn once for the longest sequence, so that
/// training and evaluation have the same.
class BigBird : public AttentionMixer {
 public:
  BigBird(const MixerSpec& spec, const BigBirdOptions& options) : AttentionMixer(spec), options_(options) {
    const std::int64_t blocks = (spec.max_length + options.block - 1) / options.block;
    const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(spec.seed);
    random_order_ = register_buffer(
        "random_order",
        at::rand({spec.num_heads, blocks, blocks}, generator, at::kDouble).argsort(/*dim=*/std::int64_t{-1}));
  }

 private:
  // The key blocks of query block b in head h, in a sequence of `blocks` blocks.
  std::vector<std::int64_t> key_blocks(const at::TensorAccessor<std::int64_t, 3>& order, std::int64_t h, std::int64_t b,
                                       std::int64_t blocks) const {
    std::vector<std::int64_t> list;
    std::vector<bool> listed(static_cast<std::size_t>(blocks), false);
    const auto add = [&](std::int64_t block) {
      if (block >= blocks || listed[static_cast<std::size_t>(block)]) return false;
      listed[static_cast<std::size_t>(block)] = true;
      list.push_back(block);
      return true;
    };
    for (std::int64_t global = 0; global < std::min(options_.global_blocks, blocks); ++global) add(global);
    for (std::int64_t near = std::max<std::int64_t>(b - 1, 0); near <= b + 1; ++near) add(near);
    std::int64_t missing = options_.random_blocks;
    for (std::int64_t i = 0; i < order.size(2) && missing > 0; ++i) missing -= add(order[h][b][i]) ? 1 : 0;
    return list;
  }

  // For the queries from block `first` on, in sequences of these lengths, the longest n. The global blocks have no
  // list.
  ops::BlockPattern pattern(const std::vector<std::int64_t>& lengths, std::int64_t n, const at::Device& device,
                            std::int64_t first) const {
    const at::Tensor drawn = random_order_.to(at::kCPU, at::kLong);
    const auto order = drawn.accessor<std::int64_t, 3>();
    const std::int64_t global = options_.global_blocks,
                       most = std::min(3 + global + options_.random_blocks, blocks_in(n));
    const at::Tensor lists = at::full(
        {static_cast<std::int64_t>(lengths.size()), spec_.num_heads, blocks_in(n) - first, most}, -1, at::kLong);
    auto entry = lists.accessor<std::int64_t, 4>();
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      const std::int64_t blocks = blocks_in(lengths[s]);
      for (std::int64_t h = 0; h < spec_.num_heads; ++h) {
        for (std::int64_t b = global; b < blocks; ++b) {
          const auto list = key_blocks(order, h, b, blocks);
          for (std::size_t i = 0; i < list.size(); ++i)
            entry[static_cast<std::int64_t>(s)][h][b - first][static_cast<std::int64_t>(i)] = list[i];
        }
      }
    }
    const std::int64_t size = std::min(options_.block, n);  // a single block need not be filled up
    return {size, size, lists.to(device), std::nullopt};
  }

  std::int64_t blocks_in(std::int64_t n) const { return (n + options_.block - 1) / options_.block; }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    const std::int64_t n = q.size(2), global = std::min(options_.global_blocks * options_.block, n);
    TORCH_CHECK(n <= spec_.max_length, "bigbird: a sequence of ", n, " tokens, but its random blocks are drawn for ",
                spec_.max_length);
    std::vector<at::Tensor> rows;
    if (global > 0)
      rows.push_back(ops::dense_attention(q.narrow(2, 0, global), k, v, hidden_keys(context), attention_dropout()).out);
    if (global < n) {
      rows.push_back(ops::block_sparse_attention(q.narrow(2, global, n - global), k, v, context.mask,
                                                 pattern(context.lengths, n, q.device(), options_.global_blocks),
                                                 attention_dropout())
                         .out);
    }
    return at::cat(rows, 2);
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const SequenceLayout& layout = context.layout;
    const std::int64_t n = layout.max_length(), global = std::min(options_.global_blocks * options_.block, n);
    TORCH_CHECK(n <= spec_.max_length, "bigbird: a sequence of ", n, " tokens, but its random blocks are drawn for ",
                spec_.max_length);
    const at::Tensor out =
        ops::packed_attention(q, layout.offsets(),
                              {{k, v, {}, context.visible, pattern(layout.lengths(), n, at::kCPU, 0)}},
                              attention_dropout())
            .out;
    if (global == 0) return out;
    const auto [rows, offsets] = some_tokens(layout, layout.positions(at::kCPU).lt(global));
    const at::Tensor of_global =
        ops::packed_attention(q.index_select(0, rows), offsets,
                              {{k, v, layout.offsets(), context.visible, ops::dense_pattern(global, n)}},
                              attention_dropout())
            .out;
    return at::index_copy(out, 0, rows, of_global);
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const std::int64_t global = std::min(options_.global_blocks * options_.block, n);
    const double rows = static_cast<double>(global) * static_cast<double>(n);
    MixerCost cost = pair_cost({.computed = rows, .seen = rows}, spec_.num_heads);
    if (global < n) cost += pattern_cost(listed_pairs(n), spec_.num_heads);
    return cost;
  }

  // The lists and what is made of them; the outputs again, with those of the global tokens, and these tokens' gradients
  // of all keys and values.
  MixerCost kernel_memory(std::int64_t n) const override {
    const double blocks = static_cast<double>(blocks_in(n)),
                 values = static_cast<double>(n) * static_cast<double>(spec_.d_qkv);
    const double lists = static_cast<double>(spec_.num_heads) * blocks *
                         std::min(static_cast<double>(3 + options_.global_blocks + options_.random_blocks), blocks);
    const double global = options_.global_blocks > 0 ? values : 0;
    return {.saved_values = 2 * lists + global, .transient_values = 8 * lists + 2 * global};
  }

  // Of the queries behind the global blocks, in a sequence that is longer than these: the mean over the drawings.
  ops::PairCount listed_pairs(std::int64_t n) const {
    const std::int64_t size = std::min(options_.block, n), blocks = blocks_in(n), global = options_.global_blocks,
                       last_size = n - (blocks - 1) * size;
    const std::int64_t most = std::min(3 + global + options_.random_blocks, blocks);
    const auto block = static_cast<double>(size), missing = static_cast<double>(size - last_size);  // of the last block
    double seen = 0;
    const auto count = [&](double queries, bool before, bool after,
                           double has_last) {  // of blocks with a new block before and behind them
      const auto known = static_cast<double>(global + 1 + (before ? 1 : 0) + (after ? 1 : 0)),
                 all = static_cast<double>(blocks);
      const double drawn = std::min(static_cast<double>(options_.random_blocks), all - known);
      if (has_last == 0 && drawn > 0) has_last = drawn / (all - known);
      seen += queries * ((known + drawn) * block - has_last * missing);
    };
    const std::int64_t inner = blocks - global;
    if (inner == 1) {
      count(static_cast<double>(last_size), false, false, 1);
    } else {
      count(block, false, true, inner == 2 ? 1 : 0);
      if (inner > 3) count(static_cast<double>(inner - 3) * block, true, true, 0);
      if (inner > 2) count(block, true, true, 1);
      count(static_cast<double>(last_size), true, false, 1);
    }
    return {.computed = static_cast<double>(inner) * block * static_cast<double>(most) * block,
            .seen = seen,
            .query_block = block};
  }

  const BigBirdOptions options_;
  at::Tensor random_order_;
};

const bool registered = register_mixer<BigBird, BigBirdOptions>(
    "bigbird", {.rows_sum_to_one = true, .hides_keys = true, .attention_dropout = true});

}  // namespace
}  // namespace lra
