#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "mixers/attention_mixer.h"
#include "mixers/seed.h"
#include "ops/hash_rounds.h"
#include "ops/packed_attention.h"
#include "ops/permute_rows.h"

namespace lra {
namespace {

constexpr double self_logit = -1e5;           // so low that a token sees itself only if it sees nothing else
constexpr std::int64_t columns_at_once = 32;  // of the rotations: n tokens by n / chunk columns would grow with n²
constexpr std::int64_t rotated_at_once = std::int64_t{1} << 24;  // numbers

struct ReformerOptions {
  std::int64_t chunk = 64;
  std::int64_t rounds = 2;
  std::int64_t buckets = 0;

  void describe(FieldVisitor& fields) {
    fields.integer("chunk", chunk, positive,
                   "tokens, sorted by bucket, that attend to one another and to the chunk before");
    fields.integer("rounds", rounds, positive, "hashes for each token; it sees what it meets in any of them");
    fields.integer("buckets", buckets, not_negative,
                   "values of a hash, rounded up to an even number (1: no hash); 0: as many as chunks");
  }
};

/// Attention with shared queries and keys inside the buckets of an angular hash (arXiv 2001.04451). Buckets, chunks and
/// the last chunk that the first one sees are those of each sequence alone.
class Reformer : public AttentionMixer {
 public:
  Reformer(const MixerSpec& spec, const ReformerOptions& options)
      : AttentionMixer(spec, {.key = false}), options_(options) {
    const std::int64_t columns = hash_columns(spec.max_length);
    if (columns == 0) return;
    const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(mixed_seed(spec.seed, 0));
    rotations_ = register_buffer(
        "rotations", at::randn({options.rounds, spec.num_heads, spec.d_head(), columns}, generator, at::kDouble)
                         .to(at::typeMetaToScalarType(at::get_default_dtype())));
  }

 private:
  // Half the number of buckets of a sequence of n tokens; 0: everything is in one bucket.
  std::int64_t hash_columns(std::int64_t n) const {
    const std::int64_t buckets = options_.buckets > 0 ? options_.buckets : (n + options_.chunk - 1) / options_.chunk;
    return buckets > 1 ? (buckets + 1) / 2 : 0;
  }

  // (B, rounds, H, N) int64: numbers that order buckets as argmax [x R, -x R] does. x (B, H, N, d); columns (B, 1, 1,
  // 1, 1) of each sequence.
  at::Tensor buckets(const at::Tensor& x, std::int64_t all_columns, const at::Tensor& columns) const {
    const std::int64_t heads = x.size(1), rounds = options_.rounds;
    at::Tensor best, bucket;
    for (std::int64_t first = 0; first < all_columns; first += columns_at_once) {
      const std::int64_t count = std::min(columns_at_once, all_columns - first);
      const at::Tensor rotations =
          rotations_.narrow(3, first, count).permute({1, 2, 0, 3}).reshape({heads, -1, rounds * count});
      at::Tensor rotated = at::matmul(x, rotations).view({x.size(0), heads, x.size(2), rounds, count});
      const at::Tensor column = at::arange(first, first + count, columns.options());
      if (columns.size(0) > 1) rotated = rotated.masked_fill_(column.ge(columns), 0);
      const auto [size, index] = rotated.abs().max(-1);
      const at::Tensor negative = rotated.gather(-1, index.unsqueeze(-1)).squeeze(-1).lt(0);
      const at::Tensor found = index + first + negative * all_columns;
      bucket = best.defined() ? at::where(size.gt(best), found, bucket) : found;
      best = best.defined() ? size.maximum(best) : size;
    }
    return bucket.permute({0, 3, 1, 2});
  }

