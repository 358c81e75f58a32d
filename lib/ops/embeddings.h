#pragma once

#include <ATen/core/Tensor.h>

namespace lra::ops {

/// tokens[ids] + positions[places]: tables (vocabulary, D) and (length, D); ids, places (T) int64 → (T, D). On the CPU,
/// forward and backward pass go over memory once. Results do not depend on the number of threads.
at::Tensor embeddings(const at::Tensor& tokens, const at::Tensor& ids, const at::Tensor& positions,
                      const at::Tensor& places);

}  // namespace lra::ops
