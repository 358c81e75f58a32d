#include "model/classifier.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/ne.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <torch/nn/init.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/embedding.h"
#include "model/encoder.h"
#include "ops/linear_in_order.h"
#include "ops/projections.h"

namespace lra {
namespace {

// LeCun: N(0, 1/fan_in) cut at two deviations and widened so that its deviation is right again, as in Flax.
void lecun_normal_(const torch::nn::Linear& linear) {
  const at::NoGradGuard guard;
  const double inside = std::erf(2.0 / std::sqrt(2.0));
  const double deviation = 1.0 / (0.87962566103423978 * std::sqrt(static_cast<double>(linear->options.in_features())));
  linear->weight.uniform_(-inside, inside).erfinv_().mul_(std::sqrt(2.0) * deviation);
  linear->bias.zero_();
}

}  // namespace

Classifier::Classifier(const TaskConfig& task, const ModelConfig& model, std::uint64_t seed)
    : task_(task), model_(model) {
  const std::int64_t max_length = task.seq_len + (has_cls() ? 1 : 0);
  embedding_ = register_module("embedding", std::make_shared<Embedding>(task, model, max_length, has_cls()));
  encoder_ = register_module("encoder", std::make_shared<Encoder>(model, max_length, task.vocab_size, seed));
  const std::int64_t features = model.d_model * (model.pair_head == "nli" ? 4 : model.pair_head == "concat" ? 2 : 1);
  std::int64_t last = model.d_ff;
  hidden_ = register_module("hidden", torch::nn::Linear(features, model.d_ff));
  if (pairs() && model.pair_hidden_layers == 2) {
    last = model.d_ff / 2;
    pair_hidden_ = register_module("pair_hidden", torch::nn::Linear(model.d_ff, last));
  }
  logits_ = register_module("logits", torch::nn::Linear(last, task.num_classes));
  if (model.init == "lra") initialise_as_lra();
}

void Classifier::initialise_as_lra() {
  for (const auto& module : encoder_->modules()) {
    if (auto* linear = module->as<torch::nn::Linear>()) {
      torch::nn::init::xavier_uniform_(linear->weight);
      if (linear->bias.defined()) torch::nn::init::normal_(linear->bias, 0.0, 1e-6);
    }
  }
  for (const auto& linear : {hidden_, pair_hidden_, logits_}) {
    if (linear) lecun_normal_(linear);
  }
}

at::Tensor Classifier::pool(const at::Tensor& x, const SequenceLayout& layout) const {
  if (reads_first()) return x;  // the encoder has returned these tokens alone
  const bool mean = model_.pooling == "mean";
  at::Tensor pooled;
  if (layout.uniform()) {
    const at::Tensor rectangle = x.view({layout.batch(), layout.max_length(), x.size(1)});
    pooled = mean ? rectangle.mean(1) : rectangle.sum(1);
  } else {
    std::vector<at::Tensor> sums;
    for (const auto& sequence : x.split_with_sizes(layout.lengths()))
      sums.push_back(mean ? sequence.mean(0) : sequence.sum(0));
    pooled = at::stack(sums);
  }
  return model_.pooling == "mean_padded" ? pooled / static_cast<double>(task_.seq_len) : pooled;
}

at::Tensor Classifier::forward(const at::Tensor& tokens, const SequenceLayout& layout) {
  TORCH_CHECK(tokens.dim() == 1 && tokens.size(0) == layout.tokens(), "expected ", layout.tokens(),
              " packed tokens, found ", tokens.sizes());
  if (has_cls()) {
    std::vector<std::int64_t> lengths = layout.lengths();
    for (auto& length : lengths) ++length;
    return score(tokens, SequenceLayout(std::move(lengths)));
  }
  return score(tokens, layout);
}

at::Tensor Classifier::score(const at::Tensor& tokens, SequenceLayout layout) {
  layout.set_token_ids(embedding_->with_cls(tokens, layout));
  if (model_.black_pixels == "padding") layout.set_visible(layout.token_ids().ne(0));
  at::Tensor x = embedding_->forward(layout.token_ids(), layout), first;
  if (reads_first()) {
    std::vector<std::int64_t> rows;
    for (std::int64_t b = 0; b < layout.batch(); ++b) rows.push_back(layout.offset(b));
    first = at::tensor(rows, at::kLong).to(tokens.device());
  }
  x = pool(encoder_->forward(std::move(x), layout, first), layout);
  if (pairs()) {
    TORCH_CHECK(layout.batch() % 2 == 0, "pairs need an even number of sequences, found ", layout.batch());
    const at::Tensor two = x.view({layout.batch() / 2, 2, x.size(1)});
    const at::Tensor a = two.select(1, 0);
    const at::Tensor b = two.select(1, 1);
    x = model_.pair_head == "nli" ? at::cat({a, b, a * b, a - b}, 1) : two.flatten(1);
  }
  x = at::relu(hidden_->forward(x));
  if (pair_hidden_) x = at::relu(pair_hidden_->forward(x));
  return model_.kernels == "fused" ? ops::linear_in_order(x, logits_->weight, logits_->bias) : logits_->forward(x);
}

std::int64_t Classifier::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& parameter : parameters()) count += parameter.numel();
  return count;
}

