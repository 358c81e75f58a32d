#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <torch/nn/init.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include "core/error.h"
#include "mixers/along_sequence.h"
#include "mixers/mixer.h"
#include "ops/map_places.h"

namespace lra {
namespace {

/// The spatial gating unit between its two channel projections: one half of the channels is multiplied by the other
/// half after a learned map along the sequence (arXiv 2105.08050). Places beyond the sequence count as zero: a shorter
/// one uses the first n rows and columns of the map.
class GatedMlp : public Mixer {
 public:
  GatedMlp(const MixerSpec& spec, const NoOptions&) : spec_(spec) {
    if (spec.d_qkv % 2 != 0)
      throw Error("gmlp splits d_qkv into two halves, but " + std::to_string(spec.d_qkv) + " is odd");
    input_ =
        register_module("input", torch::nn::Linear(torch::nn::LinearOptions(spec.d_model, spec.d_qkv).bias(spec.bias)));
    norm_ = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({spec.d_qkv / 2})));
    // The gate starts near 1: a feed-forward layer of each token alone.
    const double bound = 1e-3 / static_cast<double>(spec.max_length);
    spatial_weight_ = register_parameter(
        "spatial_weight", torch::nn::init::uniform_(at::empty({spec.max_length, spec.max_length}), -bound, bound));
    spatial_bias_ = register_parameter("spatial_bias", at::ones({spec.max_length}));
    output_ = register_module(
        "output", torch::nn::Linear(torch::nn::LinearOptions(spec.d_qkv / 2, spec.d_model).bias(spec.bias)));
  }

  at::Tensor forward(const at::Tensor& x, const SequenceLayout& layout) override {
    TORCH_CHECK(layout.max_length() <= spec_.max_length, "gmlp: a sequence of ", layout.max_length(),
                " tokens, but its gate is made for ", spec_.max_length);
    const auto halves = at::gelu(input_->forward(x)).chunk(2, 1);
    const at::Tensor normalised = norm_->forward(halves[1]);
    if (spec_.fused && spec_.layout == "auto" && x.is_cpu()) {
      const at::Tensor gate = ops::map_places(normalised, spatial_weight_, spatial_bias_, layout.lengths(),
                                              {.rows = true, .columns = true});
      return output_->forward(halves[0] * gate.view_as(normalised));
    }
    const at::Tensor gate = map_along_sequence(normalised, layout, spec_.layout, [&](const at::Tensor& rows) {
      const std::int64_t n = rows.size(1);
      return at::linear(rows, spatial_weight_.narrow(0, 0, n).narrow(1, 0, n), spatial_bias_.narrow(0, 0, n));
    });
    return output_->forward(halves[0] * gate);
  }

  MixerCost cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto width = static_cast<double>(spec_.d_qkv);
    const auto d_model = static_cast<double>(spec_.d_model);
    // Saved: the input, both halves before and after the activation, the normalised half, its transpose, the gate, the
    // product.
    return {.flops = 3 * tokens * d_model * width + tokens * tokens * width,
            .saved_values = tokens * (d_model + 4 * width),
            .transient_values = 3 * tokens * width};
  }

 private:
  const MixerSpec spec_;
  torch::nn::Linear input_{nullptr}, output_{nullptr};
  torch::nn::LayerNorm norm_{nullptr};
  at::Tensor spatial_weight_, spatial_bias_;
};

const bool registered = register_mixer<GatedMlp, NoOptions>(
    "gmlp", {.quadratic_memory = true, .fixed_length = true});  // the map itself is N × N

}  // namespace
}  // namespace lra
