#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/init.h>

#include <algorithm>
#include <cmath>

#include "mixers/along_sequence.h"
#include "mixers/mixer.h"
#include "ops/map_places.h"

namespace lra {
namespace {

struct MlpMixerOptions {
  std::int64_t hidden = 0;

  void describe(FieldVisitor& fields) {
    fields.integer("hidden", hidden, not_negative,
                   "width of the hidden layer across positions; 0: a quarter of the length, at most 256");
  }
};

/// An MLP across positions, for each feature alone (arXiv 2105.01601). Places beyond the sequence count as zero: a
/// shorter one uses the first n columns and rows.
class MlpMixer : public Mixer {
 public:
  MlpMixer(const MixerSpec& spec, const MlpMixerOptions& options)
      : spec_(spec),
        hidden_(options.hidden == 0 ? std::clamp<std::int64_t>(spec.max_length / 4, 1, 256) : options.hidden) {
    const double bound = std::sqrt(6.0 / static_cast<double>(spec.max_length + hidden_));  // Xavier
    expand_weight_ = register_parameter(
        "expand_weight", torch::nn::init::uniform_(at::empty({hidden_, spec.max_length}), -bound, bound));
    expand_bias_ = register_parameter("expand_bias", at::zeros({hidden_}));
    contract_weight_ = register_parameter(
        "contract_weight", torch::nn::init::uniform_(at::empty({spec.max_length, hidden_}), -bound, bound));
    contract_bias_ = register_parameter("contract_bias", at::zeros({spec.max_length}));
  }

  at::Tensor forward(const at::Tensor& x, const SequenceLayout& layout) override {
    TORCH_CHECK(layout.max_length() <= spec_.max_length, "mlp_mixer: a sequence of ", layout.max_length(),
                " tokens, but its weights are made for ", spec_.max_length);
    if (spec_.fused && spec_.layout == "auto" && x.is_cpu()) {
      const at::Tensor hidden =
          at::gelu(ops::map_places(x, expand_weight_, expand_bias_, layout.lengths(), {.columns = true}));
      return ops::map_places(hidden, contract_weight_, contract_bias_, layout.lengths(), {.rows = true}).view_as(x);
    }
    return map_along_sequence(x, layout, spec_.layout, [&](const at::Tensor& rows) {
      const std::int64_t n = rows.size(1);
      const at::Tensor hidden = at::gelu(at::linear(rows, expand_weight_.narrow(1, 0, n), expand_bias_));
      return at::linear(hidden, contract_weight_.narrow(0, 0, n), contract_bias_.narrow(0, 0, n));
    });
  }

  MixerCost cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto hidden = static_cast<double>(hidden_);
    const auto d_model = static_cast<double>(spec_.d_model);
    return {.flops = 4 * tokens * hidden * d_model,
            .saved_values = tokens * d_model + 2 * hidden * d_model,
            .transient_values = 2 * tokens * d_model + 2 * hidden * d_model};
  }

 private:
  const MixerSpec spec_;
  const std::int64_t hidden_;
  at::Tensor expand_weight_, expand_bias_, contract_weight_, contract_bias_;
};

const bool registered = register_mixer<MlpMixer, MlpMixerOptions>("mlp_mixer", {.fixed_length = true});

}  // namespace
}  // namespace lra
