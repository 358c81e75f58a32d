#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace lra::ops {

/// x Wᵀ + b for several W (out, in) and b (out; all or none undefined) of one x (T, in) → as many (T, out). The
/// backward pass adds up the gradient of x inside its matrix products. It does not make one tensor of x's size for each
/// W and add them.
std::vector<at::Tensor> projections(const at::Tensor& x, const std::vector<at::Tensor>& weights,
                                    const std::vector<at::Tensor>& biases);

/// True where it runs on kernels of our own (lib/ops/cpu/linear.h): float32 or float64 on the CPU, widths that are
/// multiples of 16 and small.
bool projections_have_kernel(const at::Tensor& x, at::TensorList weights);
/// The same for these sizes: rows of x, and all widths. Type and device are not checked.
bool projections_have_kernel(std::int64_t rows, at::IntArrayRef widths);

}  // namespace lra::ops
