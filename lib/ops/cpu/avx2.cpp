#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <utility>

#include "ops/cpu/kernels.h"

#define LRA_VECTOR_BYTES 32

namespace lra::ops::cpu {
namespace avx2 {

#include "ops/cpu/simd.h"
// simd.h and philox.h first
#include "ops/cpu/philox.h"
#include "ops/cpu/attention.h"

}  // namespace avx2

const Kernels& avx2_kernels() {
  static constexpr Kernels table{"avx2", avx2::attention_scratch, avx2::attention_forward<float>, avx2::attention_backward<float>, avx2::attention_forward<double>,
                                 avx2::attention_backward<double>};
  return table;
}

}  // namespace lra::ops::cpu
