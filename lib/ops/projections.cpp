#include "ops/projections.h"

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <bit>
#include <cstdint>

#include "ops/autograd.h"
#include "ops/cpu/kernels.h"

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// Up to this width matrices stay in a processor's first caches, and the kernels of lib/ops/cpu, which copy nothing, are
// ahead of the BLAS.
constexpr std::int64_t narrow = 128, multiple = 16, few_rows = 64;

double flops_of(const at::Tensor& x, at::TensorList weights) {
  double flops = 0;
  for (const auto& weight : weights) flops += 2 * static_cast<double>(x.size(0)) * static_cast<double>(weight.numel());
  return flops;
}

// The tensors with data in line that the kernels read and write, by map.
struct MapTensors {
  at::Tensor weight = {}, transposed = {}, bias = {}, y = {}, grad_y = {}, grad_weight = {}, grad_bias = {};
};

template <class T>
std::vector<cpu::LinearMap<T>> maps_of(const std::vector<MapTensors>& tensors) {
  const auto read = [](const at::Tensor& x) { return x.defined() ? x.const_data_ptr<T>() : nullptr; };
  const auto write = [](const at::Tensor& x) { return x.defined() ? x.mutable_data_ptr<T>() : nullptr; };
  std::vector<cpu::LinearMap<T>> maps;
  for (const auto& t : tensors) {
    maps.push_back({.width = (t.y.defined() ? t.y : t.grad_y).size(1),
                    .weight = read(t.weight),
                    .transposed = read(t.transposed),
                    .bias = read(t.bias),
                    .y = write(t.y),
                    .grad_y = read(t.grad_y),
                    .grad_weight = write(t.grad_weight),
                    .grad_bias = write(t.grad_bias)});
  }
  return maps;
}

// Calls work(share, first row, last row) on all threads.
template <class Work>
void for_shares(std::int64_t rows, std::int64_t shares, const Work& work) {
  at::parallel_for(0, shares, 1, [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t share = from; share < to; ++share)
      work(share, rows * share / shares, rows * (share + 1) / shares);
  });
}
// Of rows that do not depend on each other: as many as there are threads.
std::int64_t shares_for_threads(std::int64_t rows) {
  return std::clamp<std::int64_t>(rows / few_rows, 1, at::get_num_threads());
}
// Of sums over rows: by the rows alone, so that a sum has the same bits with any number of threads. A power of two
// divides well among threads.
std::int64_t shares_of_sums(std::int64_t rows) {
  return static_cast<std::int64_t>(
      std::bit_floor(static_cast<std::uint64_t>(std::clamp<std::int64_t>(rows / 256, 1, 64))));
}

template <class T>
void kernel_forward(const at::Tensor& x, const std::vector<MapTensors>& tensors) {
  const auto maps = maps_of<T>(tensors);
  for_shares(x.size(0), shares_for_threads(x.size(0)), [&](std::int64_t, std::int64_t first, std::int64_t last) {
    cpu::kernels().linear_forward(cpu::LinearMaps<T>{.width = x.size(1),
                                                     .first = first,
                                                     .last = last,
                                                     .x = x.const_data_ptr<T>(),
                                                     .maps = maps.data(),
                                                     .count = static_cast<std::int64_t>(maps.size())});
  });
}

// The gradients of weights and biases are sums over shares, added in order.
template <class T>
void kernel_backward(const at::Tensor& x, const at::Tensor& grad_x, std::vector<MapTensors>& tensors, bool has_biases) {
  const std::int64_t shares = shares_of_sums(x.size(0));
  std::vector<std::vector<MapTensors>> of_share;
  for (std::int64_t share = 0; share < shares; ++share) {
    of_share.push_back(tensors);
    for (auto& t : of_share.back()) {
      t.grad_weight = at::zeros(t.weight.sizes(), x.options());
      if (has_biases) t.grad_bias = at::zeros({t.weight.size(0)}, x.options());
    }
  }
  for_shares(x.size(0), shares, [&](std::int64_t share, std::int64_t first, std::int64_t last) {
    const auto maps = maps_of<T>(of_share[static_cast<std::size_t>(share)]);
    cpu::kernels().linear_backward(
        cpu::LinearMaps<T>{.width = x.size(1),
                           .first = first,
                           .last = last,
                           .x = x.const_data_ptr<T>(),
                           .grad_x = grad_x.defined() ? grad_x.mutable_data_ptr<T>() : nullptr,
                           .maps = maps.data(),
                           .count = static_cast<std::int64_t>(maps.size())});
  });
  tensors = of_share.front();
  for (std::size_t share = 1; share < of_share.size(); ++share) {
    for (std::size_t m = 0; m < tensors.size(); ++m) {
      tensors[m].grad_weight.add_(of_share[share][m].grad_weight);
      if (has_biases) tensors[m].grad_bias.add_(of_share[share][m].grad_bias);
    }
  }
}

// What RECORD_FUNCTION is told, where somebody listens.
std::vector<c10::IValue> recorded(const at::Tensor& x, at::TensorList weights, double products) {
  if (!at::hasCallbacks()) return {};
  return {x, products * flops_of(x, weights)};
}

