#include "ops/fused_layers.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ops/autograd.h"
#include "ops/cpu/kernels.h"
#include "ops/fused/kernels.h"
#include "ops/on_threads.h"
#include "ops/projections.h"

namespace lra::ops {
namespace {

using fused::Dropout;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

template <class C, class S>
const fused::Kernels<C, S>& kernels() {
  static const fused::Kernels<C, S> chosen = [] {
#ifdef __x86_64__
    const std::string capability = at::get_cpu_capability();
    if (capability == "AVX512") return fused::avx512::kernels<C, S>();
    if (capability == "AVX2") return fused::avx2::kernels<C, S>();
#endif
    return fused::plain::kernels<C, S>();
  }();
  return chosen;
}

// c10's type has the same 16 bits.
template <class S>
const S* data(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<const S*>(tensor.const_data_ptr()) : nullptr;
}
template <class S>
S* mutable_data(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<S*>(tensor.mutable_data_ptr()) : nullptr;
}

// Calls work(C(), S()) with the types of sums and of a branch; there are kernels for them.
template <class Work>
void with_types(const at::Tensor& sums, const at::Tensor& branch, Work work) {
  if (sums.scalar_type() == at::kDouble) {
    work(double(), double());
  } else if (branch.scalar_type() == at::kFloat) {
    work(float(), float());
  } else {
    work(float(), fused::BFloat16());
  }
}

bool have_kernels(const at::Tensor& sums, const at::Tensor& branch) {
  const at::ScalarType type = sums.scalar_type();
  if (!sums.is_cpu() || !branch.is_cpu() || branch.numel() == 0) return false;
  return type == at::kFloat ? branch.scalar_type() == at::kFloat || branch.scalar_type() == at::kBFloat16
                            : type == at::kDouble && branch.scalar_type() == at::kDouble;
}

// Rows are worked on in chunks that depend on their number alone, so that sums over rows do not depend on the threads.
std::int64_t chunk_rows(std::int64_t rows) { return std::max<std::int64_t>(64, (rows + 63) / 64); }
std::int64_t chunk_count(std::int64_t rows) { return (rows + chunk_rows(rows) - 1) / chunk_rows(rows); }

// Calls work(chunk, first row, last row, scratch) on all threads; each thread has `scratch_size` numbers of C.
template <class C, class Work>
void for_chunks(std::int64_t rows, std::int64_t scratch_size, const Work& work) {
  const std::int64_t size = chunk_rows(rows);
  on_threads<C>(chunk_count(rows), scratch_size, [&](std::int64_t chunk, C* scratch) {
    work(chunk, chunk * size, std::min(rows, (chunk + 1) * size), scratch);
  });
}
// Calls work(chunk, first row, last row) on all threads.
template <class Work>
void for_chunks(std::int64_t rows, const Work& work) {
  for_chunks<float>(
      rows, 0, [&](std::int64_t chunk, std::int64_t first, std::int64_t last, float*) { work(chunk, first, last); });
}

// partial (chunks, n, width) → n tensors (width), added up in the order of the chunks.
template <class C>
std::vector<at::Tensor> sum_of_chunks(const at::Tensor& partial) {
  const std::int64_t chunks = partial.size(0), vectors = partial.size(1), width = partial.size(2);
  const C* from = data<C>(partial);
  std::vector<at::Tensor> sums;
  for (std::int64_t v = 0; v < vectors; ++v) {
    std::vector<double> total(static_cast<std::size_t>(width));
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      const C* const row = from + (chunk * vectors + v) * width;
      for (std::int64_t i = 0; i < width; ++i) total[static_cast<std::size_t>(i)] += static_cast<double>(row[i]);
    }
    sums.push_back(at::empty({width}, partial.options()));
    std::transform(total.begin(), total.end(), mutable_data<C>(sums.back()),
                   [](double value) { return static_cast<C>(value); });
  }
  return sums;
}

// A seed that fits a signed integer, which is what autograd can keep.
std::int64_t drawn_seed(double dropout) {
  if (dropout == 0) return 0;
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  return static_cast<std::int64_t>(at::check_generator<at::CPUGeneratorImpl>(generator)->random64() >> 1);
}

Dropout dropout_of(double probability, std::int64_t seed, std::int64_t first = 0) {
  const double dropped = std::round(probability * 65536);
  return {.seed = static_cast<std::uint64_t>(seed),
          .drop_below = static_cast<std::uint32_t>(dropped),
          .scale = 65536 / (65536 - dropped),
          .first = first};
}

Dropout saved_dropout(AutogradContext* context) {
  return dropout_of(context->saved_data["dropout"].toDouble(), context->saved_data["seed"].toInt());
}

struct ResidualNorm : torch::autograd::Function<ResidualNorm> {
  static tensor_list forward(AutogradContext* context, const std::optional<at::Tensor>& x_, const at::Tensor& y_,
                             const std::optional<at::Tensor>& y_bias, const at::Tensor& weight, const at::Tensor& bias,
                             double eps, double dropout) {
    const at::Tensor x = x_.has_value() ? x_->contiguous() : at::Tensor(), y = y_.contiguous();
    RECORD_FUNCTION("lra::residual_norm", std::vector<c10::IValue>({x, y}));
    const std::int64_t rows = y.size(0), width = y.size(1), seed = drawn_seed(dropout);
    const at::Tensor added = y_bias.has_value() ? *y_bias : at::zeros({width}, weight.options());
    const at::Tensor sum = at::empty({rows, width}, weight.options()), norm = at::empty_like(sum),
                     mean = at::empty({rows}, weight.options()), rstd = at::empty_like(mean);
    with_types(sum, y, [&]<class C, class S>(C, S) {
      const fused::ResidualNorm<C, S> in{.width = width,
                                         .eps = eps,
                                         .dropout = dropout_of(dropout, seed),
                                         .x = data<C>(x),
                                         .y = data<S>(y),
                                         .y_bias = data<C>(added),
                                         .weight = data<C>(weight),
                                         .bias = data<C>(bias),
                                         .sum = mutable_data<C>(sum),
                                         .norm = mutable_data<C>(norm),
                                         .mean = mutable_data<C>(mean),
                                         .rstd = mutable_data<C>(rstd)};
      for_chunks(rows, [&](std::int64_t, std::int64_t first, std::int64_t last) {
        kernels<C, S>().residual_norm(in, first, last);
      });
    });
    guard.setOutputs(std::vector<c10::IValue>{sum, norm});
    context->save_for_backward({sum, mean, rstd, weight});
    context->saved_data["dropout"] = dropout;
    context->saved_data["seed"] = seed;
    context->saved_data["y_type"] = static_cast<std::int64_t>(y.scalar_type());
    context->saved_data["x"] = x.defined();
    context->saved_data["y_bias"] = y_bias.has_value();
    context->set_materialize_grads(false);
    return {sum, norm};
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("residual_norm");
    const auto saved = context->get_saved_variables();
    const at::Tensor &sum = saved[0], &mean = saved[1], &rstd = saved[2], &weight = saved[3];
    const at::Tensor grad_sum = gradients[0].defined() ? gradients[0].contiguous() : at::Tensor();
    const at::Tensor grad_norm = gradients[1].defined() ? gradients[1].contiguous() : at::zeros_like(sum);
    RECORD_FUNCTION("lra::residual_norm_backward", std::vector<c10::IValue>({grad_sum, grad_norm, sum}));
    const std::int64_t rows = sum.size(0), width = sum.size(1);
    const auto y_type = static_cast<at::ScalarType>(context->saved_data["y_type"].toInt());
    const Dropout dropout = saved_dropout(context);
    const bool has_x = context->saved_data["x"].toBool();
    const at::Tensor grad_x = has_x ? at::empty_like(sum) : at::Tensor();
    // Without dropout both gradients are the same.
    const bool same = has_x && dropout.drop_below == 0 && y_type == sum.scalar_type();
    const at::Tensor grad_y = same ? at::Tensor() : at::empty(sum.sizes(), sum.options().dtype(y_type));
    const at::Tensor partial = at::zeros({chunk_count(rows), 3, width}, sum.options());
    std::vector<at::Tensor> sums;
    with_types(sum, same ? grad_x : grad_y, [&]<class C, class S>(C, S) {
      fused::ResidualNormBackward<C, S> in{.width = width,
                                           .dropout = dropout,
                                           .grad_sum = data<C>(grad_sum),
                                           .grad_norm = data<C>(grad_norm),
                                           .sum = data<C>(sum),
                                           .mean = data<C>(mean),
                                           .rstd = data<C>(rstd),
                                           .weight = data<C>(weight),
                                           .grad_x = mutable_data<C>(grad_x),
                                           .grad_y = mutable_data<S>(grad_y),
                                           .grad_y_bias = nullptr,
                                           .grad_weight = nullptr,
                                           .grad_bias = nullptr};
      C* const vectors = mutable_data<C>(partial);
      for_chunks(rows, [&](std::int64_t chunk, std::int64_t first, std::int64_t last) {
        auto part = in;
        part.grad_y_bias = vectors + 3 * chunk * width;
        part.grad_weight = part.grad_y_bias + width;
        part.grad_bias = part.grad_weight + width;
        kernels<C, S>().residual_norm_backward(part, first, last);
      });
      sums = sum_of_chunks<C>(partial);
    });
    guard.setOutputs(std::vector<c10::IValue>{grad_x, grad_y});
    const bool has_y_bias = context->saved_data["y_bias"].toBool();
    return {grad_x, same ? grad_x : grad_y, has_y_bias ? sums[0] : at::Tensor(), sums[1], sums[2], {}, {}};
  }
};

struct BiasGelu : torch::autograd::Function<BiasGelu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_, const at::Tensor& bias, bool tanh,
                            double dropout) {
    const at::Tensor x = x_.contiguous();
    RECORD_FUNCTION("lra::bias_gelu", std::vector<c10::IValue>({x}));
    const std::int64_t rows = x.size(0), seed = drawn_seed(dropout);
    const at::Tensor out = at::empty_like(x);
    with_types(bias, x, [&]<class C, class S>(C, S) {
      const fused::BiasGelu<C, S> in{.width = x.size(1),
                                     .tanh = tanh,
                                     .dropout = dropout_of(dropout, seed),
                                     .x = data<S>(x),
                                     .bias = data<C>(bias),
                                     .out = mutable_data<S>(out)};
      for_chunks(rows, [&](std::int64_t, std::int64_t first, std::int64_t last) {
        kernels<C, S>().bias_gelu(in, first, last);
      });
    });
    guard.setOutputs(std::vector<c10::IValue>{out});
    context->save_for_backward({x, bias});
    context->saved_data["dropout"] = dropout;
    context->saved_data["seed"] = seed;
    context->saved_data["tanh"] = tanh;
    return out;
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("bias_gelu");
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &bias = saved[1];
    const at::Tensor grad_out = gradients[0].contiguous();
    RECORD_FUNCTION("lra::bias_gelu_backward", std::vector<c10::IValue>({grad_out, x}));
    const std::int64_t rows = x.size(0), width = x.size(1);
    const at::Tensor grad_x = at::empty_like(x);
    const at::Tensor partial = at::zeros({chunk_count(rows), 1, width}, bias.options());
    std::vector<at::Tensor> sums;
    with_types(bias, x, [&]<class C, class S>(C, S) {
      const fused::BiasGeluBackward<C, S> in{.width = width,
                                             .tanh = context->saved_data["tanh"].toBool(),
                                             .dropout = saved_dropout(context),
                                             .grad_out = data<S>(grad_out),
                                             .x = data<S>(x),
                                             .bias = data<C>(bias),
                                             .grad_x = mutable_data<S>(grad_x),
                                             .grad_bias = nullptr};
      C* const vectors = mutable_data<C>(partial);
      for_chunks(rows, [&](std::int64_t chunk, std::int64_t first, std::int64_t last) {
        auto part = in;
        part.grad_bias = vectors + chunk * width;
        kernels<C, S>().bias_gelu_backward(part, first, last);
      });
      sums = sum_of_chunks<C>(partial);
    });
    guard.setOutputs(std::vector<c10::IValue>{grad_x});
    return {grad_x, sums[0], {}, {}};
  }
};

