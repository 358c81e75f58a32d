#include "model/encoder.h"

#include <ATen/ops/dropout.h>
#include <ATen/ops/gelu.h>

#include "mixers/seed.h"

namespace lra {
namespace {

torch::nn::LayerNorm layer_norm(const ModelConfig& model) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({model.d_model}).eps(model.layer_norm_eps));
}

}  // namespace

EncoderBlock::EncoderBlock(const ModelConfig& model, std::shared_ptr<Mixer> mixer)
    : dropout_(model.dropout),
      gelu_(model.gelu == "tanh" ? "tanh" : "none"),
      mixer_norm_(register_module("mixer_norm", layer_norm(model))),
      feed_forward_norm_(register_module("feed_forward_norm", layer_norm(model))),
      mixer_(register_module("mixer", std::move(mixer))),
      expand_(register_module("expand", torch::nn::Linear(model.d_model, model.d_ff))),
      contract_(register_module("contract", torch::nn::Linear(model.d_ff, model.d_model))) {}

at::Tensor EncoderBlock::forward(at::Tensor x, const SequenceLayout& layout, const at::Tensor& rows) {
  const auto drop = [&](const at::Tensor& tensor) {
    return is_training() && dropout_ > 0 ? at::dropout(tensor, dropout_, true) : tensor;
  };
  x = x + drop(mixer_->forward(mixer_norm_->forward(x), layout));
  if (rows.defined()) x = x.index_select(0, rows);
  return x + drop(contract_->forward(drop(at::gelu(expand_->forward(feed_forward_norm_->forward(x)), gelu_))));
}

Encoder::Encoder(const ModelConfig& model, std::int64_t max_length, std::int64_t vocab_size, std::uint64_t seed) {
  MixerSpec spec{.d_model = model.d_model,
                 .d_qkv = model.qkv_width(),
                 .num_heads = model.num_heads,
                 .max_length = max_length,
                 .attention_dropout = model.attention_dropout,
                 .bias = model.attention_bias,
                 .layout = model.mixer_layout,
                 .vocab_size = vocab_size,
                 .seed = seed};
  for (std::int64_t layer = 0; layer < model.num_layers; ++layer) {
    spec.layer = layer;
    if (layer > 0) spec.first = mixers_.front();
    spec.seed = mixed_seed(seed, static_cast<std::uint64_t>(layer));
    mixers_.push_back(mixer_registry().at(model.mixer).make(spec, model.mixer_options));
    blocks_.push_back(register_module("block" + std::to_string(layer), std::make_shared<EncoderBlock>(model, mixers_.back())));
  }
  norm_ = register_module("norm", layer_norm(model));
}

at::Tensor Encoder::forward(at::Tensor x, const SequenceLayout& layout, const at::Tensor& rows) {
  for (const auto& block : blocks_) x = block->forward(x, layout, block == blocks_.back() ? rows : at::Tensor());
  return norm_->forward(x);
}

}  // namespace lra
