#include "ops/projections.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct Projections : torch::autograd::Function<Projections> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& x, at::TensorList weights, at::TensorList biases) {
    tensor_list saved{x}, outputs;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      saved.push_back(weights[i]);
      outputs.push_back(biases.empty() ? at::mm(x, weights[i].t()) : at::addmm(biases[i], x, weights[i].t()));
    }
    context->save_for_backward(saved);
    context->saved_data["biases"] = static_cast<std::int64_t>(biases.size());
    return outputs;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const bool has_biases = context->saved_data["biases"].toInt() > 0;
    at::Tensor of_x;
    tensor_list of_weights, of_biases;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      const at::Tensor& gradient = gradients[i];
      if (!gradient.defined()) {
        of_weights.emplace_back();
        if (has_biases) of_biases.emplace_back();
        continue;
      }
      if (context->needs_input_grad(0)) of_x = of_x.defined() ? of_x.addmm_(gradient, saved[i + 1]) : at::mm(gradient, saved[i + 1]);
      of_weights.push_back(at::mm(gradient.t(), x));
      if (has_biases) of_biases.push_back(gradient.sum(0));
    }
    tensor_list result{of_x};
    result.insert(result.end(), of_weights.begin(), of_weights.end());
    result.insert(result.end(), of_biases.begin(), of_biases.end());
    return result;
  }
};

}  // namespace

std::vector<at::Tensor> projections(const at::Tensor& x, const std::vector<at::Tensor>& weights, const std::vector<at::Tensor>& biases) {
  const bool has_biases = !biases.empty() && biases[0].defined();
  if (at::autocast::is_autocast_enabled(x.device().type())) {  // casts x once for all
    std::vector<at::Tensor> outputs;
    for (std::size_t i = 0; i < weights.size(); ++i) outputs.push_back(at::linear(x, weights[i], has_biases ? biases[i] : at::Tensor()));
    return outputs;
  }
  return Projections::apply(x, at::TensorList(weights), has_biases ? at::TensorList(biases) : at::TensorList());
}

}  // namespace lra::ops
