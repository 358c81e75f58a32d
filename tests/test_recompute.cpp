#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/utils.h>

#include <catch2/catch_test_macros.hpp>
#include <stdexcept>

#include "model/recompute.h"

using namespace lra;

TEST_CASE("Autocast and generators are as before when the second forward pass throws", "[model]") {
  const at::Tensor x = at::ones({2, 3}).requires_grad_();
  int calls = 0;
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const auto out = recomputed(
      [&](const ops::SumAndNorm& in) {
        const at::Tensor noise = at::rand({2, 3});
        if (++calls == 2) throw std::runtime_error("out of memory");
        return ops::SumAndNorm{in.sum + noise, in.norm * noise};
      },
      {x, x * 2});
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::set_autocast_dtype(at::kCPU, at::kHalf);
  torch::manual_seed(5);
  const at::Tensor expected = at::rand({4});
  torch::manual_seed(5);
  CHECK_THROWS_AS((out.sum.sum() + out.norm.sum()).backward(), std::runtime_error);
  const bool enabled = at::autocast::is_autocast_enabled(at::kCPU);
  const at::ScalarType type = at::autocast::get_autocast_dtype(at::kCPU);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  CHECK(calls == 2);
  CHECK_FALSE(enabled);
  CHECK(type == at::kHalf);
  CHECK(at::rand({4}).equal(expected));
}
