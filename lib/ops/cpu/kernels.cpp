#include "ops/cpu/kernels.h"

#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <ATen/ops/randint.h>

#include <cmath>
#include <limits>
#include <string>

namespace lra::ops::cpu {

const Kernels& kernels() {
  static const Kernels& chosen = [&]() -> const Kernels& {
    const std::string capability = at::get_cpu_capability();
    if (capability == "AVX512") return avx512_kernels();
    if (capability == "AVX2") return avx2_kernels();
    return plain_kernels();
  }();
  return chosen;
}

const RoundedKernels* rounded_kernels() {
  static const RoundedKernels* const chosen = []() -> const RoundedKernels* {
#if defined(__x86_64__)
    if (&kernels() != &avx512_kernels() || !__builtin_cpu_supports("avx512bf16")) return nullptr;
    return at::cpu::init_amx() ? tile_kernels() : vector_kernels();
#else
    return nullptr;
#endif
  }();
  return chosen;
}

Dropout drawn_dropout(double probability) {
  Dropout dropout;
  if (probability == 0) return dropout;
  dropout.drop_below = static_cast<std::uint32_t>(std::lround(probability * 65536));
  dropout.scale = 1 / (1 - dropout.drop_below / 65536.0);
  dropout.seed = static_cast<std::uint64_t>(
      at::randint(std::numeric_limits<std::int64_t>::max(), {}, at::kLong).item<std::int64_t>());
  return dropout;
}

}  // namespace lra::ops::cpu