// The rows of a feed-forward part go through it in blocks that stay in a processor's first two caches.
constexpr std::int64_t rows_at_once = 96;

struct FeedForward {
  at::Tensor norm_weight, norm_bias, expand, expand_bias, contract, contract_bias, next_weight, next_bias;
  at::Tensor sum, mean, rstd, out, out_mean, out_rstd;  // by row
  double eps, next_eps, dropout;
  bool tanh;
  std::array<std::int64_t, 3> seeds;
  at::Tensor expand_by_input;                     // (D, inner)
  at::Tensor zeros = {}, contract_by_input = {};  // (D), (inner, D): read by the forward pass

  std::int64_t width() const { return contract.size(0); }
  std::int64_t inner() const { return contract.size(1); }
  Dropout dropout_at(std::size_t place, std::int64_t first, std::int64_t elements_of_row) const {
    return dropout_of(dropout, seeds[place], first * elements_of_row);
  }
  tensor_list tensors() const {
    return {norm_weight, norm_bias, expand, expand_bias, contract, contract_bias, next_weight,
            next_bias,   sum,       mean,   rstd,        out,      out_mean,      out_rstd};
  }
};

// What lies at a row of (rows, width) or (rows); nullptr where the tensor is undefined.
template <class C>
C* at_row(const at::Tensor& tensor, std::int64_t row) {
  return tensor.defined() ? mutable_data<C>(tensor) + row * tensor.stride(0) : nullptr;
}

