#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace lra {

/// xoshiro256** (Blackman, Vigna 2018), its state filled by splitmix64 from a seed and the number of an independent
/// stream. Integers only and no library distribution, so that the same seed makes the same data on every platform.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream) {
    const std::uint64_t key = splitmix(seed);
    for (std::size_t i = 0; i < state_.size(); ++i) state_[i] = splitmix(key + 4 * stream + i);
  }

  /// 64 uniform bits.
  std::uint64_t next() {
    const std::uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate(state_[3], 45);
    return result;
  }

  /// Exactly uniform in 0 .. bound-1, bound > 0 (Lemire 2019: multiply, reject the few draws that would favour some
  /// values).
  std::uint32_t below(std::uint32_t bound) {
    std::uint64_t product = (next() >> 32) * bound;
    if (static_cast<std::uint32_t>(product) < bound) {
      const std::uint32_t unfair = (0u - bound) % bound;
      while (static_cast<std::uint32_t>(product) < unfair) product = (next() >> 32) * bound;
    }
    return static_cast<std::uint32_t>(product >> 32);
  }

 private:
  static std::uint64_t rotate(std::uint64_t x, int k) { return x << k | x >> (64 - k); }
  /// Output number `counter` of the splitmix64 sequence that begins at 0 (a bijection of 64 bits).
  static std::uint64_t splitmix(std::uint64_t counter) {
    std::uint64_t z = (counter + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }

  std::array<std::uint64_t, 4> state_{};
};

/// 0 .. size-1 in random order (Fisher-Yates), size < 2^32.
inline std::vector<std::size_t> shuffled(std::size_t size, std::uint64_t seed, std::uint64_t stream) {
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  Random random(seed, stream);
  for (std::size_t i = size; i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<std::uint32_t>(i))]);
  return order;
}

}  // namespace lra