  // Own and previous chunk; before the first comes the last that the sequence has. lengths (B, 1, 1, 1).
  ops::BlockPattern pattern(std::int64_t n, const at::Tensor& lengths) const {
    const std::int64_t chunk = std::min(options_.chunk, n);
    const std::int64_t chunks = (n + chunk - 1) / chunk;
    const at::Tensor own =
        at::arange(chunks, lengths.options()).view({1, 1, chunks, 1}).expand({lengths.size(0), 1, chunks, 1});
    if (chunks == 1) return {chunk, chunk, own, std::nullopt};
    const at::Tensor last = (lengths - 1).floor_divide(chunk);
    const at::Tensor before_first = at::where(last.gt(0), last, -1);
    return {chunk, chunk, at::cat({own, at::where(own.gt(0), own - 1, before_first)}, 3), std::nullopt};
  }

  at::Tensor attend(const at::Tensor& x, const at::Tensor&, const at::Tensor& v,
                    const AttentionContext& context) override {
    const std::int64_t batch = x.size(0), heads = x.size(1), n = x.size(2);
    TORCH_CHECK(n <= spec_.max_length, "reformer: a sequence of ", n, " tokens, but its rotations are made for ",
                spec_.max_length);
    const auto integers = x.options().dtype(at::kLong);
    // Without padding all sequences are alike.
    const bool padded = context.mask.defined();
    const at::Tensor lengths =
        padded ? at::tensor(context.lengths, integers).view({-1, 1, 1, 1}) : at::full({1, 1, 1, 1}, n, integers);
    const ops::BlockPattern chunks = pattern(n, lengths);
    const std::int64_t chunk = chunks.query_block, count = chunks.key_blocks.size(2);
    const std::int64_t columns = hash_columns(n);
    const std::int64_t rounds = columns > 0 ? options_.rounds : 1;  // with one bucket all rounds are alike

    at::Tensor bucket, order,
        place;  // (B, rounds, H, N): a token's bucket, the tokens in sorted order, a token's place in it
    {
      const at::NoGradGuard guard;
      if (columns > 0) {
        std::vector<std::int64_t> own_columns;
        for (const std::int64_t length : context.lengths) own_columns.push_back(hash_columns(length));
        bucket = buckets(x, columns, at::tensor(own_columns, integers).view({-1, 1, 1, 1, 1}));
      } else {
        bucket = at::zeros({batch, 1, heads, n}, integers);
      }
      if (padded) bucket = bucket.masked_fill(context.mask.logical_not().view({batch, 1, 1, n}), 2 * columns + 1);
      const at::Tensor tokens = at::arange(n, integers);
      order = (bucket * n + tokens).argsort(-1, false);
      place = at::empty_like(order).scatter_(-1, order, tokens.expand_as(order));
    }
    const at::Tensor sorted = ops::permute_rows(x.unsqueeze(1), order, place).flatten(1, 2);
    const at::Tensor keys = sorted / at::linalg_vector_norm(sorted, 2, at::IntArrayRef({-1}), true).clamp_min(1e-12);
    const at::Tensor values = ops::permute_rows(v.unsqueeze(1), order, place).flatten(1, 2);

    const auto change = [&](const at::Tensor& logits, const at::Tensor& key_places) {
      // numbers (B, rounds, H, N) of the tokens in sorted order → those of the queries (.., chunks, chunk, 1) and of
      // their keys (.., chunks, 1, keys)
      const auto of_queries = [&](const at::Tensor& numbers) {
        return at::constant_pad_nd(numbers, {0, count * chunk - n}, -1).view({batch, rounds, heads, count, chunk, 1});
      };
      const auto of_keys = [&](const at::Tensor& numbers) {
        const at::Tensor at_places =
            key_places.view({-1, 1, 1, count * key_places.size(3)}).expand({batch, rounds, heads, -1});
        return numbers.gather(3, at_places).view({batch, rounds, heads, count, 1, -1});
      };
      at::Tensor added;
      {
        const at::NoGradGuard guard;
        const at::Tensor sorted_bucket = bucket.gather(3, order);
        const at::Tensor hidden = of_queries(sorted_bucket).ne(of_keys(sorted_bucket));
        // A pair that meets in c rounds would count c times: its logit loses log c.
        added = at::zeros(hidden.sizes(), logits.options());
        if (rounds > 1) {
          const at::Tensor chunk_of = place.floor_divide(chunk);
          const at::Tensor chunk_before = at::where(chunk_of.gt(0), chunk_of - 1, (lengths - 1).floor_divide(chunk));
          const at::Tensor own = bucket * count + chunk_of, before = bucket * count + chunk_before;
          added.fill_(1);
          for (std::int64_t shift = 1; shift < rounds; ++shift) {  // round r beside round r + shift
            const at::Tensor others = own.roll(-shift, 1).gather(3, order);
            const at::Tensor key_chunks = of_keys(others);
            added += key_chunks.eq(of_queries(others))
                         .logical_or_(key_chunks.eq(of_queries(before.roll(-shift, 1).gather(3, order))));
          }
          added.log_().neg_();
        }
        added.masked_fill_(hidden, masked_logit);
      }
      const at::Tensor query_places = at::arange(count * chunk, integers).view({1, 1, count, chunk, 1});
      return logits.masked_fill(query_places.eq(key_places.unsqueeze(3)), self_logit) + added.flatten(1, 2);
    };
    const ops::PartialAttention all =
        ops::block_sparse_attention(sorted, keys, values, context.mask, chunks, attention_dropout(), change);
    const auto by_round = [&](const at::Tensor& rows) {
      return ops::permute_rows(rows.view({batch, rounds, heads, n, -1}), place, order);
    };
    const at::Tensor out = by_round(all.out.contiguous()), log_sum = by_round(all.log_sum.contiguous()).squeeze(-1);
    std::vector<ops::PartialAttention> parts;
    for (std::int64_t round = 0; round < rounds; ++round)
      parts.push_back({out.select(1, round), log_sum.select(1, round)});
    return ops::merge(parts).out;
  }

