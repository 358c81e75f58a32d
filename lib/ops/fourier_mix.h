#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// The real part of the discrete Fourier transform of each sequence over its places and its features (FNet, arXiv
/// 2105.03824), unscaled. x (T, D) real holds the sequences one after another; each is transformed over `length`
/// places, zero beyond its own, and its own places are returned, packed again. `fused`: on the CPU by kernels of our
/// own, which make no other tensor; without, and on devices, by LibTorch's transforms.
at::Tensor fourier_mix(const at::Tensor& x, at::IntArrayRef lengths, std::int64_t length, bool fused);

/// Numbers of scratch that each thread needs for it, with our kernels.
std::int64_t fourier_scratch(std::int64_t length);

}  // namespace lra::ops
