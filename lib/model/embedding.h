#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include "core/config.h"
#include "mixers/sequence_layout.h"

namespace lra {

/// sin and cos of pos * 10000^(-2i/width) at even and odd features (arXiv 1706.03762): (length, width) float64.
at::Tensor sinusoid_table(std::int64_t length, std::int64_t width);

/// The vector of each token plus that of its position. Tokens have a table; continuous pixels have a linear layer of
/// their value. `prepend_cls` puts a learned vector, initially zero, in front of every sequence.
class Embedding : public torch::nn::Module {
 public:
  /// `max_length` counts CLS.
  Embedding(const TaskConfig& task, const ModelConfig& model, std::int64_t max_length, bool prepend_cls);

  /// tokens (T) int64 packed, without CLS, and the layout with CLS → (T') the ids that `forward` takes. CLS has the id
  /// after the last of the vocabulary.
  at::Tensor with_cls(const at::Tensor& tokens, const SequenceLayout& layout) const;
  /// ids (T') int64 packed → (T', d_model) packed.
  at::Tensor forward(const at::Tensor& ids, const SequenceLayout& layout);

 private:
  /// (vocab_size, d_model)
  at::Tensor table();

  const bool prepend_cls_;
  const std::int64_t vocab_size_;
  torch::nn::Linear pixels_{nullptr};
  at::Tensor pixel_values_;              // (vocab_size, 1), of continuous pixels
  at::Tensor tokens_, cls_, positions_;  // positions_: a parameter, or the sinusoid, which is not saved
};

}  // namespace lra