  bool has_kernel() const override { return options_.rounds <= 16; }
  at::Tensor attend_packed(const at::Tensor& x, const at::Tensor&, const at::Tensor& v,
                           const PackedContext& context) override {
    const SequenceLayout& layout = context.layout;
    const std::int64_t n = layout.max_length();
    TORCH_CHECK(n <= spec_.max_length, "reformer: a sequence of ", n, " tokens, but its rotations are made for ",
                spec_.max_length);
    const at::Tensor lengths = at::tensor(layout.lengths(), at::kLong).view({-1, 1, 1, 1});
    return ops::packed_attention(x, layout.offsets(), {{x, v, {}, {}, pattern(n, lengths), true, true}},
                                 attention_dropout(), 1, hash(x.detach(), layout))
        .out;
  }

  // x (T, H, d). The same buckets and order as in `attend`.
  ops::HashRounds hash(const at::Tensor& x, const SequenceLayout& layout) const {
    const at::NoGradGuard guard;
    const std::int64_t tokens = x.size(0), heads = x.size(1);
    const std::int64_t all_columns = hash_columns(layout.max_length()), rounds = all_columns > 0 ? options_.rounds : 1;
    const std::int64_t chunk = std::min(options_.chunk, layout.max_length());
    const auto make = [&] { return at::empty({rounds, heads, tokens}, at::kInt); };
    const ops::HashRounds hashed{make(), make(), make()};
    for (std::int64_t b = 0; b < layout.batch(); ++b) {
      const std::int64_t n = layout.length(b), first = layout.offset(b), columns = hash_columns(n);
      std::vector<std::int32_t> all_buckets(static_cast<std::size_t>(rounds * heads * n), 0);  // (rounds, heads, n)
      const auto buckets_of = [&](std::int64_t list) {
        return std::span(all_buckets).subspan(static_cast<std::size_t>(list * n), static_cast<std::size_t>(n));
      };
      const auto for_lists = [&](const auto& work) {
        at::parallel_for(0, rounds * heads, 1, [&](std::int64_t from, std::int64_t to) {
          for (std::int64_t list = from; list < to; ++list) work(list);
        });
      };
      // Some tokens at a time: n tokens by n / chunk columns would grow with n².
      const std::int64_t at_once =
          columns > 0 ? std::max<std::int64_t>(1, rotated_at_once / (heads * rounds * columns)) : n;
      for (std::int64_t start = 0; columns > 0 && start < n; start += at_once) {
        const std::int64_t count = std::min(at_once, n - start);
        const at::Tensor rotations =
            rotations_.narrow(3, 0, columns).permute({1, 2, 0, 3}).reshape({heads, -1, rounds * columns});
        const at::Tensor rotated =
            at::matmul(x.narrow(0, first + start, count).transpose(0, 1), rotations.to(x.scalar_type()))
                .to(rotations.scalar_type())
                .contiguous();  // (H, count, rounds * columns)
        for_lists([&](std::int64_t list) {
          const auto find = rotated.scalar_type() == at::kDouble ? find_buckets<double> : find_buckets<float>;
          find(rotated[list % heads], list / heads, columns,
               buckets_of(list).subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(count)));
        });
      }
      for_lists([&](std::int64_t list) {
        const auto numbers = [&](const at::Tensor& of) {
          return of.mutable_data_ptr<std::int32_t>() + list * tokens + first;
        };
        ops::sort_by_bucket(buckets_of(list), 2 * columns + 1, chunk, numbers(hashed.order), numbers(hashed.own),
                            numbers(hashed.before));
      });
    }
    return hashed;
  }

