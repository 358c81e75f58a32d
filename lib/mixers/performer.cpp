#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "mixers/attention_mixer.h"
#include "mixers/seed.h"
#include "ops/feature_attention.h"

namespace lra {
namespace {

struct PerformerOptions {
  std::int64_t features = 256;
  std::string kernel = "softmax";
  std::int64_t redraw_every = 0;
  double feature_epsilon = 1e-4;

  void describe(FieldVisitor& fields) {
    fields.integer("features", features, positive, "random features for each head");
    fields.choice("kernel", kernel, {"softmax", "relu"}, "softmax: exp(w·x - |x|²/2); relu: max(w·x, 0)");
    fields.integer("redraw_every", redraw_every, not_negative,
                   "training steps between draws of new random directions; 0: never");
    fields.number("feature_epsilon", feature_epsilon, not_negative_number,
                  "added to every feature; softmax kernel: relative to their mean");
  }
};

// (features, d): blocks of d orthogonal directions, each row as long as a normal vector (χ with d degrees of freedom).
at::Tensor orthogonal_directions(std::int64_t features, std::int64_t d, std::uint64_t seed) {
  const at::Tensor sizes = at::empty({features, d}, at::kDouble);
  if (sizes.is_meta()) return sizes;  // an estimate asks for no more
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  std::vector<at::Tensor> blocks;
  for (std::int64_t done = 0; done < features; done += d) {
    const auto [q, r] = at::linalg_qr(at::randn({d, d}, generator, at::kDouble));
    // LAPACK's Q leans to one side (its first row's signs depend on R's); with R's diagonal positive it is uniform.
    const at::Tensor orthogonal = (q * at::sign(r.diagonal())).t();
    const at::Tensor lengths =
        at::linalg_vector_norm(at::randn({d, d}, generator, at::kDouble), 2, at::IntArrayRef({1}), true);
    blocks.push_back((orthogonal * lengths).narrow(0, 0, std::min(d, features - done)));
  }
  return at::cat(blocks);
}

/// FAVOR+: softmax attention estimated with positive orthogonal random features (arXiv 2009.14794). The stabiliser of
/// the keys is the maximum over the real keys of one sequence and head. The directions are a function of the mixer's
/// seed and the step at which they are drawn.
class Performer : public AttentionMixer {
 public:
  Performer(const MixerSpec& spec, const PerformerOptions& options) : AttentionMixer(spec), options_(options) {
    if (options.kernel == "relu" && options.feature_epsilon == 0) {
      throw Error(
          "performer: mixer_options.feature_epsilon is 0, but with mixer_options.kernel \"relu\" all features of a "
          "token can be 0, and its weights 0/0",
          "set mixer_options.feature_epsilon above 0");
    }
    directions_ = register_buffer("directions", draw(0).to(at::typeMetaToScalarType(at::get_default_dtype())));
  }

  void begin_training_step(std::int64_t step) override {
    if (options_.redraw_every > 0 && step % options_.redraw_every == 0) directions_.copy_(draw(step));
  }

 private:
  at::Tensor draw(std::int64_t step) const {
    return orthogonal_directions(options_.features, spec_.d_head(),
                                 mixed_seed(spec_.seed, static_cast<std::uint64_t>(step)));
  }

  // q/d^¼ and k/d^¼ have the logit as their product. Any factor common to all features of a query, or of all keys,
  // cancels in the normaliser: so a fused softmax, over the features of each query and over all features of all keys,
  // serves as exponential and stabiliser in one. The epsilon is added where sums are small matrices, never to the
  // features themselves: (S + ε)ᵀ V = Sᵀ V + ε 1ᵀ V.
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    const double scale = std::pow(static_cast<double>(spec_.d_head()), -0.25);
    const at::Tensor directions = directions_ * scale;
    at::Tensor query_features = at::linear(q, directions);
    at::Tensor key_features = at::linear(k, directions);
    if (options_.kernel == "softmax") {
      if (query_features.scalar_type() == at::kBFloat16) {  // exponents need more digits
        query_features = query_features.to(at::kFloat);
        key_features = key_features.to(at::kFloat);
      }
      at::Tensor half_square =
          at::linalg_vector_norm(k, 2, at::IntArrayRef({-1}), true, key_features.scalar_type()).square() *
          (0.5 * scale * scale);
      if (context.mask.defined())
        half_square = half_square.masked_fill(context.mask.logical_not().unsqueeze(1).unsqueeze(-1), -masked_logit);
      key_features = key_features.sub_(half_square);
      if (options_.feature_epsilon > 0) {
        key_features = at::softmax(key_features.flatten(-2), -1).view(key_features.sizes());
      } else {  // a factor for each feature, which cancels too: with one for all, queries whose features are small in
                // all keys would get 0/0
        const at::Tensor largest = key_features.detach().amax(-2, true);
        key_features = (key_features - largest).exp();
        query_features = query_features + largest;
      }
      query_features = at::softmax(query_features, -1);
    } else {
      query_features = at::relu(query_features);  // keys at padding are zero, and so are their features
      key_features = at::relu(key_features);
    }
    at::Tensor products = at::matmul(key_features.transpose(-2, -1), v);  // (B, H, m, d)
    at::Tensor sums = key_features.sum(-2).unsqueeze(-1);                 // (B, H, m, 1)
    const double epsilon = options_.feature_epsilon;
    if (epsilon == 0) return at::matmul(query_features, products) / at::matmul(query_features, sums);

    // Counts need more digits than bfloat16 has.
    const auto counts =
        key_features.options().dtype(key_features.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    const at::Tensor keys = at::tensor(context.lengths, counts).view({-1, 1, 1, 1});
    // The softmax kernel's features sum to 1: epsilon is relative to their mean.
    const double query_epsilon =
        options_.kernel == "softmax" ? epsilon / static_cast<double>(options_.features) : epsilon;
    const at::Tensor key_epsilon = options_.kernel == "softmax" ? query_epsilon / keys : at::full_like(keys, epsilon);
    products = products + key_epsilon * v.sum(-2, true);
    sums = sums + key_epsilon * keys;
    return (at::matmul(query_features, products) + query_epsilon * products.sum(-2, true)) /
           (at::matmul(query_features, sums) + query_epsilon * sums.sum(-2, true));
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const auto kind = options_.kernel == "softmax" ? ops::cpu::Features::exponential : ops::cpu::Features::relu;
    return ops::feature_attention(q, k, v, context.layout.offsets(),
                                  {.kind = kind, .directions = directions_, .epsilon = options_.feature_epsilon});
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto features = static_cast<double>(options_.features);
    const auto width = static_cast<double>(spec_.d_qkv);
    const auto heads = static_cast<double>(spec_.num_heads);
    return {.flops = tokens * features * (8 * width + 2 * heads),
            .saved_values = 2 * tokens * features * heads + 2 * tokens * width};
  }

  MixerCost kernel_memory(std::int64_t) const override { return feature_memory(options_.features); }

  const PerformerOptions options_;
  at::Tensor directions_;
};

const bool registered = register_mixer<Performer, PerformerOptions>("performer", {.rows_sum_to_one = true});

}  // namespace
}  // namespace lra
