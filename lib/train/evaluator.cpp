#include "train/evaluator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cross_entropy_loss.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "train/batch_loader.h"
#include "train/train_step.h"

namespace lra {

namespace {

struct EvalMode {
  explicit EvalMode(Classifier& evaluated) : model(evaluated), was_training(evaluated.is_training()) { model.eval(); }
  ~EvalMode() { model.train(was_training); }
  Classifier& model;
  const bool was_training;
};

}  // namespace

Evaluation evaluate(Classifier& model, const Dataset& dataset, const EvaluateOptions& options) {
  if (dataset.size() == 0) throw Error("there are no examples to evaluate");
  std::vector<std::size_t> order(dataset.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // The longest first: what does not fit into memory fails at once.
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return dataset.length(a) > dataset.length(b); });

  const at::NoGradGuard no_grad;
  const EvalMode eval_mode(model);
  Evaluation result;
  struct Prediction {
    std::int64_t label, prediction;
    at::Tensor logits;
  };
  std::vector<Prediction> predictions(options.on_example ? dataset.size() : 0);
  for (std::size_t first = 0; first < order.size(); first += static_cast<std::size_t>(options.batch_size)) {
    if (options.before_batch) options.before_batch();
    const std::size_t last = std::min(order.size(), first + static_cast<std::size_t>(options.batch_size));
    const std::vector<std::size_t> indices(order.begin() + static_cast<std::ptrdiff_t>(first),
                                           order.begin() + static_cast<std::ptrdiff_t>(last));
    const PackedBatch batch = pack(dataset, indices).to(options.device);
    at::Tensor logits;
    {
      const Autocast autocast(options.device, options.bf16);
      logits = model.forward(batch.tokens, batch.layout);
    }
    if (options.bf16) logits = logits.to(at::kFloat);
    const at::Tensor predicted = logits.argmax(1);
    result.loss_sum += at::cross_entropy_loss(logits, batch.labels, {}, at::Reduction::Sum).item<double>();
    result.correct += predicted.eq(batch.labels).sum().item<std::int64_t>();
    result.examples += batch.examples();
    if (!options.on_example) continue;
    const at::Tensor logits_here = logits.to(at::kCPU), predicted_here = predicted.to(at::kCPU),
                     labels_here = batch.labels.to(at::kCPU);
    for (std::size_t i = 0; i < indices.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      predictions[indices[i]] = {labels_here[row].item<std::int64_t>(), predicted_here[row].item<std::int64_t>(),
                                 logits_here[row]};
    }
  }
  for (std::size_t i = 0; i < predictions.size(); ++i)
    options.on_example(i, predictions[i].label, predictions[i].prediction, predictions[i].logits);
  return result;
}

}  // namespace lra
