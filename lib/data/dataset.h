#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lra {

/// One labelled sequence: token ids (never padding) and the class.
struct Example {
  std::vector<std::int32_t> tokens;
  std::int32_t label = 0;
};

/// A split held ready for random access. Implementations are safe to read from several threads.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::size_t size() const = 0;
  /// Tokens of example `index` in its first-to-last order, cut to the task's `seq_len`.
  virtual Example get(std::size_t index) const = 0;
  /// Number of tokens of example `index`, without reading it.
  virtual std::int64_t length(std::size_t index) const = 0;
};

}  // namespace lra
