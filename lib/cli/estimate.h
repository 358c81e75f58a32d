#pragma once

#include <cstdint>

#include "core/config.h"

namespace lra {

/// What a run will cost, estimated before it starts; a rough guide, never a measurement.
struct Estimate {
  std::int64_t parameters = 0;
  std::int64_t softmax_parameters = 0;  ///< the same model with full attention: LRA allows at most 10 % more than this
  double tokens_per_step = 0;
  double flops_per_step = 0;            ///< forward and backward (three times forward)
  double bytes = 0;                     ///< weights, gradients, optimiser state, activations of one micro-batch
  double seconds_per_step = 0;          ///< flops and activations at this machine's rates for a matrix product and a copy

  Json to_json() const;
};

/// `mean_length`: tokens of an average example, without CLS.
Estimate estimate(const RunConfig& config, double mean_length);

/// Mean length of the training examples if their files are there, else seq_len.
double mean_example_length(const RunConfig& config);

}  // namespace lra