struct Projections : torch::autograd::Function<Projections> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& x, at::TensorList weights,
                             at::TensorList biases) {
    tensor_list saved{x}, outputs;
    saved.insert(saved.end(), weights.begin(), weights.end());
    if (projections_have_kernel(x, weights)) {
      const at::Tensor rows = x.contiguous();
      std::vector<MapTensors> tensors;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        outputs.push_back(at::empty({x.size(0), weights[i].size(0)}, x.options()));
        tensors.push_back({.transposed = weights[i].t().contiguous(),
                           .bias = biases.empty() ? at::Tensor() : biases[i].contiguous(),
                           .y = outputs.back()});
      }
      RECORD_FUNCTION("lra::projections", recorded(x, weights, 1));
      x.scalar_type() == at::kDouble ? kernel_forward<double>(rows, tensors) : kernel_forward<float>(rows, tensors);
      guard.setOutputs(std::vector<c10::IValue>(outputs.begin(), outputs.end()));
    } else {
      for (std::size_t i = 0; i < weights.size(); ++i) {
        outputs.push_back(biases.empty() ? at::mm(x, weights[i].t()) : at::addmm(biases[i], x, weights[i].t()));
      }
    }
    context->save_for_backward(saved);
    context->set_materialize_grads(false);
    context->saved_data["biases"] = static_cast<std::int64_t>(biases.size());
    return outputs;
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("projections");
    const auto saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::TensorList weights = at::TensorList(saved).slice(1);
    const bool has_biases = context->saved_data["biases"].toInt() > 0;
    at::Tensor of_x;
    tensor_list of_weights(weights.size()), of_biases(has_biases ? weights.size() : 0);
    const auto defined = [](const at::Tensor& gradient) { return gradient.defined(); };
    if (std::none_of(gradients.begin(), gradients.end(), defined))
      return tensor_list(1 + weights.size() + of_biases.size());
    if (projections_have_kernel(x, weights)) {
      std::vector<MapTensors> tensors;
      std::vector<std::size_t> numbers;
      for (std::size_t i = 0; i < gradients.size(); ++i) {
        if (!gradients[i].defined()) continue;
        tensors.push_back({.weight = weights[i].contiguous(), .grad_y = gradients[i].contiguous()});
        numbers.push_back(i);
      }
      const at::Tensor rows = x.contiguous();
      if (context->needs_input_grad(0)) of_x = at::empty(x.sizes(), x.options());
      RECORD_FUNCTION("lra::projections_backward", recorded(x, weights, of_x.defined() ? 2 : 1));
      x.scalar_type() == at::kDouble ? kernel_backward<double>(rows, of_x, tensors, has_biases)
                                     : kernel_backward<float>(rows, of_x, tensors, has_biases);
      for (std::size_t m = 0; m < tensors.size(); ++m) {
        of_weights[numbers[m]] = tensors[m].grad_weight;
        if (has_biases) of_biases[numbers[m]] = tensors[m].grad_bias;
      }
    } else {
      for (std::size_t i = 0; i < gradients.size(); ++i) {
        const at::Tensor& gradient = gradients[i];
        if (!gradient.defined()) continue;
        if (context->needs_input_grad(0))
          of_x = of_x.defined() ? of_x.addmm_(gradient, weights[i]) : at::mm(gradient, weights[i]);
        of_weights[i] = at::mm(gradient.t(), x);
        if (has_biases) of_biases[i] = gradient.sum(0);
      }
    }
    tensor_list result{of_x};
    result.insert(result.end(), of_weights.begin(), of_weights.end());
    result.insert(result.end(), of_biases.begin(), of_biases.end());
    return result;
  }
};

}  // namespace

bool projections_have_kernel(const at::Tensor& x, at::TensorList weights) {
  const auto type = x.scalar_type();
  return x.is_cpu() && (type == at::kFloat || type == at::kDouble) && projections_have_kernel(x.size(0), {x.size(1)}) &&
         std::all_of(weights.begin(), weights.end(), [&](const at::Tensor& weight) {
           return projections_have_kernel(x.size(0), {weight.size(0)}) && weight.scalar_type() == type;
         });
}

bool projections_have_kernel(std::int64_t rows, at::IntArrayRef widths) {
  return rows >= few_rows && std::all_of(widths.begin(), widths.end(),
                                         [](std::int64_t width) { return width % multiple == 0 && width <= narrow; });
}

std::vector<at::Tensor> projections(const at::Tensor& x, const std::vector<at::Tensor>& weights,
                                    const std::vector<at::Tensor>& biases) {
  const bool has_biases = !biases.empty() && biases[0].defined();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    TORCH_CHECK(x.dim() == 2 && weights[i].dim() == 2 && weights[i].size(1) == x.size(1) &&
                    (!has_biases || biases[i].numel() == weights[i].size(0)),
                "projections: ", x.sizes(), " times the transpose of ", weights[i].sizes(),
                has_biases ? " with a bias" : "");
  }
  if (at::autocast::is_autocast_enabled(x.device().type())) {  // casts x once for all
    std::vector<at::Tensor> outputs;
    for (std::size_t i = 0; i < weights.size(); ++i)
      outputs.push_back(at::linear(x, weights[i], has_biases ? biases[i] : at::Tensor()));
    return outputs;
  }
  return Projections::apply(x, at::TensorList(weights), has_biases ? at::TensorList(biases) : at::TensorList());
}

}  // namespace lra::ops
