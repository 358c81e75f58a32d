#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// The real part of the discrete Fourier transform of each sequence over its places and its features (FNet, arXiv
/// 2105.03824), unscaled. x (T, D) is real and packed. Each sequence is padded with zeros to `length` places and
/// transformed; its own places are returned, packed again. `fused`: use our kernels on the CPU, which allocate no
/// further tensor. Otherwise, and on devices, LibTorch's transforms are used.
at::Tensor fourier_mix(const at::Tensor& x, at::IntArrayRef lengths, std::int64_t length, bool fused);

/// Numbers of scratch that each thread needs for it, with our kernels.
std::int64_t fourier_scratch(std::int64_t length);

}  // namespace lra::ops
