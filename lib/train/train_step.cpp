#include "train/train_step.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cross_entropy_loss.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "train/device.h"
#include "train/lr_schedule.h"

namespace lra {

Autocast::Autocast(at::Device device, bool enabled) : type_(device.type()), enabled_(enabled) {
  if (!enabled_) return;
  at::autocast::set_autocast_dtype(type_, at::kBFloat16);
  at::autocast::set_autocast_enabled(type_, true);
}

Autocast::~Autocast() {
  if (!enabled_) return;
  at::autocast::set_autocast_enabled(type_, false);
  at::autocast::clear_cache();  // copies of the weights in bfloat16, stale after the next update
}

StepResult accumulate_gradients(Classifier& model, const PackedBatch& batch, std::int64_t micro_batch_size, bool bf16) {
  StepResult result;
  result.examples = batch.examples();
  const std::int64_t size = micro_batch_size == 0 ? result.examples : micro_batch_size;
  for (std::int64_t first = 0; first < result.examples; first += size) {
    const std::int64_t count = std::min(size, result.examples - first);
    const PackedBatch part = count == result.examples ? batch : batch.slice(first, count);
    at::Tensor logits, loss;
    {
      const Autocast autocast(batch.tokens.device(), bf16);
      logits = model.forward(part.tokens, part.layout);
    }
    if (bf16) logits = logits.to(at::kFloat);
    loss = at::cross_entropy_loss(logits, part.labels, {}, at::Reduction::Sum);
    (loss / static_cast<double>(result.examples)).backward();
    result.loss_sum += loss.item<double>();
    result.correct += logits.detach().argmax(1).eq(part.labels).sum().item<std::int64_t>();
  }
  return result;
}

StepResult train_step(Classifier& model, AdamW& optimizer, const PackedBatch& batch, const TrainConfig& config,
                      std::int64_t step) {
  const at::Device device = batch.tokens.device();
  synchronize(device);
  reset_peak_tensor_bytes(device);
  const auto start = std::chrono::steady_clock::now();
  model.begin_training_step(step);
  // 2, 3. Forward and backward.
  StepResult result = accumulate_gradients(model, batch, config.micro_batch_size, config.precision == "bf16");
  // 4. Optimise.
  if (std::isfinite(result.loss_sum)) {
    if (config.clip_norm > 0) optimizer.clip_gradients(config.clip_norm);
    optimizer.step(learning_rate_at(config, step), beta1_at(config, step));
  }
  optimizer.zero_grad();
  model.end_training_step();
  synchronize(device);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.peak_tensor_bytes = peak_tensor_bytes(device);
  return result;
}

}  // namespace lra
