#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// exp(logits - s) + epsilon with s the largest logit of each vector (`per_vector`) or of each matrix of the last two dimensions, so that the
/// largest feature is 1 + epsilon. Logits of -inf or far below give epsilon.
at::Tensor positive_features(const at::Tensor& logits, bool per_vector, double epsilon);

}  // namespace lra::ops