// Hands out a thread's memory for the rows of a block.
template <class C>
class Block {
 public:
  explicit Block(C* memory) : next_(memory) {}
  C* take(std::int64_t width) {
    C* const rows = next_;
    next_ += rows_at_once * width;
    return rows;
  }

 private:
  C* next_;
};

template <class C>
void linear(std::int64_t rows, const C* x, const at::Tensor& by_input, C* y) {
  const cpu::LinearMap<C> map{.width = by_input.size(1), .transposed = data<C>(by_input), .y = y};
  cpu::kernels().linear_forward(
      cpu::LinearMaps<C>{.width = by_input.size(0), .last = rows, .x = x, .maps = &map, .count = 1});
}

template <class C>
void linear_backward(std::int64_t rows, const C* x, const at::Tensor& weight, const C* grad_y, C* grad_x,
                     C* grad_weight) {
  const cpu::LinearMap<C> map{
      .width = weight.size(0), .weight = data<C>(weight), .grad_y = grad_y, .grad_weight = grad_weight};
  cpu::kernels().linear_backward(
      cpu::LinearMaps<C>{.width = weight.size(1), .last = rows, .x = x, .grad_x = grad_x, .maps = &map, .count = 1});
}

// Numbers of scratch memory that feed_forward_rows and feed_forward_backward_rows need.
std::int64_t forward_scratch(const FeedForward& f) { return rows_at_once * (2 * f.width() + 2 * f.inner()); }
std::int64_t backward_scratch(const FeedForward& f) { return rows_at_once * (4 * f.width() + 5 * f.inner()); }

