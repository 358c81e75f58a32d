#include "ops/embeddings.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "ops/autograd.h"

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct Embeddings : torch::autograd::Function<Embeddings> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& tokens, const at::Tensor& ids_,
                            const at::Tensor& positions, const at::Tensor& places_) {
    RECORD_FUNCTION("lra::embeddings", std::vector<c10::IValue>({tokens, ids_, positions, places_}));
    const at::Tensor ids = ids_.contiguous(), places = places_.contiguous(), words = tokens.contiguous(),
                     seats = positions.contiguous();
    const std::int64_t width = tokens.size(1), *const id = ids.const_data_ptr<std::int64_t>(),
                       *const place = places.const_data_ptr<std::int64_t>();
    const auto within = [](const std::int64_t* number, std::int64_t count, std::int64_t size) {
      return std::all_of(number, number + count, [size](std::int64_t i) { return i >= 0 && i < size; });
    };
    TORCH_CHECK(within(id, ids.numel(), tokens.size(0)) && within(place, places.numel(), positions.size(0)),
                "embeddings: a number beyond its table");
    const at::Tensor out = at::empty({ids.size(0), width}, tokens.options());
    AT_DISPATCH_FLOATING_TYPES(tokens.scalar_type(), "embeddings", [&] {
      const auto* const word = words.const_data_ptr<scalar_t>();
      const auto* const seat = seats.const_data_ptr<scalar_t>();
      auto* const rows = out.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, ids.size(0), 64, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          const auto* const a = word + id[i] * width;
          const auto* const b = seat + place[i] * width;
          auto* const __restrict row = rows + i * width;
          for (std::int64_t c = 0; c < width; ++c) row[c] = a[c] + b[c];
        }
      });
    });
    guard.setOutputs(std::vector<c10::IValue>{out});
    context->save_for_backward({ids, places});
    context->saved_data["rows"] = std::vector<std::int64_t>{tokens.size(0), positions.size(0)};
    return out;
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("embeddings");
    RECORD_FUNCTION("lra::embeddings_backward", std::vector<c10::IValue>({gradients[0]}));
    const tensor_list saved = context->get_saved_variables();
    const auto rows = context->saved_data["rows"].toIntVector();
    const at::Tensor gradient = gradients[0].contiguous();
    const auto sum_into = [&](const at::Tensor& numbers, std::int64_t size, bool wanted) {
      if (!wanted) return at::Tensor();
      const std::int64_t width = gradient.size(1), *const number = numbers.const_data_ptr<std::int64_t>();
      const at::Tensor sums = at::zeros({size, width}, gradient.options());
      AT_DISPATCH_FLOATING_TYPES(gradient.scalar_type(), "embeddings_backward", [&] {
        const auto* const from = gradient.const_data_ptr<scalar_t>();
        auto* const to = sums.mutable_data_ptr<scalar_t>();
        // Each thread has some columns of all rows, which it adds in their order.
        at::parallel_for(0, width, 16, [&](std::int64_t first, std::int64_t last) {
          for (std::int64_t i = 0; i < numbers.numel(); ++i) {
            const auto* const row = from + i * width;
            auto* const __restrict sum = to + number[i] * width;
            for (std::int64_t c = first; c < last; ++c) sum[c] += row[c];
          }
        });
      });
      return sums;
    };
    return {sum_into(saved[0], rows[0], context->needs_input_grad(0)),
            {},
            sum_into(saved[1], rows[1], context->needs_input_grad(2)),
            {}};
  }
};

}  // namespace

at::Tensor embeddings(const at::Tensor& tokens, const at::Tensor& ids, const at::Tensor& positions,
                      const at::Tensor& places) {
  TORCH_CHECK(tokens.dim() == 2 && positions.dim() == 2 && tokens.size(1) == positions.size(1) &&
                  ids.sizes() == places.sizes() && ids.dim() == 1,
              "embeddings: tables of ", tokens.sizes(), " and ", positions.sizes(), ", numbers of ", ids.sizes(),
              " and ", places.sizes());
  if (!tokens.is_cpu()) return at::embedding(tokens, ids) + at::embedding(positions, places);
  return Embeddings::apply(tokens, ids, positions, places);
}

}  // namespace lra::ops
