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
// after simd.h
#include "ops/cpu/philox.h"
// after both
#include "ops/cpu/attention.h"
#include "ops/cpu/linear.h"
#include "ops/cpu/mixture.h"
// both first
#include "ops/cpu/features.h"
#include "ops/cpu/fourier.h"

}  // namespace avx2

const Kernels& avx2_kernels() {
  static constexpr Kernels table{"avx2",
                                 LRA_VECTOR_BYTES,
                                 avx2::attention_scratch,
                                 avx2::attention_forward<float>,
                                 avx2::attention_backward<float>,
                                 avx2::attention_forward<double>,
                                 avx2::attention_backward<double>,
                                 avx2::feature_attention<float>,
                                 avx2::feature_attention<double>,
                                 avx2::merge_features<float>,
                                 avx2::merge_features<double>,
                                 avx2::mix_blocks<float>,
                                 avx2::mix_blocks<double>,
                                 avx2::mix_blocks_backward<float>,
                                 avx2::mix_blocks_backward<double>,
                                 avx2::linear_forward<float>,
                                 avx2::linear_forward<double>,
                                 avx2::linear_backward<float>,
                                 avx2::linear_backward<double>,
                                 avx2::normalise<float>,
                                 avx2::normalise<double>,
                                 avx2::normalise_backward<float>,
                                 avx2::normalise_backward<double>,
                                 avx2::fourier_rows<float>,
                                 avx2::fourier_rows<double>,
                                 avx2::fourier_columns<float>,
                                 avx2::fourier_columns<double>};
  return table;
}

}  // namespace lra::ops::cpu
