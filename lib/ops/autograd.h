#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <optional>

namespace lra::ops {

/// Autograd functions take undefined tensors as absent ones.
inline std::optional<at::Tensor> if_defined(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

/// For backward passes of kernels, through which autograd cannot look: error if their gradients are to be
/// differentiated again.
inline void refuse_second_derivative(const char* name) {
  TORCH_CHECK(!at::GradMode::is_enabled(), name, " has no second derivative");
}

}  // namespace lra::ops
