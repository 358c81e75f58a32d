#include "ops/map_places.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "ops/autograd.h"
#include "ops/packed_attention.h"

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// One sequence after another uses all threads in each product; many of them share the threads.
template <class Work>
void for_each_sequence(std::int64_t sequences, const Work& work) {
  if (sequences < 4 * at::get_num_threads()) {
    for (std::int64_t s = 0; s < sequences; ++s) work(s);
    return;
  }
  at::parallel_for(0, sequences, 1, [&](std::int64_t first, std::int64_t last) {
    const at::AutoDispatchBelowADInplaceOrView guard;  // other threads do not know that gradients are off
    for (std::int64_t s = first; s < last; ++s) work(s);
  });
}

// Where the sequences' rows are in x and in the result.
class Places {
 public:
  Places(const at::Tensor& weight, at::IntArrayRef lengths, Follows follows) {
    const std::int64_t rows = weight.size(-2), columns = weight.size(-1);
    for (const std::int64_t n : lengths) {
      TORCH_CHECK(n <= (follows.rows ? rows : n) && n <= (follows.columns ? columns : n), "map_places: ", n,
                  " places for a matrix ", weight.sizes());
      in_.push_back(in_.back() + (follows.columns ? n : columns));
      out_.push_back(out_.back() + (follows.rows ? n : rows));
    }
  }
  std::int64_t sequences() const { return static_cast<std::int64_t>(in_.size()) - 1; }
  std::int64_t rows() const { return out_.back(); }
  std::int64_t columns() const { return in_.back(); }
  std::int64_t rows(std::int64_t s) const { return at(out_, s + 1) - at(out_, s); }
  std::int64_t columns(std::int64_t s) const { return at(in_, s + 1) - at(in_, s); }
  // (rows, columns) of one head.
  at::Tensor matrix(const at::Tensor& weight, std::int64_t s, std::int64_t head) const {
    return (weight.dim() == 3 ? weight.select(0, head) : weight).narrow(0, 0, rows(s)).narrow(1, 0, columns(s));
  }
  at::Tensor in(const at::Tensor& x, std::int64_t s, std::int64_t head) const {
    return x.narrow(0, at(in_, s), columns(s)).select(1, head);
  }
  at::Tensor out(const at::Tensor& y, std::int64_t s, std::int64_t head) const {
    return y.narrow(0, at(out_, s), rows(s)).select(1, head);
  }

 private:
  static std::int64_t at(const std::vector<std::int64_t>& list, std::int64_t i) {
    return list[static_cast<std::size_t>(i)];
  }
  std::vector<std::int64_t> in_{0}, out_{0};
};

struct MapPlaces : torch::autograd::Function<MapPlaces> {
  // x (T, H, d)
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, std::vector<std::int64_t> lengths, bool rows_follow,
                            bool columns_follow) {
    const Places places(weight, lengths, {rows_follow, columns_follow});
    TORCH_CHECK(x.size(0) == places.columns(), "map_places: ", places.columns(), " rows expected, found ", x.sizes());
    context->save_for_backward({x, weight});
    context->saved_data["lengths"] = lengths;
    context->saved_data["rows_follow"] = rows_follow;
    context->saved_data["columns_follow"] = columns_follow;
    context->saved_data["bias"] = bias.has_value();
    const at::Tensor y = at::empty({places.rows(), x.size(1), x.size(2)}, x.options());
    for_each_sequence(places.sequences(), [&](std::int64_t s) {
      for (std::int64_t h = 0; h < x.size(1); ++h) {
        at::Tensor part = places.out(y, s, h);
        at::mm_out(part, places.matrix(weight, s, h), places.in(x, s, h));
        if (bias) part.add_(bias->narrow(0, 0, places.rows(s)).unsqueeze(1));
      }
    });
    return y;
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("map_places");
    const tensor_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], grad = gradients[0].contiguous();
    auto& data = context->saved_data;
    const Places places(weight, data["lengths"].toIntVector(),
                        {data["rows_follow"].toBool(), data["columns_follow"].toBool()});
    const at::Tensor grad_x = at::empty(x.sizes(), x.options()), grad_weight = at::empty_like(weight);
    for_each_sequence(places.sequences(), [&](std::int64_t s) {
      for (std::int64_t h = 0; h < x.size(1); ++h) {
        at::Tensor part = places.in(grad_x, s, h);
        at::mm_out(part, places.matrix(weight, s, h).t(), places.out(grad, s, h));
      }
    });
    // The longest first: what it writes need not be zero before.
    std::vector<std::int64_t> order(static_cast<std::size_t>(places.sequences()));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return std::max(places.rows(a), places.columns(a)) > std::max(places.rows(b), places.columns(b));
    });
    const std::int64_t rows = places.rows(order[0]), columns = places.columns(order[0]);
    grad_weight.narrow(-2, rows, weight.size(-2) - rows).zero_();
    grad_weight.narrow(-1, columns, weight.size(-1) - columns).zero_();
    for (std::int64_t h = 0; h < x.size(1); ++h) {
      for (const std::int64_t s : order) {
        at::Tensor part = places.matrix(grad_weight, s, h);
        if (s == order[0]) {
          at::mm_out(part, places.out(grad, s, h), places.in(x, s, h).t());
        } else {
          part.addmm_(places.out(grad, s, h), places.in(x, s, h).t());
        }
      }
    }
    at::Tensor grad_bias;
    if (data["bias"].toBool()) {
      grad_bias = at::zeros({weight.size(0)}, x.options());
      const at::Tensor sums = grad.flatten(1).sum(1);
      std::int64_t done = 0;
      for (std::int64_t s = 0; s < places.sequences(); done += places.rows(s++))
        grad_bias.narrow(0, 0, places.rows(s)).add_(sums.narrow(0, done, places.rows(s)));
    }
    return {grad_x, grad_weight, grad_bias, {}, {}, {}};
  }
};

