#include "model/encoder.h"

#include <ATen/ops/dropout.h>
#include <ATen/ops/gelu.h>

#include <utility>

#include "mixers/seed.h"
#include "model/recompute.h"

namespace lra {
namespace {

torch::nn::LayerNorm layer_norm(const ModelConfig& model) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({model.d_model}).eps(model.layer_norm_eps));
}

ops::NormParameters parameters_of(const torch::nn::LayerNorm& norm) {
  return {norm->weight, norm->bias, norm->options.eps()};
}

}  // namespace

EncoderBlock::EncoderBlock(const ModelConfig& model, std::shared_ptr<Mixer> mixer)
    : dropout_(model.dropout),
      tanh_(model.gelu == "tanh"),
      fused_(model.kernels == "fused"),
      recomputes_(model.checkpoint_layers),
      keeps_mixer_(model.mixer == "routing" || model.mixer == "sinkhorn" || model.mixer == "mixed"),
      mixer_norm_(register_module("mixer_norm", layer_norm(model))),
      feed_forward_norm_(register_module("feed_forward_norm", layer_norm(model))),
      mixer_(register_module("mixer", std::move(mixer))),
      expand_(register_module("expand", torch::nn::Linear(model.d_model, model.d_ff))),
      contract_(register_module("contract", torch::nn::Linear(model.d_ff, model.d_model))) {}

ops::SumAndNorm EncoderBlock::after_mixer(at::Tensor x, at::Tensor mixed, torch::nn::LayerNorm next_norm,
                                          const at::Tensor& rows) {
  const double dropout = is_training() ? dropout_ : 0.0;
  // A device's own libraries add biases inside the products.
  if (!fused_ || !mixed.is_cpu()) {
    const auto drop = [&](const at::Tensor& tensor) {
      return dropout > 0 ? at::dropout(tensor, dropout, true) : tensor;
    };
    x = x + drop(mixed);
    mixed.reset();  // nothing keeps it
    if (rows.defined()) x = x.index_select(0, rows);
    const at::Tensor wide = drop(at::gelu(expand_->forward(feed_forward_norm_->forward(x)), tanh_ ? "tanh" : "none"));
    x = x + drop(contract_->forward(wide));
    return {x, next_norm->forward(x)};
  }
  if (rows.defined()) {
    x = x.index_select(0, rows);
    mixed = mixed.index_select(0, rows);
  }
  return ops::feed_forward(x, std::move(mixed), parameters_of(feed_forward_norm_),
                           {expand_->weight, expand_->bias, contract_->weight, contract_->bias},
                           parameters_of(next_norm), tanh_, dropout);
}

ops::SumAndNorm EncoderBlock::forward(const ops::SumAndNorm& x, torch::nn::LayerNorm next_norm,
                                      const SequenceLayout& layout, const at::Tensor& rows) {
  if (!recomputes_ || !at::GradMode::is_enabled())
    return after_mixer(x.sum, mixer_->forward(x.norm, layout), next_norm, rows);
  const auto self = std::static_pointer_cast<EncoderBlock>(shared_from_this());
  if (keeps_mixer_) {
    return recomputed([self, next_norm,
                       rows](const ops::SumAndNorm& in) { return self->after_mixer(in.sum, in.norm, next_norm, rows); },
                      {x.sum, mixer_->forward(x.norm, layout)});
  }
  return recomputed(
      [self, next_norm, layout, rows](const ops::SumAndNorm& in) {
        return self->after_mixer(in.sum, self->mixer_->forward(in.norm, layout), next_norm, rows);
      },
      x);
}

Encoder::Encoder(const ModelConfig& model, std::int64_t max_length, std::int64_t vocab_size, std::uint64_t seed)
    : dropout_(model.dropout), fused_(model.kernels == "fused") {
  MixerSpec spec{.d_model = model.d_model,
                 .d_qkv = model.qkv_width(),
                 .num_heads = model.num_heads,
                 .max_length = max_length,
                 .attention_dropout = model.attention_dropout,
                 .bias = model.attention_bias,
                 .layout = model.mixer_layout,
                 .fused = fused_,
                 .vocab_size = vocab_size,
                 .seed = seed};
  for (std::int64_t layer = 0; layer < model.num_layers; ++layer) {
    spec.layer = layer;
    if (layer > 0) spec.first = mixers_.front();
    spec.seed = mixed_seed(seed, static_cast<std::uint64_t>(layer));
    mixers_.push_back(mixer_registry().at(model.mixer).make(spec, model.mixer_options));
    blocks_.push_back(
        register_module("block" + std::to_string(layer), std::make_shared<EncoderBlock>(model, mixers_.back())));
  }
  norm_ = register_module("norm", layer_norm(model));
}

at::Tensor Encoder::forward(at::Tensor x, const SequenceLayout& layout, const at::Tensor& rows) {
  torch::nn::LayerNorm first_norm = blocks_.front()->mixer_norm();
  const double dropout = is_training() ? dropout_ : 0.0;
  ops::SumAndNorm out;
  if (fused_ && x.is_cpu()) {
    out = ops::residual_norm({}, x, {}, parameters_of(first_norm), dropout);
    x.reset();  // nothing keeps it
  } else {
    out.sum = dropout > 0 ? at::dropout(x, dropout, true) : x;
    out.norm = first_norm->forward(out.sum);
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const bool last = i + 1 == blocks_.size();
    out = blocks_[i]->forward(out, last ? norm_ : blocks_[i + 1]->mixer_norm(), layout, last ? rows : at::Tensor());
  }
  return out.norm;
}

}  // namespace lra
