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
// after simd.h
#include "ops/cpu/philox.h"
// after both
#include "ops/cpu/attention.h"
#include "ops/cpu/linear.h"
#include "ops/cpu/mixture.h"
// both first
#include "ops/cpu/features.h"
#include "ops/cpu/fourier.h"

}  // namespace avx512

const Kernels& avx512_kernels() {
  static constexpr Kernels table{"avx512",
                                 LRA_VECTOR_BYTES,
                                 avx512::attention_scratch,
                                 avx512::attention_forward<float>,
                                 avx512::attention_backward<float>,
                                 avx512::attention_forward<double>,
                                 avx512::attention_backward<double>,
                                 avx512::feature_attention<float>,
                                 avx512::feature_attention<double>,
                                 avx512::merge_features<float>,
                                 avx512::merge_features<double>,
                                 avx512::mix_blocks<float>,
                                 avx512::mix_blocks<double>,
                                 avx512::mix_blocks_backward<float>,
                                 avx512::mix_blocks_backward<double>,
                                 avx512::linear_forward<float>,
                                 avx512::linear_forward<double>,
                                 avx512::linear_backward<float>,
                                 avx512::linear_backward<double>,
                                 avx512::normalise<float>,
                                 avx512::normalise<double>,
                                 avx512::normalise_backward<float>,
                                 avx512::normalise_backward<double>,
                                 avx512::fourier_rows<float>,
                                 avx512::fourier_rows<double>,
                                 avx512::fourier_columns<float>,
                                 avx512::fourier_columns<double>};
  return table;
}

}  // namespace lra::ops::cpu
