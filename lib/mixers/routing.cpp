#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "mixers/attention_mixer.h"
#include "mixers/seed.h"
#include "ops/routing_attention.h"

namespace lra {
namespace {

struct RoutingOptions {
  std::int64_t clusters = 16;
  std::int64_t window = 128;
  std::int64_t fallback_window = 16;
  double decay = 0.999;

  void describe(FieldVisitor& fields) {
    fields.integer("clusters", clusters, positive, "centroids for each head");
    fields.integer("window", window, positive, "queries, and keys, that each centroid takes: those nearest to it");
    fields.integer("fallback_window", fallback_window, not_negative,
                   "a query that no centroid took sees the keys at most this many places away");
    fields.number("decay", decay, fraction, "of the centroids' moving average over training steps");
  }
};

at::Tensor unit(const at::Tensor& x) {
  return x / at::linalg_vector_norm(x, 2, at::IntArrayRef({-1}), true).clamp_min(1e-12);
}

/// Attention inside clusters of queries and keys: spherical k-means with centroids that follow the tokens (arXiv
/// 2003.05997).
class Routing : public AttentionMixer {
 public:
  Routing(const MixerSpec& spec, const RoutingOptions& options) : AttentionMixer(spec), options_(options) {
    const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(mixed_seed(spec.seed, 0));
    const at::Tensor directions =
        unit(at::randn({spec.num_heads, options.clusters, spec.d_head()}, generator, at::kDouble));
    centroids_ = register_buffer("centroids", directions.to(at::typeMetaToScalarType(at::get_default_dtype())));
  }

  void end_training_step() override {
    if (!sums_.defined()) return;
    const at::NoGradGuard guard;
    const at::Tensor mean = sums_ / counts_.clamp_min(1);
    const at::Tensor moved = unit(options_.decay * centroids_ + (1 - options_.decay) * mean);
    centroids_.copy_(at::where(counts_.gt(0), moved, centroids_));
    sums_ = counts_ = at::Tensor();
  }

 private:
  // (B, H, clusters, N): products with the centroids, lowest at padding.
  at::Tensor nearness(const at::Tensor& x, const at::Tensor& padding) const {
    const at::NoGradGuard guard;
    const at::Tensor products = at::matmul(centroids_, x.transpose(-2, -1));
    return padding.defined()
               ? products.masked_fill(padding.unsqueeze(1).unsqueeze(2), -std::numeric_limits<double>::infinity())
               : products;
  }

  // Adds real tokens to the sums over their nearest centroid's tokens.
  void collect(const at::Tensor& x, const at::Tensor& products, const at::Tensor& padding) {
    const at::NoGradGuard guard;
    const at::Tensor clusters = at::arange(options_.clusters, x.options().dtype(at::kLong)).view({-1, 1});
    at::Tensor member = products.argmax(2, true).eq(clusters);
    if (padding.defined()) member = member.logical_and(padding.logical_not().unsqueeze(1).unsqueeze(2));
    const at::Tensor sums =
        at::matmul(member.to(x.scalar_type()), unit(x)).sum(0).to(centroids_.scalar_type());  // (H, clusters, d)
    add(sums, member.sum({0, 3}).unsqueeze(-1));
  }