// Slots of a sequence whose place number j exists.
std::int64_t slots_with(std::int64_t n, std::int64_t j, std::int64_t stride) {
  return n > j ? (n - j - 1) / stride + 1 : 0;
}

// Some sequences in a row that are like one, since each slot ends with its own stride.
struct Stretch {
  std::int64_t first, n, slot, slots;
};
std::vector<Stretch> stretches(at::IntArrayRef lengths, std::int64_t stride, std::int64_t kernel) {
  std::vector<Stretch> all;
  std::int64_t first = 0, slot = 0;
  for (const std::int64_t n : lengths) {
    const std::int64_t slots = slots_with(n, 0, stride);
    if (!all.empty() && kernel <= stride && all.back().n % stride == 0) {
      all.back().n += n;
      all.back().slots += slots;
    } else {
      all.push_back({first, n, slot, slots});
    }
    first += n;
    slot += slots;
  }
  return all;
}

// work(stretch, head, j, places, slots): the places number j of all slots that have one (count, d), and these slots'
// numbers. One thread does a head.
template <class Work>
void for_each_tap(const at::Tensor& x, const at::Tensor& slots, std::int64_t kernel, std::int64_t stride,
                  const std::vector<Stretch>& all, const Work& work) {
  at::parallel_for(0, x.size(1), 1, [&](std::int64_t first_head, std::int64_t last_head) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    for (std::int64_t h = first_head; h < last_head; ++h) {
      for (const Stretch& stretch : all) {
        for (std::int64_t j = 0; j < kernel; ++j) {
          const std::int64_t count = slots_with(stretch.n, j, stride);
          if (count == 0) continue;
          const at::Tensor places =
              x.select(1, h).narrow(0, stretch.first, stretch.n).slice(0, j, stretch.n, stride).narrow(0, 0, count);
          work(h, j, places, slots.select(1, h).narrow(0, stretch.slot, count));
        }
      }
    }
  });
}

