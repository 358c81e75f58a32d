#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/json_file.h"
#include "mixers/mixer.h"

namespace lra::testing {

/// One setting of a mixer, small enough for tests: from `test` of configs/mixers/<mixer>.json, whose `options` and each
/// of whose `variants` give one. Its `zero_gradient` names the parameters whose gradient is exactly zero by
/// mathematics, each with the reason. It holds for all variants; a parameter that a variant does not have is no matter.
struct MixerCase {
  std::string mixer;
  Json options;            ///< fully resolved
  std::int64_t block = 1;  ///< lengths that are a multiple of it have no partly filled block

  std::set<std::string> zero_gradients = {};

  std::string name() const { return mixer + " " + options.dump(); }
  MixerTraits traits() const { return mixer_registry().at(mixer).traits(options); }
};

/// Every registered mixer, or the one that LRA_TEST_MIXER names. Tests that go through them have the tag [each], which
/// scripts/test.sh --mixer runs.
std::vector<std::string> mixer_names();

/// Of these mixers.
std::vector<MixerCase> mixer_cases();

/// `options` over the mixer's defaults.
Json resolved_options(const std::string& mixer, const Json& options);

/// In float64, in evaluation mode, with weights drawn from a fixed seed, larger than usual so that attention is not
/// flat.
std::shared_ptr<Mixer> make_mixer(const MixerCase& mixer_case, const MixerSpec& spec);

/// Small sizes: d_model 8, 2 heads of 4, max_length 48, with biases; without kernels if LRA_TEST_REFERENCE is set, as
/// ctest runs these tests once more.
MixerSpec small_spec();

/// (tokens, d_model) float64 normal numbers.
at::Tensor random_input(std::int64_t tokens, std::int64_t d_model, std::uint64_t seed);

/// The largest absolute difference; infinite if the shapes differ or a number is not finite.
double largest_difference(const at::Tensor& a, const at::Tensor& b);

/// `options` over the mixer's defaults, as a case.
MixerCase mixer_case(const std::string& mixer, const Json& options = Json::object());

at::Tensor parameter(const Mixer& mixer, const std::string& name);
void set(const Mixer& mixer, const std::string& name, const at::Tensor& value);
/// Copies the parameters that both have.
void copy_parameters(const Mixer& from, const Mixer& to);
/// Value weights 0 and biases 1, output projection the identity (heads of a mixed mixer in their places).
void values_of_one(const Mixer& mixer);

/// The mixer's forward pass with token ids, 0 to 5, that follow from the tokens' first feature.
at::Tensor forward(Mixer& mixer, const at::Tensor& x, SequenceLayout layout);

/// One sequence: (n, d_model) → (n, d_model).
at::Tensor alone(Mixer& mixer, const at::Tensor& x);

/// exp(q·k / √d)
double softmax_weight(const double* q, const double* k, std::int64_t d);

/// What attention with `weight(h, i, j, q, k, d)` of key j for query i in head h (not normalised) makes of x, computed
/// number by number.
template <class Weight>
at::Tensor attention_by_hand(const Mixer& mixer, const MixerSpec& spec, const at::Tensor& x, Weight weight) {
  const at::NoGradGuard guard;
  const auto project = [&](const std::string& name, const at::Tensor& input) {
    return at::linear(input, parameter(mixer, name + ".weight"), parameter(mixer, name + ".bias"));
  };
  const std::int64_t n = x.size(0);
  const std::int64_t d = spec.d_head();
  const at::Tensor q = project("query", x), k = project("key", x), v = project("value", x);
  const auto query = q.accessor<double, 2>(), key = k.accessor<double, 2>(), value = v.accessor<double, 2>();
  at::Tensor mixed = at::zeros_like(q);
  auto out = mixed.accessor<double, 2>();
  for (std::int64_t h = 0; h < spec.num_heads; ++h) {
    for (std::int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (std::int64_t j = 0; j < n; ++j) {
        const double w = weight(h, i, j, &query[i][h * d], &key[j][h * d], d);
        sum += w;
        for (std::int64_t f = h * d; f < (h + 1) * d; ++f) out[i][f] += w * value[j][f];
      }
      for (std::int64_t f = h * d; f < (h + 1) * d; ++f) out[i][f] /= sum;
    }
  }
  return project("output", mixed);
}

/// Watches every operator that LibTorch executes on this thread while one of these lives, backward passes included.
class OperatorObserver {
 public:
  OperatorObserver();
  /// Matrix multiplications, from the shapes of their arguments: 2 per multiply-add.
  double flops() const;
  /// The number of values of the largest tensor that an operator returned.
  double largest_tensor() const;

 private:
  c10::impl::IncludeDispatchKeyGuard guard_;
};

}  // namespace lra::testing