template <class C>
void feed_forward_rows(const FeedForward& f, const at::Tensor& x, const at::Tensor& y, const at::Tensor& out_norm,
                       C* scratch, std::int64_t first, std::int64_t last) {
  const std::int64_t width = f.width(), inner = f.inner();
  Block<C> block(scratch);
  C *const norm = block.take(width), *const branch = block.take(width), *const wide = block.take(inner),
           *const active = block.take(inner);
  for (; first < last; first += rows_at_once) {
    const std::int64_t rows = std::min(rows_at_once, last - first);
    C* const sum = at_row<C>(f.sum, first);
    kernels<C, C>().residual_norm(
        {width, f.eps, f.dropout_at(0, first, width), at_row<C>(x, first), at_row<C>(y, first), data<C>(f.zeros),
         data<C>(f.norm_weight), data<C>(f.norm_bias), sum, norm, at_row<C>(f.mean, first), at_row<C>(f.rstd, first)},
        0, rows);
    linear(rows, norm, f.expand_by_input, wide);
    kernels<C, C>().bias_gelu({inner, f.tanh, f.dropout_at(1, first, inner), wide, data<C>(f.expand_bias), active}, 0,
                              rows);
    linear(rows, active, f.contract_by_input, branch);
    kernels<C, C>().residual_norm(
        {width, f.next_eps, f.dropout_at(2, first, width), sum, branch, data<C>(f.contract_bias),
         data<C>(f.next_weight), data<C>(f.next_bias), at_row<C>(f.out, first), at_row<C>(out_norm, first),
         at_row<C>(f.out_mean, first), at_row<C>(f.out_rstd, first)},
        0, rows);
  }
}

