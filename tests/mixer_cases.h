#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/json_file.h"
#include "mixers/mixer.h"

namespace lra::testing {

/// One setting of a mixer, small enough for tests: from `test` of configs/mixers/<mixer>.json, whose `options` and each of whose `variants` give one.
/// Its `zero_gradient` names the parameters whose gradient is exactly zero by mathematics, each with the reason. It holds for
/// all variants; a parameter that a variant does not have is no matter.
struct MixerCase {
  std::string mixer;
  Json options;            ///< fully resolved
  std::int64_t block = 1;  ///< lengths that are a multiple of it have no partly filled block

  std::set<std::string> zero_gradients = {};

  std::string name() const { return mixer + " " + options.dump(); }
  const MixerTraits& traits() const { return mixer_registry().at(mixer).traits; }
};

/// Of every registered mixer.
std::vector<MixerCase> mixer_cases();

/// `options` over the mixer's defaults.
Json resolved_options(const std::string& mixer, const Json& options);

/// In float64, in evaluation mode, with weights drawn from a fixed seed, larger than usual so that attention is not flat.
std::shared_ptr<Mixer> make_mixer(const MixerCase& mixer_case, const MixerSpec& spec);

/// Small sizes: d_model 8, 2 heads of 4, max_length 48, with biases.
MixerSpec small_spec();

/// (tokens, d_model) float64 normal numbers.
at::Tensor random_input(std::int64_t tokens, std::int64_t d_model, std::uint64_t seed);

/// The largest absolute difference; infinite if the shapes differ or a number is not finite.
double largest_difference(const at::Tensor& a, const at::Tensor& b);

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