  // argmax [x R, -x R] of some tokens; rotated (tokens, rounds * columns).
  template <class T>
  static void find_buckets(const at::Tensor& rotated, std::int64_t round, std::int64_t columns,
                           std::span<std::int32_t> bucket) {
    const T* row = rotated.const_data_ptr<T>() + round * columns;
    for (auto& found : bucket) {
      T best = -1;
      for (std::int64_t c = 0; c < columns; ++c) {
        const T size = std::abs(row[c]);
        if (size > best) {
          best = size;
          found = static_cast<std::int32_t>(row[c] < 0 ? c + columns : c);
        }
      }
      row += rotated.size(1);
    }
  }

  // Of own and previous chunk.
  ops::PairCount chunk_pairs(std::int64_t n) const {
    const std::int64_t size = std::min(options_.chunk, n), chunks = (n + size - 1) / size;
    ops::PairCount pairs = ops::diagonal_pairs(n, size);
    if (chunks == 1) return pairs;
    pairs.computed *= 2;
    const auto chunk = static_cast<double>(size), last = static_cast<double>(n - (chunks - 1) * size);
    pairs.seen += (static_cast<double>(n) - chunk) * chunk + chunk * last;  // the first sees the last
    return pairs;
  }

  // Which pairs share a bucket depends on the tokens: all pairs of the chunks count as seen.
  MixerCost attend_cost(std::int64_t n) const override {
    const std::int64_t columns = hash_columns(n);
    const double rounds = columns > 0 ? static_cast<double>(options_.rounds) : 1.0;
    const double values = static_cast<double>(n) * static_cast<double>(spec_.d_qkv);
    const MixerCost round = pattern_cost(chunk_pairs(n), spec_.num_heads);
    return {.flops = rounds * (round.flops + 2 * values * static_cast<double>(columns)),
            .masked_flops = rounds * round.masked_flops,
            .saved_values = rounds * (round.saved_values + 3 * values)};
  }

  // Order, bucket and the bucket before of each token and round; while they are found, the products with the rotations.
  MixerCost kernel_memory(std::int64_t n) const override {
    const auto columns = static_cast<double>(hash_columns(n)),
               tokens = static_cast<double>(n) * static_cast<double>(spec_.num_heads);
    const double rounds = columns > 0 ? static_cast<double>(options_.rounds) : 1.0;
    const double others =
        5 * static_cast<double>(n) * static_cast<double>(spec_.d_qkv);  // outputs and gradients, which come later
    return {.saved_values = 4 * rounds * tokens,
            .transient_values =
                std::max(std::min(rounds * tokens * columns, static_cast<double>(rotated_at_once)) - others, 0.0)};
  }

  const ReformerOptions options_;
  at::Tensor rotations_;
};

const bool registered =
    register_mixer<Reformer, ReformerOptions>("reformer", {.rows_sum_to_one = true, .attention_dropout = true});

}  // namespace
}  // namespace lra