// Sums over the rows of one chunk, which are added to.
template <class C>
struct FeedForwardSums {
  C *contract_bias, *next_weight, *next_bias, *unused, *norm_weight, *norm_bias, *expand_bias, *expand, *contract;
};

template <class C>
void feed_forward_backward_rows(const FeedForward& f, const at::Tensor& grad_out, const at::Tensor& grad_norm,
                                const at::Tensor& grad_x, const at::Tensor& grad_y, const FeedForwardSums<C>& sums,
                                C* scratch, std::int64_t first, std::int64_t last) {
  const std::int64_t width = f.width(), inner = f.inner();
  Block<C> block(scratch);
  C *const norm = block.take(width), *const grad_sum = block.take(width), *const grad_branch = block.take(width),
           *const grad_of_norm = block.take(width);
  C *const wide = block.take(inner), *const active = block.take(inner), *const slope = block.take(inner);
  C *const grad_active = block.take(inner), *const grad_wide = block.take(inner);
  for (; first < last; first += rows_at_once) {
    const std::int64_t rows = std::min(rows_at_once, last - first);
    const C* const sum = at_row<C>(f.sum, first);
    const C *const mean = at_row<C>(f.mean, first), *const rstd = at_row<C>(f.rstd, first);
    kernels<C, C>().norm_again({width, sum, mean, rstd, data<C>(f.norm_weight), data<C>(f.norm_bias), norm}, 0, rows);
    linear(rows, norm, f.expand_by_input, wide);
    kernels<C, C>().bias_gelu(
        {inner, f.tanh, f.dropout_at(1, first, inner), wide, data<C>(f.expand_bias), active, slope}, 0, rows);
    kernels<C, C>().residual_norm_backward(
        {width, f.dropout_at(2, first, width), at_row<C>(grad_out, first), at_row<C>(grad_norm, first),
         at_row<C>(f.out, first), at_row<C>(f.out_mean, first), at_row<C>(f.out_rstd, first), data<C>(f.next_weight),
         grad_sum, grad_branch, sums.contract_bias, sums.next_weight, sums.next_bias},
        0, rows);
    linear_backward(rows, active, f.contract, grad_branch, grad_active, sums.contract);
    kernels<C, C>().bias_gelu_backward(
        {inner, f.tanh, {}, grad_active, nullptr, nullptr, grad_wide, sums.expand_bias, slope}, 0, rows);
    linear_backward(rows, norm, f.expand, grad_wide, grad_of_norm, sums.expand);
    kernels<C, C>().residual_norm_backward(
        {width, f.dropout_at(0, first, width), grad_sum, grad_of_norm, sum, mean, rstd, data<C>(f.norm_weight),
         at_row<C>(grad_x, first), at_row<C>(grad_y, first), sums.unused, sums.norm_weight, sums.norm_bias},
        0, rows);
  }
}

