#include "ops/shared_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/_softmax_backward_data.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "ops/autograd.h"
#include "ops/masked_logit.h"

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr std::int64_t block_rows = 64;

// Sequences with the same weights, by their first tokens.
struct Group {
  std::int64_t n;
  std::vector<std::int64_t> first;
};

// The longest first: what its gradient writes need not be zero before.
std::vector<Group> groups_of(at::IntArrayRef lengths, bool alike) {
  std::vector<Group> groups;
  std::map<std::int64_t, std::size_t> of_length;
  std::int64_t first = 0;
  for (const std::int64_t n : lengths) {
    const auto [found, is_new] = of_length.try_emplace(n, groups.size());
    if (is_new || !alike) {
      groups.push_back({n, {first}});
    } else {
      groups[found->second].first.push_back(first);
    }
    first += n;
  }
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.n > b.n; });
  return groups;
}

struct Shared {
  at::Tensor v, logits, right, visible;

  at::Tensor values(const at::Tensor& x, std::int64_t h, std::int64_t first, std::int64_t count) const {
    return x.select(1, h).narrow(0, first, count);
  }
  // The weights of rows row .. row + count - 1.
  at::Tensor weights(const Group& group, std::int64_t h, std::int64_t row, std::int64_t count) const {
    at::Tensor block = logits.select(0, h).narrow(0, row, count);
    block = right.defined() ? at::mm(block, right.select(0, h).narrow(0, 0, group.n).t()) : block.narrow(1, 0, group.n);
    const at::Tensor hidden =
        visible.defined() ? visible.narrow(0, group.first[0], group.n).logical_not() : at::Tensor();
    if (visible.defined()) block = block.masked_fill(hidden, masked_logit);
    const at::Tensor weights = at::_softmax(block, -1, false);
    return visible.defined() ? weights.masked_fill(hidden, 0) : weights;  // where nothing is visible
  }
};

// Heads on threads of their own, where there are enough of them.
void for_each_head(std::int64_t heads, const std::function<void(std::int64_t)>& work) {
  if (heads < at::get_num_threads()) {
    for (std::int64_t h = 0; h < heads; ++h) work(h);
    return;
  }
  at::parallel_for(0, heads, 1, [&](std::int64_t first, std::int64_t last) {
    const at::AutoDispatchBelowADInplaceOrView guard;  // other threads do not know that gradients are off
    for (std::int64_t h = first; h < last; ++h) work(h);
  });
}

struct SharedAttention : torch::autograd::Function<SharedAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& v, const at::Tensor& logits,
                            const std::optional<at::Tensor>& right, const std::optional<at::Tensor>& visible,
                            std::vector<std::int64_t> lengths) {
    const Shared shared{v, logits, right.value_or(at::Tensor()), visible.value_or(at::Tensor())};
    context->save_for_backward({v, logits, shared.right, shared.visible});
    context->saved_data["lengths"] = lengths;
    const at::Tensor out = at::empty(v.sizes(), v.options());
    const auto groups = groups_of(lengths, !visible.has_value());
    for_each_head(v.size(1), [&](std::int64_t h) {
      for (const Group& group : groups) {
        for (std::int64_t row = 0; row < group.n; row += block_rows) {
          const std::int64_t count = std::min(block_rows, group.n - row);
          const at::Tensor weights = shared.weights(group, h, row, count);
          for (const std::int64_t first : group.first) {
            at::Tensor part = shared.values(out, h, first + row, count);
            at::mm_out(part, weights, shared.values(v, h, first, group.n));
          }
        }
      }
    });
    return out;
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("shared_attention");
    const tensor_list saved = context->get_saved_variables();
    const Shared shared{saved[0], saved[1], saved[2], saved[3]};
    const at::Tensor &v = shared.v, &right = shared.right, grad = gradients[0].contiguous();
    const auto groups = groups_of(context->saved_data["lengths"].toIntVector(), !shared.visible.defined());
    const bool product = right.defined(), whole = groups[0].n == shared.logits.size(1) && !product;
    const at::Tensor grad_v = at::empty(v.sizes(), v.options());
    const at::Tensor grad_logits =
        whole ? at::empty(shared.logits.sizes(), v.options()) : at::zeros(shared.logits.sizes(), v.options());
    const at::Tensor grad_right = product ? at::zeros(right.sizes(), v.options()) : at::Tensor();
    for_each_head(v.size(1), [&](std::int64_t h) {
      for (const Group& group : groups) {
        for (std::int64_t row = 0; row < group.n; row += block_rows) {
          const std::int64_t count = std::min(block_rows, group.n - row);
          const at::Tensor weights = shared.weights(group, h, row, count);
          at::Tensor grad_weights = at::empty({count, group.n}, v.options());
          for (const std::int64_t first : group.first) {
            const at::Tensor grad_out = shared.values(grad, h, first + row, count),
                             values = shared.values(v, h, first, group.n).t();
            at::Tensor part = shared.values(grad_v, h, first, group.n);
            if (row == 0) {
              at::mm_out(part, weights.t(), grad_out);
            } else {
              part.addmm_(weights.t(), grad_out);
            }
            if (first == group.first[0]) {
              at::mm_out(grad_weights, grad_out, values);
            } else {
              grad_weights.addmm_(grad_out, values);
            }
          }
          at::Tensor of_rows = grad_logits.select(0, h).narrow(0, row, count);
          if (whole && &group == groups.data()) {
            at::_softmax_backward_data_out(of_rows, grad_weights, weights, -1, v.scalar_type());
            continue;
          }
          const at::Tensor grad_block = at::_softmax_backward_data(grad_weights, weights, -1, v.scalar_type());
          if (product) {
            of_rows.addmm_(grad_block, right.select(0, h).narrow(0, 0, group.n));
            grad_right.select(0, h)
                .narrow(0, 0, group.n)
                .addmm_(grad_block.t(), shared.logits.select(0, h).narrow(0, row, count));
          } else {
            of_rows.narrow(1, 0, group.n).add_(grad_block);
          }
        }
      }
    });
    return {grad_v, grad_logits, grad_right, {}, {}};
  }
};

}  // namespace

at::Tensor shared_attention(const at::Tensor& v, const at::Tensor& logits, const at::Tensor& right,
                            at::IntArrayRef lengths, const at::Tensor& visible) {
  const auto type = v.scalar_type();
  return SharedAttention::apply(v, logits.to(type), right.defined() ? std::optional(right.to(type)) : std::nullopt,
                                if_defined(visible), lengths.vec());
}

}  // namespace lra::ops
