#include "mixers/sequence_layout.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/lt.h>
#include <ATen/ops/tensor.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>

namespace lra {

SequenceLayout::SequenceLayout(std::vector<std::int64_t> lengths) : lengths_(std::move(lengths)) {
  TORCH_CHECK(!lengths_.empty(), "a batch needs at least one sequence");
  offsets_.push_back(0);
  for (const std::int64_t length : lengths_) {
    TORCH_CHECK(length >= 1, "a sequence needs at least one token, found length ", length);
    offsets_.push_back(offsets_.back() + length);
    max_length_ = std::max(max_length_, length);
    uniform_ = uniform_ && length == lengths_.front();
  }
}

at::Tensor SequenceLayout::positions(at::Device device) const {
  if (!positions_.defined() || positions_.device() != device) {
    at::Tensor positions = at::empty({tokens()}, at::kLong);
    auto* place = positions.mutable_data_ptr<std::int64_t>();
    for (const std::int64_t length : lengths_) {
      std::iota(place, place + length, std::int64_t{0});
      place += length;
    }
    positions_ = positions.to(device);
  }
  return positions_;
}

at::Tensor SequenceLayout::places(at::Device device) const {
  if (!places_.defined() || places_.device() != device) {
    at::Tensor places = at::empty({tokens()}, at::kLong);
    auto* place = places.mutable_data_ptr<std::int64_t>();
    for (std::int64_t b = 0; b < batch(); ++b) {
      std::iota(place, place + length(b), b * max_length_);
      place += length(b);
    }
    places_ = places.to(device);
  }
  return places_;
}

at::Tensor SequenceLayout::mask(at::Device device) const {
  if (!mask_.defined() || mask_.device() != device) {
    mask_ = at::arange(max_length_, at::kLong).lt(at::tensor(lengths_, at::kLong).unsqueeze(1)).to(device);
  }
  return mask_;
}

}  // namespace lra
