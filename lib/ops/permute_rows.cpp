#include "ops/permute_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <torch/csrc/autograd/custom_function.h>

namespace lra::ops {
namespace {

at::Tensor permute(const at::Tensor& x, const at::Tensor& order) {
  const std::int64_t heads = x.size(2), rows = x.size(3);
  const at::Tensor first_rows =
      (at::arange(x.size(0) * x.size(1) * heads, order.options()) * rows).view({x.size(0), x.size(1), heads, 1});
  const at::Tensor permuted = x.reshape({-1, x.size(4)}).index_select(0, (order + first_rows).flatten());
  return permuted.view({order.size(0), order.size(1), heads, rows, x.size(4)});
}

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct PermuteRows : torch::autograd::Function<PermuteRows> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& order,
                            const at::Tensor& inverse) {
    context->saved_data["inverse"] = inverse;
    context->saved_data["copies"] = x.size(1) == 1 && order.size(1) > 1;
    return permute(x, order);
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const at::Tensor gradient = permute(gradients[0], context->saved_data["inverse"].toTensor());
    return {context->saved_data["copies"].toBool() ? gradient.sum(1, true) : gradient, {}, {}};
  }
};

}  // namespace

at::Tensor permute_rows(const at::Tensor& x, const at::Tensor& order, const at::Tensor& inverse) {
  return PermuteRows::apply(x, order, inverse);
}

}  // namespace lra::ops
