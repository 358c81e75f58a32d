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
// after simd.h
#include "ops/cpu/philox.h"
// after both
#include "ops/cpu/attention.h"
#include "ops/cpu/linear.h"
#include "ops/cpu/mixture.h"
// both first
#include "ops/cpu/features.h"
#include "ops/cpu/fourier.h"

}  // namespace plain

const Kernels& plain_kernels() {
  static constexpr Kernels table{"plain",
                                 LRA_VECTOR_BYTES,
                                 plain::attention_scratch,
                                 plain::attention_forward<float>,
                                 plain::attention_backward<float>,
                                 plain::attention_forward<double>,
                                 plain::attention_backward<double>,
                                 plain::feature_attention<float>,
                                 plain::feature_attention<double>,
                                 plain::merge_features<float>,
                                 plain::merge_features<double>,
                                 plain::mix_blocks<float>,
                                 plain::mix_blocks<double>,
                                 plain::mix_blocks_backward<float>,
                                 plain::mix_blocks_backward<double>,
                                 plain::linear_forward<float>,
                                 plain::linear_forward<double>,
                                 plain::linear_backward<float>,
                                 plain::linear_backward<double>,
                                 plain::normalise<float>,
                                 plain::normalise<double>,
                                 plain::normalise_backward<float>,
                                 plain::normalise_backward<double>,
                                 plain::fourier_rows<float>,
                                 plain::fourier_rows<double>,
                                 plain::fourier_columns<float>,
                                 plain::fourier_columns<double>};
  return table;
}

}  // namespace lra::ops::cpu