struct FeedForwardFunction : torch::autograd::Function<FeedForwardFunction> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& x_, const at::Tensor& y_,
                             const at::Tensor& norm_weight, const at::Tensor& norm_bias, const at::Tensor& expand,
                             const at::Tensor& expand_bias, const at::Tensor& contract, const at::Tensor& contract_bias,
                             const at::Tensor& next_weight, const at::Tensor& next_bias, double eps, double next_eps,
                             bool tanh, double dropout) {
    const at::Tensor x = x_.contiguous(), y = y_.contiguous(), out_norm = at::empty_like(x);
    const std::int64_t rows = x.size(0);
    const auto statistics = [&] { return at::empty({rows}, x.options()); };
    const FeedForward f{.norm_weight = norm_weight,
                        .norm_bias = norm_bias,
                        .expand = expand.contiguous(),
                        .expand_bias = expand_bias,
                        .contract = contract.contiguous(),
                        .contract_bias = contract_bias,
                        .next_weight = next_weight,
                        .next_bias = next_bias,
                        .sum = at::empty_like(x),
                        .mean = statistics(),
                        .rstd = statistics(),
                        .out = at::empty_like(x),
                        .out_mean = statistics(),
                        .out_rstd = statistics(),
                        .eps = eps,
                        .next_eps = next_eps,
                        .dropout = dropout,
                        .tanh = tanh,
                        .seeds = {drawn_seed(dropout), drawn_seed(dropout), drawn_seed(dropout)},
                        .expand_by_input = expand.t().contiguous(),
                        .zeros = at::zeros({contract.size(0)}, x.options()),
                        .contract_by_input = contract.t().contiguous()};
    RECORD_FUNCTION(
        "lra::feed_forward",
        std::vector<c10::IValue>({x, y, 4.0 * static_cast<double>(x.numel()) * static_cast<double>(f.inner())}));
    with_types(x, x, [&]<class C, class S>(C, S) {
      for_chunks<C>(rows, forward_scratch(f), [&](std::int64_t, std::int64_t first, std::int64_t last, C* scratch) {
        feed_forward_rows<C>(f, x, y, out_norm, scratch, first, last);
      });
    });
    guard.setOutputs(std::vector<c10::IValue>{f.out, out_norm});
    context->save_for_backward(f.tensors());
    context->saved_data["numbers"] = std::vector<double>{eps, next_eps, dropout, tanh ? 1.0 : 0.0};
    context->saved_data["seeds"] = std::vector<std::int64_t>(f.seeds.begin(), f.seeds.end());
    context->set_materialize_grads(false);
    return {f.out, out_norm};
  }

  template <class C>
  static tensor_list gradients_of(const FeedForward& f, const at::Tensor& grad_out, const at::Tensor& grad_norm) {
    const std::int64_t rows = f.sum.size(0), width = f.width(), inner = f.inner(), chunks = chunk_count(rows);
    const at::Tensor grad_x = at::empty_like(f.sum), grad_y = f.dropout > 0 ? at::empty_like(f.sum) : at::Tensor();
    const at::Tensor vectors = at::zeros({chunks, 6, width}, f.sum.options()),
                     inner_vectors = at::zeros({chunks, 1, inner}, f.sum.options());
    const at::Tensor matrices = at::zeros({chunks, 2, width * inner}, f.sum.options());
    for_chunks<C>(
        rows, backward_scratch(f), [&](std::int64_t chunk, std::int64_t first, std::int64_t last, C* scratch) {
          C *const v = at_row<C>(vectors, chunk), *const m = at_row<C>(matrices, chunk);
          feed_forward_backward_rows<C>(f, grad_out, grad_norm, grad_x, grad_y,
                                        {v, v + width, v + 2 * width, v + 3 * width, v + 4 * width, v + 5 * width,
                                         at_row<C>(inner_vectors, chunk), m, m + width * inner},
                                        scratch, first, last);
        });
    const auto sums = sum_of_chunks<C>(vectors);
    const at::Tensor of_matrices = matrices.sum(0);
    return {grad_x,
            f.dropout > 0 ? grad_y : grad_x,
            sums[4],
            sums[5],
            of_matrices[0].view({inner, width}),
            sum_of_chunks<C>(inner_vectors)[0],
            of_matrices[1].view({width, inner}),
            sums[0],
            sums[1],
            sums[2],
            {},
            {},
            {},
            {}};
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("feed_forward");
    const auto t = context->get_saved_variables();
    const auto numbers = context->saved_data["numbers"].toDoubleVector();
    const auto seeds = context->saved_data["seeds"].toIntVector();
    const FeedForward f{.norm_weight = t[0],
                        .norm_bias = t[1],
                        .expand = t[2],
                        .expand_bias = t[3],
                        .contract = t[4],
                        .contract_bias = t[5],
                        .next_weight = t[6],
                        .next_bias = t[7],
                        .sum = t[8],
                        .mean = t[9],
                        .rstd = t[10],
                        .out = t[11],
                        .out_mean = t[12],
                        .out_rstd = t[13],
                        .eps = numbers[0],
                        .next_eps = numbers[1],
                        .dropout = numbers[2],
                        .tanh = numbers[3] > 0,
                        .seeds = {seeds[0], seeds[1], seeds[2]},
                        .expand_by_input = t[2].t().contiguous()};
    const at::Tensor grad_out = gradients[0].defined() ? gradients[0].contiguous() : at::Tensor();
    const at::Tensor grad_norm = gradients[1].defined() ? gradients[1].contiguous() : at::zeros_like(f.sum);
    RECORD_FUNCTION("lra::feed_forward_backward", std::vector<c10::IValue>({grad_out, grad_norm, f.sum, f.out,
                                                                            10.0 * static_cast<double>(f.sum.numel()) *
                                                                                static_cast<double>(f.inner())}));
    tensor_list result = f.sum.scalar_type() == at::kDouble ? gradients_of<double>(f, grad_out, grad_norm)
                                                            : gradients_of<float>(f, grad_out, grad_norm);
    guard.setOutputs(std::vector<c10::IValue>{result[0], result[1]});
    return result;
  }
};

