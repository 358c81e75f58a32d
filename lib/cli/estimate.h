#pragma once

#include <cstdint>
#include <string>

#include "core/config.h"

namespace lra {

/// What a run will cost, estimated before it starts; a rough guide, never a measurement. Nothing of the model's size is
/// made for it.
struct Estimate {
  std::int64_t parameters = 0;
  std::int64_t softmax_parameters = 0;  ///< the same model with full attention: LRA allows at most 10 % more than this
  double tokens_per_step = 0;
  double flops_per_step = 0;  ///< forward and backward (three times forward)
  double bytes =
      0;  ///< peak of the tensors of a training step, on the CPU: results/estimates compares it with what is measured
  double process_bytes = 0;     ///< the peak of the run, evaluation and what is no tensor included
  double seconds_per_step = 0;  ///< flops and activations at this machine's rates for a matrix product and a copy

  Json to_json() const;
};

/// What of a task's data matters to the size of a step.
struct ExampleSizes {
  double mean_length = 0;  ///< tokens of an average sequence, without CLS
  std::int64_t count = 0;  ///< a batch has no more examples than there are
};

/// Those of the training examples if their files are there, else seq_len and any number.
ExampleSizes example_sizes(const RunConfig& config);

Estimate estimate(const RunConfig& config, const ExampleSizes& examples);

/// One sentence why a run of this size should not begin, and what would help; empty if it may. A run is refused where
/// its estimate is more than a quarter, the error of a good estimate, above what the machine or `memory_limit_gb`
/// allows; estimates know no bfloat16, so there it is two and a half times that. A device's memory is not known here.
std::string too_large(const RunConfig& config, const Estimate& estimate);

}  // namespace lra