struct CompressPlaces : torch::autograd::Function<CompressPlaces> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            std::vector<std::int64_t> lengths, std::int64_t stride) {
    context->save_for_backward({x, weight});
    context->saved_data["lengths"] = lengths;
    context->saved_data["stride"] = stride;
    const at::Tensor slots = at::empty({slot_offsets(lengths, stride).back(), x.size(1), x.size(2)}, x.options());
    for_each_tap(x, slots, weight.size(1), stride, stretches(lengths, stride, weight.size(1)),
                 [&](std::int64_t h, std::int64_t j, const at::Tensor& places, at::Tensor of_slots) {
                   const at::Tensor matrix = weight.select(0, h).select(0, j);
                   if (j == 0) {  // of which every slot has one
                     at::mm_out(of_slots, places, matrix);
                   } else {
                     of_slots.addmm_(places, matrix);
                   }
                 });
    return slots;
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("compress_places");
    const tensor_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], grad = gradients[0].contiguous();
    const std::int64_t stride = context->saved_data["stride"].toInt(), kernel = weight.size(1);
    const auto all = stretches(context->saved_data["lengths"].toIntVector(), stride, kernel);
    const at::Tensor grad_weight = at::zeros(weight.sizes(), weight.options());
    // Places of which no slot is made get nothing.
    const at::Tensor grad_x = kernel < stride ? at::zeros(x.sizes(), x.options()) : at::empty(x.sizes(), x.options());
    for_each_tap(grad_x, grad, kernel, stride, all,
                 [&](std::int64_t h, std::int64_t j, at::Tensor places, const at::Tensor& of_slots) {
                   const at::Tensor matrix = weight.select(0, h).select(0, j).t();
                   if (j < stride) {
                     at::mm_out(places, of_slots, matrix);
                   } else {
                     places.addmm_(of_slots, matrix);
                   }
                 });
    for_each_tap(x, grad, kernel, stride, all,
                 [&](std::int64_t h, std::int64_t j, const at::Tensor& places, const at::Tensor& of_slots) {
                   grad_weight.select(0, h).select(0, j).addmm_(places.t(), of_slots);
                 });
    return {grad_x, grad_weight, {}, {}};
  }
};

}  // namespace

at::Tensor map_places(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::IntArrayRef lengths,
                      Follows follows) {
  const auto type = x.scalar_type();
  const std::optional<at::Tensor> same_bias = bias.defined() ? std::optional(bias.to(type)) : std::nullopt;
  const auto batch = static_cast<std::int64_t>(lengths.size());
  const bool uniform = std::all_of(lengths.begin(), lengths.end(), [&](std::int64_t n) { return n == lengths[0]; });
  if (batch > 1 && uniform && weight.dim() == 2) {
    const std::int64_t columns = follows.columns ? lengths[0] : weight.size(1),
                       rows = follows.rows ? lengths[0] : weight.size(0);
    const at::Tensor sequences = x.reshape({batch, columns, -1});
    const std::int64_t width = sequences.size(2);
    // A large matrix is read, and its gradient written, once if the sequences are put side by side; six is what was
    // measured.
    if (rows * columns > 6 * (rows + columns) * width) {
      const at::Tensor side_by_side = sequences.transpose(0, 1).reshape({columns, 1, batch * width});
      const at::Tensor mapped = MapPlaces::apply(side_by_side, weight.to(type), same_bias,
                                                 std::vector<std::int64_t>{lengths[0]}, follows.rows, follows.columns);
      return mapped.view({rows, batch, width}).transpose(0, 1).reshape({batch * rows, 1, width});
    }
  }
  return MapPlaces::apply(x.dim() == 3 && weight.dim() == 3 ? x : x.flatten(1).unsqueeze(1), weight.to(type), same_bias,
                          lengths.vec(), follows.rows, follows.columns);
}

at::Tensor compress_places(const at::Tensor& x, const at::Tensor& weight, at::IntArrayRef lengths,
                           std::int64_t stride) {
  return CompressPlaces::apply(x, weight.to(x.scalar_type()), lengths.vec(), stride);
}

std::vector<std::int64_t> slot_offsets(at::IntArrayRef lengths, std::int64_t stride) {
  std::vector<std::int64_t> offsets = {0};
  for (const std::int64_t n : lengths) offsets.push_back(offsets.back() + slots_with(n, 0, stride));
  return offsets;
}

at::Tensor attend_slots(const at::Tensor& q, const std::vector<std::int64_t>& offsets, const at::Tensor& k,
                        const at::Tensor& v, const std::vector<std::int64_t>& key_offsets) {
  const auto longest = [](const std::vector<std::int64_t>& starts) {
    std::int64_t most = 0;
    for (std::size_t i = 1; i < starts.size(); ++i) most = std::max(most, starts[i] - starts[i - 1]);
    return most;
  };
  const BlockPattern everything{longest(offsets), longest(key_offsets), at::zeros({1, 1, 1, 1}, at::kLong),
                                std::nullopt};
  return packed_attention(q, offsets, {{k, v, key_offsets, {}, everything}}).out;
}

}  // namespace lra::ops
