#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sign.h>

#include <algorithm>
#include <cmath>

#include "mixers/attention_mixer.h"
#include "mixers/seed.h"
#include "ops/positive_features.h"

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
    fields.integer("redraw_every", redraw_every, not_negative, "training steps between draws of new random directions; 0: never");
    fields.number("feature_epsilon", feature_epsilon, not_negative_number, "added to every feature, whose largest value is 1 in the softmax kernel");
  }
};

// (features, d): blocks of d orthogonal directions, each row as long as a normal vector (χ with d degrees of freedom).
at::Tensor orthogonal_directions(std::int64_t features, std::int64_t d, std::uint64_t seed) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  std::vector<at::Tensor> blocks;
  for (std::int64_t done = 0; done < features; done += d) {
    const auto [q, r] = at::linalg_qr(at::randn({d, d}, generator, at::kDouble));
    // LAPACK's Q leans to one side (its first row's signs depend on R's); with R's diagonal positive it is uniform.
    const at::Tensor orthogonal = (q * at::sign(r.diagonal())).t();
    const at::Tensor lengths = at::linalg_vector_norm(at::randn({d, d}, generator, at::kDouble), 2, at::IntArrayRef({1}), true);
    blocks.push_back((orthogonal * lengths).narrow(0, 0, std::min(d, features - done)));
  }
  return at::cat(blocks);
}

/// FAVOR+: softmax attention estimated with positive orthogonal random features (arXiv 2009.14794). The stabiliser of the keys is the maximum over
/// the real keys of one sequence and head. The directions are a function of the mixer's seed and the step at which they are drawn.
class Performer : public AttentionMixer {
 public:
  Performer(const MixerSpec& spec, const PerformerOptions& options) : AttentionMixer(spec), options_(options) {
    directions_ = register_buffer("directions", draw(0).to(at::typeMetaToScalarType(at::get_default_dtype())));
  }

  void begin_training_step(std::int64_t step) override {
    if (options_.redraw_every > 0 && step % options_.redraw_every == 0) directions_.copy_(draw(step));
  }

 private:
  at::Tensor draw(std::int64_t step) const {
    return orthogonal_directions(options_.features, spec_.d_head(), mixed_seed(spec_.seed, static_cast<std::uint64_t>(step)));
  }

  // q/d^¼ and k/d^¼ have the logit as their product.
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionContext& context) override {
    const double scale = std::pow(static_cast<double>(spec_.d_head()), -0.25);
    const at::Tensor directions = directions_ * scale;
    at::Tensor query_logits = at::linear(q, directions);
    at::Tensor key_logits = at::linear(k, directions);
    at::Tensor query_features, key_features;
    const at::Tensor mask = context.mask.defined() ? context.mask.unsqueeze(1).unsqueeze(-1) : at::Tensor();
    if (options_.kernel == "softmax") {
      // Exponents need more digits than bfloat16 has. The queries' own |q|²/2 and stabiliser cancel in the normaliser.
      if (query_logits.scalar_type() == at::kBFloat16) {
        query_logits = query_logits.to(at::kFloat);
        key_logits = key_logits.to(at::kFloat);
      }
      at::Tensor half_square = at::linalg_vector_norm(k, 2, at::IntArrayRef({-1}), true, key_logits.scalar_type()).square() * (0.5 * scale * scale);
      if (mask.defined()) half_square = half_square.masked_fill(mask.logical_not(), -masked_logit);
      query_features = ops::positive_features(query_logits, true, options_.feature_epsilon);
      key_features = ops::positive_features(key_logits - half_square, false, options_.feature_epsilon);
    } else {
      query_features = at::relu(query_logits) + options_.feature_epsilon;
      key_features = at::relu(key_logits) + options_.feature_epsilon;
    }
    if (mask.defined()) key_features = key_features * mask.to(key_features.scalar_type());
    const at::Tensor normaliser = at::matmul(query_features, key_features.sum(-2).unsqueeze(-1));
    return at::matmul(query_features, at::matmul(key_features.transpose(-2, -1), v)) / normaliser;
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto features = static_cast<double>(options_.features);
    const auto width = static_cast<double>(spec_.d_qkv);
    const auto heads = static_cast<double>(spec_.num_heads);
    return {.flops = tokens * features * (8 * width + 2 * heads), .saved_values = 2 * tokens * features * heads + 2 * tokens * width};
  }

  const PerformerOptions options_;
  at::Tensor directions_;
};

const bool registered = register_mixer<Performer, PerformerOptions>("performer", {.rows_sum_to_one = true});

}  // namespace
}  // namespace lra
