#include <ATen/Parallel.h>

#include <cmath>

#include "mixers/mixer.h"
#include "ops/fourier_mix.h"

namespace lra {
namespace {

/// The real part of the two-dimensional Fourier transform over max_length places (zero beyond the sequence) and
/// features; no parameters (arXiv 2105.03824).
class FourierMixer : public Mixer {
 public:
  FourierMixer(const MixerSpec& spec, const NoOptions&) : spec_(spec) {}

  at::Tensor forward(const at::Tensor& x, const SequenceLayout& layout) override {
    TORCH_CHECK(layout.max_length() <= spec_.max_length, "fnet: a sequence of ", layout.max_length(),
                " tokens, but max_length is ", spec_.max_length);
    return ops::fourier_mix(x, layout.lengths(), spec_.max_length, spec_.fused && spec_.layout == "auto");
  }

  // No matrix multiplications: 2.5 N log2 N for each real transform of N values, declared.
  MixerCost cost(std::int64_t) const override {
    const auto values = static_cast<double>(spec_.max_length) * static_cast<double>(spec_.d_model);
    return {.flops = 2.5 * values * std::log2(values),
            .saved_values = 0,
            .transient_values =
                2 * values + at::get_num_threads() * static_cast<double>(ops::fourier_scratch(spec_.max_length))};
  }

 private:
  const MixerSpec spec_;
};

const bool registered = register_mixer<FourierMixer, NoOptions>("fnet", {.fixed_length = true});

}  // namespace
}  // namespace lra
