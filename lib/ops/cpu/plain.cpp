#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <utility>

#include "ops/cpu/kernels.h"

#define LRA_VECTOR_BYTES 16

namespace lra::ops::cpu {
namespace plain {

#include "ops/cpu/simd.h"
// simd.h and philox.h first
#include "ops/cpu/philox.h"
#include "ops/cpu/attention.h"

}  // namespace plain

const Kernels& plain_kernels() {
  static constexpr Kernels table{"plain", plain::attention_scratch, plain::attention_forward<float>, plain::attention_backward<float>, plain::attention_forward<double>,
                                 plain::attention_backward<double>};
  return table;
}

}  // namespace lra::ops::cpu
