#pragma once

#include <cstdint>

#include "core/config.h"

namespace lra {

/// Learning rate of the update after `step` finished ones (0-based). With b = learning_rate, s = step, W =
/// warmup_steps, T = train_steps:
///   rsqrt      b · min(1, s/W) / √max(s, W)                                              (LRA's text tasks)
///   cosine     b · min(1, s/W) · max(0, ½(1 + cos(π · (p mod 1)))), p = max(0, (s-W)/C), C = steps_per_cycle or T
///   (LRA's image tasks) one_cycle  from b/25 at s = 0 linearly up to b at the last step of the warm-up, s = W-1, and
///   linearly down to b/250,000 at s = T-1
///              (PyTorch's OneCycleLR with pct_start = W/T, linear, as in the Nyströmformer setting)
///   constant   b · min(1, s/W)
double learning_rate_at(const TrainConfig& config, std::int64_t step);

/// Adam's β₁ of the same update: `beta1`, or with one_cycle and cycle_momentum 0.95 → 0.85 → 0.95 against the learning
/// rate.
double beta1_at(const TrainConfig& config, std::int64_t step);

}  // namespace lra
