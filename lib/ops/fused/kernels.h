#pragma once

// Loops over the rows of packed tokens, one pass over memory each. kernels.cpp is compiled once for each instruction
// set; it sees raw pointers only.

#include <cstdint>

namespace lra::ops::fused {

/// A float32's upper half.
struct BFloat16 {
  std::uint16_t bits;
};

/// Which elements a dropout keeps is a function of its seed and their place, so that the backward pass draws them again
/// instead of keeping a mask, and threads and instruction sets do not matter. Element e (row * width + column) is
/// dropped where its 16-bit number is below `drop_below`; the others are multiplied by `scale`. The number is half e %
/// 2 (0: the lower) of word e % 128 / 32 of the block of Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers:
/// as easy as 1, 2, 3") with key `seed` and counter e / 128 * 16 + e % 32 / 2.
struct Dropout {
  std::uint64_t seed = 0;
  std::uint32_t drop_below = 0;  ///< of 65536; 0: nothing is drawn
  double scale = 1;
  std::int64_t first = 0;  ///< what is added to e: the number of a kernel's first element
};

// C: type of sums, statistics and parameters; S: type in which a branch's values lie. Matrices are (rows, width),
// vectors (width) but for the statistics (rows). The kernels work on the rows [first, last).

/// sum = x + dropout(y + y_bias); norm = (sum - mean) * rstd * weight + bias
template <class C, class S>
struct ResidualNorm {
  std::int64_t width;
  double eps;
  Dropout dropout;
  const C* x;  ///< nullptr: zero
  const S* y;
  const C *y_bias, *weight, *bias;
  C *sum, *norm, *mean, *rstd;
};

/// norm of ResidualNorm again, from its sum and statistics
template <class C>
struct NormAgain {
  std::int64_t width;
  const C *sum, *mean, *rstd, *weight, *bias;
  C* norm;
};

template <class C, class S>
struct ResidualNormBackward {
  std::int64_t width;
  Dropout dropout;
  const C* grad_sum;  ///< nullptr: zero
  const C *grad_norm, *sum, *mean, *rstd, *weight;
  C* grad_x;                                 ///< nullptr: not wanted
  S* grad_y;                                 ///< nullptr: not wanted
  C *grad_y_bias, *grad_weight, *grad_bias;  ///< sums over rows, which are added to
};

/// out = dropout(gelu(x + bias))
template <class C, class S>
struct BiasGelu {
  std::int64_t width;
  bool tanh;
  Dropout dropout;
  const S* x;
  const C* bias;
  S* out;
  S* slope = nullptr;  ///< its derivative, dropout included; nullptr: not wanted
};

template <class C, class S>
struct BiasGeluBackward {
  std::int64_t width;
  bool tanh;
  Dropout dropout;
  const S *grad_out, *x;
  const C* bias;
  S* grad_x;
  C* grad_bias;              ///< sum over rows, which is added to
  const S* slope = nullptr;  ///< nullptr: made from x and bias, which are not read otherwise
};

template <class C, class S>
struct Kernels {
  void (*residual_norm)(const ResidualNorm<C, S>&, std::int64_t first, std::int64_t last);
  void (*norm_again)(const NormAgain<C>&, std::int64_t first, std::int64_t last);
  void (*residual_norm_backward)(const ResidualNormBackward<C, S>&, std::int64_t first, std::int64_t last);
  void (*bias_gelu)(const BiasGelu<C, S>&, std::int64_t first, std::int64_t last);
  void (*bias_gelu_backward)(const BiasGeluBackward<C, S>&, std::int64_t first, std::int64_t last);
};

// For (float, float), (double, double) and (float, BFloat16).
namespace plain {
template <class C, class S>
Kernels<C, S> kernels();
}
namespace avx2 {
template <class C, class S>
Kernels<C, S> kernels();
}
namespace avx512 {
template <class C, class S>
Kernels<C, S> kernels();
}

}  // namespace lra::ops::fused
