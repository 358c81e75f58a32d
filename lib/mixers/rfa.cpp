#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>

#include "mixers/attention_mixer.h"
#include "mixers/seed.h"
#include "ops/feature_attention.h"

namespace lra {
namespace {

struct RfaOptions {
  std::int64_t features = 128;

  void describe(FieldVisitor& fields) {
    fields.integer("features", features, positive, "random directions; each gives a sine and a cosine");
  }
};

/// Random feature attention: the Gaussian kernel of queries and keys of unit length, with a learned scale σ for each
/// head, estimated with sines and cosines of random projections (arXiv 2103.02143). The weights of a query may be
/// negative; their sum is what it is, never clamped.
class RandomFeatureAttention : public AttentionMixer {
 public:
  RandomFeatureAttention(const MixerSpec& spec, const RfaOptions& options) : AttentionMixer(spec), options_(options) {
    at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(mixed_seed(spec.seed, 0));
    const at::Tensor directions = at::randn({options.features, spec.d_head()}, generator, at::kDouble);
    directions_ = register_buffer("directions", directions.to(at::typeMetaToScalarType(at::get_default_dtype())));
    sigma_ = register_parameter("sigma", at::ones({spec.num_heads}));
  }

 private:
  // (B, H, n, d) → (B, H, n, 2 features). A vector of zeros (padding) stays one.
  at::Tensor features(const at::Tensor& x) const {
    const at::Tensor lengths = at::linalg_vector_norm(x, 2, at::IntArrayRef({-1}), true).clamp_min(1e-12);
    const at::Tensor angles = at::linear(x * (sigma_.view({-1, 1, 1}) / lengths), directions_);
    return at::cat({angles.sin(), angles.cos()}, -1);
  }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    const at::Tensor query_features = features(q);
    at::Tensor key_features = features(k);
    if (context.mask.defined())
      key_features = key_features * context.mask.unsqueeze(1).unsqueeze(-1).to(key_features.scalar_type());
    const at::Tensor normaliser = at::matmul(query_features, key_features.sum(-2).unsqueeze(-1));
    return at::matmul(query_features, at::matmul(key_features.transpose(-2, -1), v)) / normaliser;
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    return ops::feature_attention(q, k, v, context.layout.offsets(),
                                  {.kind = ops::cpu::Features::sincos, .directions = directions_, .sigma = sigma_});
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const double angles = static_cast<double>(n) * static_cast<double>(options_.features);
    const auto width = static_cast<double>(spec_.d_qkv);
    const auto heads = static_cast<double>(spec_.num_heads);
    return {.flops = angles * (12 * width + 4 * heads),
            .saved_values = 6 * angles * heads + 3 * static_cast<double>(n) * width};
  }

  MixerCost kernel_memory(std::int64_t) const override { return feature_memory(2 * options_.features); }

  const RfaOptions options_;
  at::Tensor directions_, sigma_;
};

const bool registered = register_mixer<RandomFeatureAttention, RfaOptions>("rfa", {.rows_sum_to_one = true});

}  // namespace
}  // namespace lra
