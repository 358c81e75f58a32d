#include "train/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lra {
namespace {

/// The one-cycle schedule: `start` → `peak` over the warm-up, then `peak` → `end`.
double one_cycle(const TrainConfig& config, std::int64_t step, double start, double peak, double end) {
  const auto s = static_cast<double>(step);
  const auto top = static_cast<double>(config.warmup_steps - 1);
  const auto last = static_cast<double>(config.train_steps - 1);
  if (s < top) return start + (peak - start) * s / top;
  const double from = std::max(top, 0.0);
  if (last <= from) return peak;
  return peak + (end - peak) * std::min(1.0, (s - from) / (last - from));
}

}  // namespace

double learning_rate_at(const TrainConfig& config, std::int64_t step) {
  const double base = config.learning_rate;
  if (config.schedule == "one_cycle") return one_cycle(config, step, base / 25, base, base / 250000);
  const auto s = static_cast<double>(step);
  const auto warmup = static_cast<double>(config.warmup_steps);
  const double warm = s < warmup ? s / warmup : 1.0;
  if (config.schedule == "rsqrt") return base * warm / std::sqrt(std::max({s, warmup, 1.0}));
  if (config.schedule == "cosine") {
    const auto cycle = static_cast<double>(config.steps_per_cycle == 0 ? config.train_steps : config.steps_per_cycle);
    const double progress = std::max(0.0, (s - warmup) / cycle);
    return base * warm * std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * std::fmod(progress, 1.0))));
  }
  return base * warm;  // constant
}

double beta1_at(const TrainConfig& config, std::int64_t step) {
  if (config.schedule != "one_cycle" || !config.cycle_momentum) return config.beta1;
  return one_cycle(config, step, 0.95, 0.85, 0.95);
}

}  // namespace lra
