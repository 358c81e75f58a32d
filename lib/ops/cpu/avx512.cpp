#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <utility>

#include "ops/cpu/kernels.h"

#define LRA_VECTOR_BYTES 64

namespace lra::ops::cpu {
namespace avx512 {

#include "ops/cpu/simd.h"
// simd.h and philox.h first
#include "ops/cpu/philox.h"
#include "ops/cpu/attention.h"

}  // namespace avx512

const Kernels& avx512_kernels() {
  static constexpr Kernels table{"avx512", avx512::attention_scratch, avx512::attention_forward<float>, avx512::attention_backward<float>, avx512::attention_forward<double>,
                                 avx512::attention_backward<double>};
  return table;
}

}  // namespace lra::ops::cpu