  void add(const at::Tensor& sums, const at::Tensor& counts) {
    sums_ = sums_.defined() ? sums_ + sums : sums;
    counts_ = counts_.defined() ? counts_ + counts : counts;
  }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    const std::int64_t batch = q.size(0), heads = q.size(1), n = q.size(2), d = q.size(3);
    const at::Tensor queries = at::layer_norm(q, {d}), keys = at::layer_norm(k, {d});
    const at::Tensor padding = context.mask.defined() ? context.mask.logical_not() : at::Tensor();
    const at::Tensor query_products = nearness(queries, padding), key_products = nearness(keys, padding);
    if (is_training()) {
      collect(queries, query_products, padding);
      collect(keys, key_products, padding);
    }
    const std::int64_t window = std::min(options_.window, n);
    const auto nearest = [&](const at::Tensor& products) {
      return std::get<1>(products.topk(window)).flatten(2);
    };  // (B, H, clusters * window)
    const auto rows = [&](const at::Tensor& places) { return places.unsqueeze(-1).expand({-1, -1, -1, d}); };
    const auto take = [&](const at::Tensor& x, const at::Tensor& places) {
      return x.gather(2, rows(places)).view({batch, heads * options_.clusters, window, d});
    };
    const at::Tensor query_places = nearest(query_products), key_places = nearest(key_products);
    at::Tensor hidden;  // a sequence shorter than the window fills its first places only
    if (padding.defined()) {
      const auto integers = q.options().dtype(at::kLong);
      hidden = at::arange(window, integers).ge(at::tensor(context.lengths, integers).view({-1, 1, 1, 1}));
    }
    const at::Tensor attended = ops::dense_attention(take(queries, query_places), take(keys, key_places),
                                                     take(v, key_places), hidden, attention_dropout())
                                    .out.reshape({batch, heads, -1, d});
    const at::Tensor sums =
        at::zeros({batch, heads, n, d}, attended.options()).scatter_add(2, rows(query_places), attended);
    const auto counts_type = attended.options().dtype(attended.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    const at::Tensor takers = at::zeros({batch, heads, n}, counts_type)
                                  .scatter_add(2, query_places, at::ones({1}, counts_type).expand_as(query_places))
                                  .unsqueeze(-1);
    const at::Tensor mean = sums / takers.clamp_min(1).to(sums.scalar_type());
    if (window == n) return mean;
    const ops::BlockPattern near = ops::window_pattern(n, options_.fallback_window, q.device());
    return at::where(takers.gt(0), mean,
                     ops::block_sparse_attention(queries, keys, v, context.mask, near, attention_dropout()).out);
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const SequenceLayout& layout = context.layout;
    const std::int64_t window = std::min(options_.window, layout.max_length());
    const ops::Routed routed = ops::routing_attention(q, k, v, layout.offsets(), centroids_, window,
                                                      options_.fallback_window, attention_dropout(), is_training());
    if (is_training()) add(routed.sums.to(centroids_.scalar_type()), routed.counts);
    return routed.out;
  }

  // The window of the fallback runs for all queries; in training the sums for the centroids come on top.
  MixerCost attend_cost(std::int64_t n) const override {
    const std::int64_t taken = std::min(options_.window, n);
    const auto tokens = static_cast<double>(n), window = static_cast<double>(taken),
               clusters = static_cast<double>(options_.clusters);
    const auto width = static_cast<double>(spec_.d_qkv), heads = static_cast<double>(spec_.num_heads);
    MixerCost cost =
        taken == n ? MixerCost{} : pattern_cost(ops::window_pairs(n, options_.fallback_window), spec_.num_heads);
    cost.flops += 4 * clusters * width * (tokens + window * window);
    cost.saved_values += clusters * window * (window * heads + 4 * width) + 3 * tokens * width;
    return cost;
  }

  // Products with the centroids forward; backward the gradients of the clusters beside those of the window.
  MixerCost kernel_memory(std::int64_t n) const override {
    const double window = static_cast<double>(std::min(options_.window, n)),
                 clusters = static_cast<double>(options_.clusters);
    const auto tokens = static_cast<double>(n), heads = static_cast<double>(spec_.num_heads);
    return {.saved_values = 4 * clusters * window * heads,
            .transient_values = tokens * std::max(2 * static_cast<double>(spec_.d_qkv),
                                                  2 * clusters * heads - 6 * static_cast<double>(spec_.d_qkv))};
  }

  const RoutingOptions options_;
  at::Tensor centroids_;
  at::Tensor sums_, counts_;  // of this training step
};

const bool registered =
    register_mixer<Routing, RoutingOptions>("routing", {.rows_sum_to_one = true, .attention_dropout = true});

}  // namespace
}  // namespace lra
