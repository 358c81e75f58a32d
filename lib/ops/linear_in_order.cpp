#include "ops/linear_in_order.h"

#include <ATen/Dispatch.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "ops/autograd.h"

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct LinearInOrder : torch::autograd::Function<LinearInOrder> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias) {
    context->save_for_backward({x, weight});
    return at::linear(x, weight, bias);
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("linear_in_order");
    const tensor_list saved = context->get_saved_variables();
    const at::Tensor x = saved[0].contiguous(), &weight = saved[1], grad = gradients[0].contiguous(),
                     of_weight = at::zeros(weight.sizes(), weight.options());
    const std::int64_t rows = x.size(0), width = x.size(1), outputs = weight.size(0);
    const double multiplications_and_additions =
        2.0 * static_cast<double>(rows) * static_cast<double>(width) * static_cast<double>(outputs);
    RECORD_FUNCTION("lra::linear_in_order_backward",
                    std::vector<c10::IValue>({x, grad, of_weight, multiplications_and_additions}));
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "linear_in_order", [&] {
      const auto* const in = x.const_data_ptr<scalar_t>();
      const auto* const by_row = grad.const_data_ptr<scalar_t>();
      auto* const sums = of_weight.mutable_data_ptr<scalar_t>();
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t c = 0; c < outputs; ++c) {
          const scalar_t factor = by_row[row * outputs + c];
          auto* const __restrict sum = sums + c * width;
          for (std::int64_t i = 0; i < width; ++i) sum[i] += factor * in[row * width + i];
        }
      }
    });
    return {context->needs_input_grad(0) ? at::mm(grad, weight) : at::Tensor(), of_weight, grad.sum(0)};
  }
};

}  // namespace

at::Tensor linear_in_order(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const auto type = x.scalar_type();
  const bool computes = x.is_cpu() && (type == at::kFloat || type == at::kDouble) && type == weight.scalar_type() &&
                        !at::autocast::is_autocast_enabled(at::kCPU);
  return computes ? LinearInOrder::apply(x, weight, bias) : at::linear(x, weight, bias);
}

}  // namespace lra::ops
