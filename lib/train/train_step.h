#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "core/config.h"
#include "model/classifier.h"
#include "train/batch_loader.h"
#include "train/optimizer.h"

namespace lra {

/// If `enabled`, matrix products are computed in bfloat16 while this object lives.
class Autocast {
 public:
  Autocast(at::Device device, bool enabled);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  const at::DeviceType type_;
  const bool enabled_;
};

struct StepResult {
  std::int64_t examples = 0;
  std::int64_t correct = 0;            ///< before the update, with dropout
  double loss_sum = 0;                 ///< over the examples; not finite: there was no update
  double seconds = 0;                  ///< forward, backward and optimiser, device synchronised
  std::int64_t peak_tensor_bytes = 0;  ///< most bytes of tensors during the step, those before it included
};

/// Forward and backward pass. Leaves the gradient of the batch's mean loss in the parameters. The size of the
/// micro-batches does not change it. Fills examples, correct and loss_sum.
StepResult accumulate_gradients(Classifier& model, const PackedBatch& batch, std::int64_t micro_batch_size, bool bf16);

/// One training step on a batch that lies on the device already.
StepResult train_step(Classifier& model, AdamW& optimizer, const PackedBatch& batch, const TrainConfig& config,
                      std::int64_t step);

}  // namespace lra
