#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// A LayerNorm's parameters, (D) each.
struct NormParameters {
  at::Tensor weight, bias;
  double eps;
};

struct SumAndNorm {
  at::Tensor sum, norm;  ///< (T, D)
};

// What lies between an encoder's matrix products. Our kernels go over memory once forward and once backward. They are
// used on the CPU for float32 and float64, and for a branch that is bfloat16 under autocast. Elsewhere LibTorch's
// operators run one after another. `dropout` is the probability that a value becomes zero; 0 in evaluation. The kernels
// round it to a multiple of 1/65536 and draw one seed from the default generator for each call; results do not depend
// on the number of threads. No second derivatives.

/// sum = x + dropout(y + y_bias), norm = LayerNorm(sum). x (T, D), or undefined: zero; y (T, D), which may be narrower
/// (bfloat16); y_bias (D), or undefined: zero.
SumAndNorm residual_norm(const at::Tensor& x, const at::Tensor& y, const at::Tensor& y_bias,
                         const NormParameters& parameters, double dropout);

/// dropout(gelu(x + bias)). x (T, D), bias (D); `tanh`: the approximation x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))).
/// The derivative is made from x, so nothing else is kept.
at::Tensor bias_gelu(const at::Tensor& x, const at::Tensor& bias, bool tanh, double dropout);

/// Two linear maps (inner, D), (inner) and (D, inner), (D) with a GELU between them.
struct FeedForwardParameters {
  at::Tensor expand, expand_bias, contract, contract_bias;
};

/// What follows a mixer in a pre-norm block: sum = x + dropout(y), branch = contract(dropout(gelu(expand(norm(sum))))),
/// and {sum + dropout(branch), next(sum + dropout(branch))}. Where `projections` has a kernel and there is no autocast,
/// some rows at a time go through all steps, forward and backward, and only the two sums are stored. Elsewhere
/// residual_norm, projections and bias_gelu run one after another.
SumAndNorm feed_forward(const at::Tensor& x, at::Tensor y, const NormParameters& norm,
                        const FeedForwardParameters& maps, const NormParameters& next, bool tanh, double dropout);

}  // namespace lra::ops
