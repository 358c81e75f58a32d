#include <ATen/ATen.h>

#include <catch2/catch_test_macros.hpp>

#include "mixer_cases.h"
#include "mixers/sequence_layout.h"
#include "ops/pad.h"

using namespace lra;

TEST_CASE("A layout knows where its sequences lie", "[mixers]") {
  const SequenceLayout layout({3, 1, 2});
  CHECK(layout.batch() == 3);
  CHECK(layout.tokens() == 6);
  CHECK(layout.max_length() == 3);
  CHECK(layout.offset(2) == 4);
  CHECK(layout.length(2) == 2);
  CHECK_FALSE(layout.uniform());
  CHECK(SequenceLayout({4, 4}).uniform());
  CHECK(SequenceLayout({4}).uniform());
  CHECK(at::equal(layout.positions(at::kCPU), at::tensor({0, 1, 2, 0, 0, 1}, at::kLong)));
  CHECK(at::equal(layout.places(at::kCPU), at::tensor({0, 1, 2, 3, 6, 7}, at::kLong)));
  CHECK(
      at::equal(layout.mask(at::kCPU), at::tensor({1, 1, 1, 1, 0, 0, 1, 1, 0}, at::kLong).view({3, 3}).to(at::kBool)));
  CHECK_THROWS(SequenceLayout({}));
  CHECK_THROWS(SequenceLayout({3, 0}));
}

TEST_CASE("Padding puts zeros, packing takes them away, and each is the other's derivative", "[mixers]") {
  const std::vector<std::int64_t> lengths = {3, 1, 5, 2};
  const SequenceLayout layout(lengths);
  const at::Tensor packed = testing::random_input(11, 6, 1).requires_grad_();
  const at::Tensor padded = ops::pad_sequences(packed, lengths, 2, {});
  REQUIRE(padded.sizes() == at::IntArrayRef({4, 2, 5, 3}));
  REQUIRE(padded.is_contiguous());
  for (std::int64_t b = 0; b < 4; ++b) {
    for (std::int64_t t = 0; t < 5; ++t) {
      const at::Tensor expected =
          t < layout.length(b) ? packed[layout.offset(b) + t].detach() : at::zeros({6}, at::kDouble);
      CHECK(at::equal(padded.select(0, b).select(1, t).flatten().detach(), expected));
    }
  }
  const at::Tensor again = ops::pack_sequences(padded, lengths, {});
  CHECK(at::equal(again, packed));

  const at::Tensor packed_direction = testing::random_input(11, 6, 2);
  (again * packed_direction).sum().backward();
  CHECK(at::equal(packed.grad(), packed_direction));
  const at::Tensor rectangle = at::randn({4, 2, 5, 3}, at::kDouble).requires_grad_();
  (ops::pack_sequences(rectangle, lengths, {}) * packed_direction).sum().backward();
  CHECK(at::equal(rectangle.grad(), ops::pad_sequences(packed_direction, lengths, 2, {})));
}
