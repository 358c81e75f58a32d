#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "ops/cpu/kernels.h"

namespace lra::ops {

/// A feature map φ of queries and keys.
struct FeatureMap {
  cpu::Features kind = cpu::Features::elu;
  at::Tensor directions = {};  ///< (m, d), no gradient; exponential and relu divide them by d^¼; else undefined
  at::Tensor sigma = {};       ///< sincos: (H)
  double epsilon = 0;          ///< added to every feature; exponential: times the mean feature (see cpu/features.h)
};

/// φ(Q) (φ(K)ᵀ V) / (φ(Q) Σ φ(K)) within each sequence and head of packed tokens (arXiv 2006.16236, 1812.01243,
/// 2009.14794, 2103.02143). Features exist for one block of tokens at a time, and the backward pass computes them
/// again. So nothing of size (T, m) is stored. q, k, v (T, H, d); sequence s has the tokens offsets[s] .. offsets[s +
/// 1] - 1. Returns (T, H, d). CPU, float32 or float64; bfloat16 is computed in float32.
at::Tensor feature_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::vector<std::int64_t>& offsets, const FeatureMap& map);

}  // namespace lra::ops
