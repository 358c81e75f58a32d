#include <torch/nn/modules/linear.h>

#include "mixers/mixer.h"

namespace lra {
namespace {

/// The value and output projections alone: no token sees another. A reference for what the rest of the model does.
class NoMixing : public Mixer {
 public:
  NoMixing(const MixerSpec& spec, const NoOptions&)
      : value(register_module("value",
                              torch::nn::Linear(torch::nn::LinearOptions(spec.d_model, spec.d_qkv).bias(spec.bias)))),
        output(register_module(
            "output", torch::nn::Linear(torch::nn::LinearOptions(spec.d_qkv, spec.d_model).bias(spec.bias)))) {}

  at::Tensor forward(const at::Tensor& x, const SequenceLayout&) override { return output->forward(value->forward(x)); }

  MixerCost cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto d_model = static_cast<double>(value->options.in_features());
    const auto d_qkv = static_cast<double>(value->options.out_features());
    return {.flops = 4 * tokens * d_model * d_qkv,
            .saved_values = tokens * (d_model + d_qkv),
            .transient_values = tokens * (d_model + d_qkv)};
  }

 private:
  torch::nn::Linear value, output;
};

const bool registered = register_mixer<NoMixing, NoOptions>("none", {.rows_sum_to_one = true});

}  // namespace
}  // namespace lra
