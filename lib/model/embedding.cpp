#include "model/embedding.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/normal.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "ops/embeddings.h"

namespace lra {

at::Tensor sinusoid_table(std::int64_t length, std::int64_t width) {
  const at::Tensor position = at::arange(length, at::kDouble).unsqueeze(1);
  const at::Tensor frequency =
      (at::arange((width + 1) / 2, at::kDouble) * (-2.0 * std::log(10000.0) / static_cast<double>(width))).exp();
  const at::Tensor angle = position * frequency;
  return at::stack({angle.sin(), angle.cos()}, 2).flatten(1).narrow(1, 0, width).contiguous();
}

Embedding::Embedding(const TaskConfig& task, const ModelConfig& model, std::int64_t max_length, bool prepend_cls)
    : prepend_cls_(prepend_cls), vocab_size_(task.vocab_size) {
  if (model.pixels == "continuous") {
    pixels_ = register_module("pixels", torch::nn::Linear(1, model.d_model));
    pixel_values_ =
        at::arange(vocab_size_, at::kFloat).div_(255.0).sub_(model.pixel_mean).div_(model.pixel_std).unsqueeze(1);
  } else {
    tokens_ = register_parameter("tokens", at::normal(0.0, model.embedding_std, {vocab_size_, model.d_model}));
  }
  if (prepend_cls) cls_ = register_parameter("cls", at::zeros({model.d_model}));
  positions_ = model.positions == "learned"
                   ? register_parameter("positions", at::normal(0.0, model.position_std, {max_length, model.d_model}))
                   : sinusoid_table(max_length, model.d_model);
}

at::Tensor Embedding::with_cls(const at::Tensor& tokens, const SequenceLayout& layout) const {
  if (!prepend_cls_) return tokens;
  const at::Tensor cls_id = at::full({1}, vocab_size_, tokens.options());
  std::vector<at::Tensor> pieces;
  std::int64_t offset = 0;
  for (const std::int64_t length : layout.lengths()) {
    pieces.push_back(cls_id);
    pieces.push_back(tokens.narrow(0, offset, length - 1));
    offset += length - 1;
  }
  return at::cat(pieces);
}

at::Tensor Embedding::table() {
  if (!pixels_) return tokens_;
  // There are only vocab_size values, so the layer is applied to these and looked up.
  pixel_values_ = pixel_values_.to(pixels_->weight.options());
  return pixels_->forward(pixel_values_);
}

at::Tensor Embedding::forward(const at::Tensor& ids, const SequenceLayout& layout) {
  TORCH_CHECK(layout.max_length() <= positions_.size(0), "a sequence of ", layout.max_length(),
              " tokens, but the model is made for ", positions_.size(0));
  const at::Tensor tokens = table();
  const at::Tensor with_cls = prepend_cls_ ? at::cat({tokens, cls_.unsqueeze(0)}) : tokens;
  if (!positions_.requires_grad()) positions_ = positions_.to(tokens.options());
  return ops::embeddings(with_cls, ids, positions_, layout.positions(ids.device()));
}

}  // namespace lra
