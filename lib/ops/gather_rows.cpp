#include "ops/gather_rows.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

template <class T>
struct Rows {  // of one head
  T* first;
  std::int64_t step, d;
  T* row(std::int64_t i) const { return first + i * step; }
};

template <class T>
Rows<T> rows_of(const at::Tensor& x, std::int64_t b, std::int64_t h) {
  TORCH_CHECK(x.stride(3) == 1, "rows must lie in line");
  return {x.mutable_data_ptr<T>() + b * x.stride(0) + h * x.stride(1), x.stride(2), x.size(3)};
}

template <class T>
void add(const T* from, T scale, T* to, std::int64_t d) {
  for (std::int64_t c = 0; c < d; ++c) to[c] += scale * from[c];
}

// work(b, h) for all heads, on all threads.
template <class Work>
void for_heads(const at::Tensor& x, const Work& work) {
  const std::int64_t heads = x.size(1);
  at::parallel_for(0, x.size(0) * heads, 1, [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t i = from; i < to; ++i) work(i / heads, i % heads);
  });
}

// In how many rows each place is.
std::vector<std::int32_t> counts(const std::int64_t* place, std::int64_t rows, std::int64_t n) {
  std::vector<std::int32_t> takers(static_cast<std::size_t>(n), 0);
  for (std::int64_t m = 0; m < rows; ++m) ++takers[static_cast<std::size_t>(place[m])];
  return takers;
}

// 1 / the number of rows at place i.
template <class T>
T share_of(const std::vector<std::int32_t>& takers, std::int64_t i) {
  return T{1} / static_cast<T>(static_cast<float>(takers[static_cast<std::size_t>(i)]));
}

struct GatherRows : torch::autograd::Function<GatherRows> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& places) {
    context->saved_data["places"] = places;
    context->saved_data["n"] = x.size(2);
    const at::Tensor out = at::empty({x.size(0), x.size(1), places.size(2), x.size(3)}, x.options());
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "gather_rows", [&] {
      for_heads(x, [&](std::int64_t b, std::int64_t h) {
        const auto from = rows_of<scalar_t>(x, b, h), to = rows_of<scalar_t>(out, b, h);
        const auto* place = places.const_data_ptr<std::int64_t>() + (b * x.size(1) + h) * places.size(2);
        for (std::int64_t m = 0; m < places.size(2); ++m) std::copy_n(from.row(place[m]), from.d, to.row(m));
      });
    });
    return out;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const at::Tensor places = context->saved_data["places"].toTensor(), gradient = gradients[0].contiguous();
    // As packed tokens have it, (B, N, H, d), so that it fits beside other gradients without a copy.
    const at::Tensor out = at::zeros({gradient.size(0), context->saved_data["n"].toInt(), gradient.size(1), gradient.size(3)}, gradient.options()).transpose(1, 2);
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, gradient.scalar_type(), "gather_rows_backward", [&] {
      for_heads(gradient, [&](std::int64_t b, std::int64_t h) {
        const auto from = rows_of<scalar_t>(gradient, b, h), to = rows_of<scalar_t>(out, b, h);
        const auto* place = places.const_data_ptr<std::int64_t>() + (b * gradient.size(1) + h) * places.size(2);
        for (std::int64_t m = 0; m < places.size(2); ++m) add<scalar_t>(from.row(m), 1, to.row(place[m]), from.d);
      });
    });
    return {out, {}};
  }
};

struct ScatterMean : torch::autograd::Function<ScatterMean> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& rows, const at::Tensor& places, const at::Tensor& otherwise) {
    context->saved_data["places"] = places;
    const at::Tensor given = rows.contiguous();
    const at::Tensor out = at::empty({otherwise.size(0), otherwise.size(2), otherwise.size(1), otherwise.size(3)}, otherwise.options()).transpose(1, 2);
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, rows.scalar_type(), "scatter_mean", [&] {
      for_heads(given, [&](std::int64_t b, std::int64_t h) {
        const auto from = rows_of<scalar_t>(given, b, h), rest = rows_of<scalar_t>(otherwise, b, h), to = rows_of<scalar_t>(out, b, h);
        const auto* place = places.const_data_ptr<std::int64_t>() + (b * given.size(1) + h) * places.size(2);
        const auto takers = counts(place, places.size(2), out.size(2));
        for (std::int64_t i = 0; i < out.size(2); ++i) {
          if (takers[static_cast<std::size_t>(i)] == 0) {
            std::copy_n(rest.row(i), to.d, to.row(i));
          } else {
            std::fill_n(to.row(i), to.d, scalar_t{0});
          }
        }
        for (std::int64_t m = 0; m < places.size(2); ++m) {
          add(from.row(m), share_of<scalar_t>(takers, place[m]), to.row(place[m]), to.d);
        }
      });
    });
    return out;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const at::Tensor places = context->saved_data["places"].toTensor();
    const at::Tensor gradient = gradients[0].stride(3) == 1 ? gradients[0] : gradients[0].contiguous();
    const std::int64_t heads = gradient.size(1), n = gradient.size(2), d = gradient.size(3);
    const at::Tensor of_rows = at::empty({gradient.size(0), heads, places.size(2), d}, gradient.options());
    const at::Tensor of_rest = at::empty({gradient.size(0), n, heads, d}, gradient.options()).transpose(1, 2);
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, gradient.scalar_type(), "scatter_mean_backward", [&] {
      for_heads(gradient, [&](std::int64_t b, std::int64_t h) {
        const auto from = rows_of<scalar_t>(gradient, b, h), to = rows_of<scalar_t>(of_rows, b, h), rest = rows_of<scalar_t>(of_rest, b, h);
        const auto* place = places.const_data_ptr<std::int64_t>() + (b * heads + h) * places.size(2);
        const auto takers = counts(place, places.size(2), n);
        for (std::int64_t i = 0; i < n; ++i) {
          if (takers[static_cast<std::size_t>(i)] == 0) {
            std::copy_n(from.row(i), d, rest.row(i));
          } else {
            std::fill_n(rest.row(i), d, scalar_t{0});
          }
        }
        for (std::int64_t m = 0; m < places.size(2); ++m) {
          const scalar_t share = share_of<scalar_t>(takers, place[m]);
          for (std::int64_t c = 0; c < d; ++c) to.row(m)[c] = share * from.row(place[m])[c];
        }
      });
    });
    return {of_rows, {}, of_rest};
  }
};

}  // namespace

at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& places) { return GatherRows::apply(x, places.contiguous()); }

at::Tensor scatter_mean(const at::Tensor& rows, const at::Tensor& places, const at::Tensor& otherwise) {
  return ScatterMean::apply(rows, places.contiguous(), otherwise);
}

}  // namespace lra::ops
