#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "train/lr_schedule.h"

using Catch::Approx;

namespace {

lra::TrainConfig schedule(const char* name, double learning_rate, std::int64_t warmup, std::int64_t steps) {
  lra::TrainConfig config;
  config.schedule = name;
  config.learning_rate = learning_rate;
  config.warmup_steps = warmup;
  config.train_steps = steps;
  return config;
}

}  // namespace

TEST_CASE("the reciprocal square root schedule has LRA's published values", "[train]") {
  const auto listops = schedule("rsqrt", 0.05, 1000, 5000);
  CHECK(lra::learning_rate_at(listops, 0) == 0.0);
  CHECK(lra::learning_rate_at(listops, 500) == Approx(7.9057e-4).epsilon(1e-5));
  CHECK(lra::learning_rate_at(listops, 1000) == Approx(1.58114e-3).epsilon(1e-5));
  CHECK(lra::learning_rate_at(listops, 4999) == Approx(7.07178e-4).epsilon(1e-5));
  const auto text = schedule("rsqrt", 0.05, 8000, 20000);
  CHECK(lra::learning_rate_at(text, 8000) == Approx(5.59017e-4).epsilon(1e-5));
  CHECK(lra::learning_rate_at(text, 19999) == Approx(3.53562e-4).epsilon(1e-5));
  CHECK(lra::learning_rate_at(schedule("rsqrt", 0.05, 8000, 5000), 4999) == Approx(3.49316e-4).epsilon(1e-5));
  CHECK(lra::learning_rate_at(schedule("rsqrt", 1.0, 0, 10), 0) == 1.0);
}

TEST_CASE("the cosine schedule warms up, falls to zero and starts again", "[train]") {
  auto image = schedule("cosine", 5e-4, 175, 35000);
  CHECK(lra::learning_rate_at(image, 0) == 0.0);
  CHECK(lra::learning_rate_at(image, 175) == Approx(5e-4));
  CHECK(lra::learning_rate_at(image, 175 + 17500) == Approx(2.5e-4));
  image.steps_per_cycle = 100;
  CHECK(lra::learning_rate_at(image, 175 + 99) < 5e-4 * 3e-4);
  CHECK(lra::learning_rate_at(image, 175 + 100) == Approx(5e-4));
}

TEST_CASE("the one-cycle schedule goes from LR/25 over LR to LR/250,000", "[train]") {
  auto small = schedule("one_cycle", 1e-4, 1000, 5000);
  CHECK(lra::learning_rate_at(small, 0) == Approx(4e-6));
  CHECK(lra::learning_rate_at(small, 999) == Approx(1e-4));
  CHECK(lra::learning_rate_at(small, 4999) == Approx(4e-10));
  // PyTorch 2.13's OneCycleLR(max_lr=1e-4, total_steps=5000, pct_start=0.2, anneal_strategy="linear"), cycle_momentum
  // on.
  CHECK(lra::learning_rate_at(small, 500) == Approx(5.204804804804805e-05).epsilon(1e-12));
  CHECK(lra::learning_rate_at(small, 3000) == Approx(4.99752e-05).epsilon(1e-6));
  CHECK(lra::beta1_at(small, 500) == 0.9);
  small.cycle_momentum = true;
  CHECK(lra::beta1_at(small, 0) == Approx(0.95));
  CHECK(lra::beta1_at(small, 999) == Approx(0.85));
  CHECK(lra::beta1_at(small, 4999) == Approx(0.95));
  // Degenerate lengths stay in range.
  CHECK(lra::learning_rate_at(schedule("one_cycle", 1.0, 0, 1), 0) == 1.0);
  CHECK(lra::learning_rate_at(schedule("one_cycle", 1.0, 1, 3), 2) == Approx(1.0 / 250000));
}

TEST_CASE("the constant schedule only warms up", "[train]") {
  const auto constant = schedule("constant", 0.2, 10, 100);
  CHECK(lra::learning_rate_at(constant, 5) == Approx(0.1));
  CHECK(lra::learning_rate_at(constant, 10) == 0.2);
  CHECK(lra::learning_rate_at(constant, 99) == 0.2);
  CHECK(lra::beta1_at(constant, 50) == 0.9);
}
