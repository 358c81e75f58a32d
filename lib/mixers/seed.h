#pragma once

#include <cstdint>

namespace lra {

/// A seed from two numbers, by the finaliser of SplitMix64. Neighbouring numbers give unrelated random streams.
inline std::uint64_t mixed_seed(std::uint64_t seed, std::uint64_t stream) {
  std::uint64_t z = seed + 0x9e3779b97f4a7c15U * (stream + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

}  // namespace lra
