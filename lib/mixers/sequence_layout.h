#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lra {

/// Where each sequence of a packed batch lies. A batch of B sequences is one tensor (T, ...) with the tokens of all
/// sequences one after another, without padding. T is the sum of their lengths.
class SequenceLayout {
 public:
  /// Every length is at least 1.
  explicit SequenceLayout(std::vector<std::int64_t> lengths);

  std::int64_t batch() const { return static_cast<std::int64_t>(lengths_.size()); }
  std::int64_t tokens() const { return offsets_.back(); }
  std::int64_t max_length() const { return max_length_; }
  std::int64_t length(std::int64_t b) const { return lengths_[static_cast<std::size_t>(b)]; }
  std::int64_t offset(std::int64_t b) const { return offsets_[static_cast<std::size_t>(b)]; }
  const std::vector<std::int64_t>& lengths() const { return lengths_; }
  const std::vector<std::int64_t>& offsets() const { return offsets_; }
  /// True when all sequences have the same length: then (T, ...) viewed as (B, N, ...) is a rectangle without padding.
  bool uniform() const { return uniform_; }

  /// (T) int64: the id of each token, for mixers that need it. CLS has the id after the last of the vocabulary.
  /// Undefined if it was not set.
  const at::Tensor& token_ids() const { return token_ids_; }
  void set_token_ids(at::Tensor ids) { token_ids_ = std::move(ids); }

  /// (T) bool: false at tokens that no query may see, such as black pixels that count as padding. Undefined: all may be
  /// seen. It is only set for mixers with the trait `hides_keys`; others may ignore it. Queries that see nothing get
  /// zeros.
  const at::Tensor& visible() const { return visible_; }
  void set_visible(at::Tensor visible) { visible_ = std::move(visible); }

  /// (T) int64, the place of each token in its own sequence, on `device`. Computed once for a device.
  at::Tensor positions(at::Device device) const;
  /// (T) int64, the place of each token in the padded rectangle read row by row: b * N + position. Computed once for a
  /// device.
  at::Tensor places(at::Device device) const;
  /// (B, N) bool, true at real tokens, on `device`. Computed once for a device.
  at::Tensor mask(at::Device device) const;

 private:
  std::vector<std::int64_t> lengths_;
  std::vector<std::int64_t> offsets_;  // B + 1
  std::int64_t max_length_ = 0;
  bool uniform_ = true;
  at::Tensor token_ids_, visible_;
  mutable at::Tensor positions_;
  mutable at::Tensor places_;
  mutable at::Tensor mask_;
};

}  // namespace lra