ModelCost Classifier::cost(std::int64_t n) const {
  const std::int64_t length = n + (has_cls() ? 1 : 0);
  const auto tokens = static_cast<double>(length);
  const auto d_model = static_cast<double>(model_.d_model);
  const auto d_ff = static_cast<double>(model_.d_ff);
  const double values = tokens * d_model;
  const bool fused = model_.kernels == "fused", drops = model_.dropout > 0 && !fused;  // kernels keep no noise
  const bool by_blocks = fused && ops::projections_have_kernel(length, {model_.d_model, model_.d_ff});
  const double noise = model_.dropout > 0 ? 1 : 0;  // a branch's gradient is then another than the sum's
  ModelCost total;
  if (by_blocks) total.batch_values = std::min(tokens / 64, 64.0) * 2 * d_model * d_ff + 192 * (4 * d_model + 5 * d_ff);
  // Numbers and places of the tokens (int64), statistics of the norms.
  double kept = tokens * (12 + 4 * static_cast<double>(model_.num_layers)) + (drops ? values : 0), forward = 0;
  for (const auto& mixer : mixers()) {
    const bool last = mixer == mixers().back();
    // Of the last block's feed-forward only what pooling reads is computed.
    const double rows = reads_first() && last ? 1.0 : tokens;
    const MixerCost mixing = mixer->cost(length);
    total.flops += mixing.flops + 4 * rows * d_model * d_ff;
    // The first norm's input and dropout noise (the mixer counts its own input). By blocks of rows: the sum behind the
    // mixer. Else also that norm's output, and values before and after the activation; with dropout two noises and the
    // dropped values.
    const double before = values * (drops ? 2 : 1);
    const double feed_forward =
        rows * (by_blocks ? d_model : 2 * d_model + 2 * d_ff + (drops ? d_model + 2 * d_ff : 0)) +
        (last ? rows * d_model : 0);
    const double layer = before + mixing.saved_values + feed_forward;
    const double here = kept + layer;
    kept += model_.checkpoint_layers ? 2 * values : layer;
    // Gradients of a sum, of its norm, and of the two branches' sum and branch; while the mixer's are made, that of the
    // sum beside it.
    const double in_feed_forward = here + rows * ((last ? 2 : 3) + noise) * d_model + (by_blocks ? 0 : 2 * rows * d_ff);
    const double in_mixer = here - feed_forward + values + mixing.transient_values;
    total.feed_forward_values = std::max(total.feed_forward_values, in_feed_forward);
    total.mixer_values = std::max(total.mixer_values, in_mixer);
    if (mixer == mixers().front()) total.last_values = in_mixer;
    forward = std::max(forward, 3 * values + mixing.saved_values + mixing.transient_values / 2 + rows * 2 * d_ff);
  }
  total.saved_values = kept;
  total.forward_values = forward;
  double head = 0;
  for (const auto& linear : {hidden_, pair_hidden_, logits_}) {
    if (linear) head += 2.0 * static_cast<double>(linear->weight.numel());
  }
  total.flops += pairs() ? head / 2 : head;
  return total;
}

void Classifier::begin_training_step(std::int64_t step) {
  for (const auto& mixer : mixers()) mixer->begin_training_step(step);
}

void Classifier::end_training_step() {
  for (const auto& mixer : mixers()) mixer->end_training_step();
}

const std::vector<std::shared_ptr<Mixer>>& Classifier::mixers() const { return encoder_->mixers(); }

}  // namespace lra
