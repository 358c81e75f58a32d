#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "data/dataset.h"
#include "model/classifier.h"

namespace lra {

struct Evaluation {
  std::int64_t examples = 0;
  std::int64_t correct = 0;
  double loss_sum = 0;

  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(examples); }
  double loss() const { return loss_sum / static_cast<double>(examples); }
};

struct EvaluateOptions {
  std::int64_t batch_size = 32;
  at::Device device = at::kCPU;
  bool bf16 = false;  ///< autocast
  /// Called before every batch; what it throws ends the evaluation.
  std::function<void()> before_batch = {};
  /// Called for every example: index, label, prediction, logits (num_classes) float32 on the CPU. In the dataset's
  /// order.
  std::function<void(std::size_t, std::int64_t, std::int64_t, const at::Tensor&)> on_example = {};
};

/// Scores every example of the dataset once, the last partial batch too, without gradients and without dropout. The
/// model is left in the mode that it was in, whatever happens. Batches are made of sequences of similar length, so that
/// mixers that need rectangles pad little. Throws Error for an empty dataset.
Evaluation evaluate(Classifier& model, const Dataset& dataset, const EvaluateOptions& options);

}  // namespace lra
