#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <future>
#include <vector>

#include "data/dataset.h"
#include "mixers/sequence_layout.h"

namespace lra {

/// Examples one after another, without padding; of pairs both sequences, one after the other.
struct PackedBatch {
  at::Tensor tokens;      ///< (T) int64
  SequenceLayout layout;  ///< of B sequences, 2B of pairs
  at::Tensor labels;      ///< (B) int64

  std::int64_t examples() const { return labels.size(0); }
  PackedBatch to(at::Device device) const;
  /// Examples first .. first+count-1.
  PackedBatch slice(std::int64_t first, std::int64_t count) const;
};

/// The examples `indices` of a dataset, in that order, on the CPU.
PackedBatch pack(const Dataset& dataset, const std::vector<std::size_t>& indices);

/// Batches of the training split. Each epoch visits every example once, in an order that depends on (seed, epoch)
/// alone; its last batch may be smaller. The batch of a step depends on
/// (seed, step) alone, so a step is all there is to know about the position.
class BatchLoader {
 public:
  /// The dataset outlives the loader. Throws Error if it is empty.
  BatchLoader(const Dataset& dataset, std::int64_t batch_size, std::int64_t seed);

  /// The batch of 0-based `step`, on the CPU. The examples of the next step are then read by a thread in the
  /// background.
  PackedBatch get(std::int64_t step);

  std::int64_t steps_per_epoch() const;

 private:
  // Tensors are made by the caller's thread: with the reader's the peak of tensor memory would depend on timing.
  std::vector<Example> read(std::int64_t step);

  const Dataset& dataset_;
  const std::int64_t batch_size_, seed_;
  std::int64_t epoch_ = -1;
  std::vector<std::size_t> order_;  // of epoch_
  std::int64_t next_step_ = -1;
  std::future<std::vector<Example>> next_;
};

}  // namespace lra
