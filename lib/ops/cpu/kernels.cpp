#include "ops/cpu/kernels.h"

#include <ATen/Version.h>

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

}  // namespace lra::ops::cpu