at::Tensor drop(const at::Tensor& x, double probability) {
  return probability > 0 ? at::dropout(x, probability, true) : x;
}

}  // namespace

SumAndNorm residual_norm(const at::Tensor& x, const at::Tensor& y, const at::Tensor& y_bias,
                         const NormParameters& parameters, double dropout) {
  TORCH_CHECK(y.dim() == 2 && (!x.defined() || x.sizes() == y.sizes()),
              "residual_norm: expected two matrices of one shape, found ", x.defined() ? x.sizes() : y.sizes(), " and ",
              y.sizes());
  const at::Tensor& weight = parameters.weight;
  if (have_kernels(weight, y) && (!x.defined() || x.scalar_type() == weight.scalar_type())) {
    const auto out =
        ResidualNorm::apply(if_defined(x), y, if_defined(y_bias), weight, parameters.bias, parameters.eps, dropout);
    return {out[0], out[1]};
  }
  const at::Tensor branch = drop(y_bias.defined() ? y + y_bias.to(y.scalar_type()) : y, dropout),
                   sum = x.defined() ? x + branch : branch;
  return {sum, at::layer_norm(sum, weight.sizes(), weight, parameters.bias, parameters.eps)};
}

at::Tensor bias_gelu(const at::Tensor& x, const at::Tensor& bias, bool tanh, double dropout) {
  TORCH_CHECK(x.dim() == 2 && bias.dim() == 1 && x.size(1) == bias.size(0), "bias_gelu: a matrix of ", x.sizes(),
              " and a bias of ", bias.sizes());
  if (have_kernels(bias, x)) return BiasGelu::apply(x, bias, tanh, dropout);
  return drop(at::gelu(x + bias.to(x.scalar_type()), tanh ? "tanh" : "none"), dropout);
}

SumAndNorm feed_forward(const at::Tensor& x, at::Tensor y, const NormParameters& norm,
                        const FeedForwardParameters& maps, const NormParameters& next, bool tanh, double dropout) {
  if (projections_have_kernel(x, {maps.expand, maps.contract}) && y.scalar_type() == x.scalar_type() &&
      x.scalar_type() == norm.weight.scalar_type() && !at::autocast::is_autocast_enabled(at::kCPU)) {
    const auto out =
        FeedForwardFunction::apply(x, y, norm.weight, norm.bias, maps.expand, maps.expand_bias, maps.contract,
                                   maps.contract_bias, next.weight, next.bias, norm.eps, next.eps, tanh, dropout);
    return {out[0], out[1]};
  }
  const auto [sum, normal] = residual_norm(x, y, {}, norm, dropout);
  y.reset();  // nothing keeps it
  const at::Tensor active = bias_gelu(projections(normal, {maps.expand}, {})[0], maps.expand_bias, tanh, dropout);
  return residual_norm(sum, projections(active, {maps.contract}, {})[0], maps.contract_bias, next, dropout);
}

}  // namespace lra::ops
