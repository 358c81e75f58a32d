#include "ops/routing_attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "ops/autograd.h"
#include "ops/cpu/kernels.h"
#include "ops/on_threads.h"
#include "ops/rows_in_line.h"

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr std::int64_t fallback_queries = 32;  // that are computed together

struct Problem : torch::CustomClassHolder {
  std::vector<std::int64_t> offsets;
  std::int64_t clusters = 0, window = 0, fallback_window = 0;
  cpu::Dropout dropout;

  std::int64_t sequences() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
};

struct Tensors {
  at::Tensor q, k, v, centroids;
  at::Tensor places;  // (2, B, H, clusters, window) int32, of queries and keys, ascending; a shorter sequence fills its
                      // first ones
  at::Tensor out, log_sum, rounding;  // the last two (T, H): of the fallback's queries, see cpu::QueryBlock
  at::Tensor sums, counts;            // (B, H, clusters, d), (B, H, clusters, 1) int64; undefined: not wanted
  at::Tensor grad_out, grad_q, grad_k, grad_v;
};

// One head of one sequence, with memory of its thread.
template <class T>
class Head {
 public:
  Head(const Problem& problem, const Tensors& t, std::int64_t unit, T* memory)
      : problem_(problem),
        t_(t),
        heads_(t.q.size(1)),
        head_(unit % heads_),
        sequence_(unit / heads_),
        d_(t.q.size(2)),
        first_(problem.offsets[static_cast<std::size_t>(sequence_)]),
        n_(problem.offsets[static_cast<std::size_t>(sequence_) + 1] - first_),
        window_(std::min(problem.window, n_)) {
    const auto take = [&](std::int64_t count) {
      T* const start = memory;
      memory += (count + 15) / 16 * 16;
      return start;
    };
    queries_ = take(n_ * d_), keys_ = take(n_ * d_);
    outs_ = take(cpu::max_queries * d_), grads_ = take(cpu::max_queries * d_);
    log_sums_ = take(n_), roundings_ = take(n_), values_ = take(n_);
    scratch_ = take(cpu::kernels().attention_scratch(d_));
    products_ = memory;
    places_in_piece_.resize(static_cast<std::size_t>(n_));
    for (std::size_t i = 0; i < places_in_piece_.size(); ++i)
      places_in_piece_[i] = static_cast<std::int32_t>(i % cpu::max_queries);
    takers_.assign(static_cast<std::size_t>(n_), 0);
  }
  static std::int64_t memory(const Problem& problem, std::int64_t longest, std::int64_t d, bool backward) {
    return 2 * (longest * d + 16) + 2 * (cpu::max_queries * d + 16) + 3 * (longest + 16) +
           cpu::kernels().attention_scratch(d) + 16 + (backward ? 0 : problem.clusters * longest);
  }

  void forward() {
    normalise();
    choose(0, t_.q, queries_);
    choose(1, t_.k, keys_);
    count_takers();
    const cpu::Rows<T> out = rows(t_.out);
    for_fallback([&](cpu::QueryBlock<T>& block) {
      block.out = out;
      cpu::kernels().attention_forward(block, scratch_);
    });
    for (std::int64_t i = 0; i < n_; ++i) {
      if (takers_[static_cast<std::size_t>(i)] > 0) std::fill_n(out.data + i * out.step, d_, T{0});
    }
    for_clusters([&](cpu::QueryBlock<T>& block) {
      cpu::kernels().attention_forward(block, scratch_);
      for_queries(block, [&](std::int64_t m, std::int64_t place, T share) {
        add(outs_ + m * d_, share, out.data + place * out.step);
      });
    });
  }

  void backward() {
    normalise();
    count_takers();
    const cpu::Rows<const T> out = rows_of(t_.out), grad_out = rows_of(t_.grad_out);
    const auto differentiate = [&](cpu::QueryBlock<T>& block) { cpu::kernels().attention_backward(block, scratch_); };
    for_fallback([&](cpu::QueryBlock<T>& block) {
      for (std::int64_t i = block.first; i < block.first + block.count; ++i) {
        T* const to = grads_ + places_in_piece_[static_cast<std::size_t>(i)] * d_;
        if (takers_[static_cast<std::size_t>(i)] == 0) {
          std::copy_n(grad_out.data + i * grad_out.step, d_, to);
        } else {
          std::fill_n(to, d_, T{0});
        }
      }
      block.saved_out = out;
      differentiate(block);
    });
    for_clusters([&](cpu::QueryBlock<T>& block) {
      cpu::kernels().attention_forward(block, scratch_);
      for_queries(block, [&](std::int64_t m, std::int64_t place, T share) {
        std::fill_n(grads_ + m * d_, d_, T{0});
        add(grad_out.data + place * grad_out.step, share, grads_ + m * d_);
      });
      differentiate(block);
    });
    cpu::kernels().normalise_backward(rows_of(t_.q), n_, d_, queries_, rows(t_.grad_q));
    cpu::kernels().normalise_backward(rows_of(t_.k), n_, d_, keys_, rows(t_.grad_k));
  }

 private:
  cpu::Rows<const T> rows_of(const at::Tensor& x) const {
    return {x.const_data_ptr<T>() + first_ * x.stride(0) + head_ * x.stride(1), x.stride(0)};
  }
  cpu::Rows<T> rows(const at::Tensor& x) const {
    return {x.mutable_data_ptr<T>() + first_ * x.stride(0) + head_ * x.stride(1), x.stride(0)};
  }
  std::int32_t* places(std::int64_t of_keys, std::int64_t cluster) const {
    return t_.places.mutable_data_ptr<std::int32_t>() +
           (((of_keys * problem_.sequences() + sequence_) * heads_ + head_) * problem_.clusters + cluster) *
               problem_.window;
  }
  void add(const T* from, T scale, T* to) const {
    for (std::int64_t c = 0; c < d_; ++c) to[c] += scale * from[c];
  }

  void normalise() {
    cpu::kernels().normalise(rows_of(t_.q), n_, d_, queries_);
    cpu::kernels().normalise(rows_of(t_.k), n_, d_, keys_);
  }

  // The places that each centroid takes, and what moves the centroids.
  void choose(std::int64_t of_keys, const at::Tensor& x, T* normalised) {
    const auto matrix = [&](T* data, std::int64_t rows, std::int64_t columns) {
      return at::from_blob(data, {rows, columns}, x.options());
    };
    at::Tensor products = matrix(products_, problem_.clusters, n_);
    at::mm_out(products, t_.centroids[head_], matrix(normalised, n_, d_).t());
    // What is not a number has no place in an order: as if it were the smallest.
    constexpr T smallest = -std::numeric_limits<T>::infinity();
    for (std::int64_t i = 0; i < problem_.clusters * n_; ++i)
      products_[i] = products_[i] > smallest ? products_[i] : smallest;
    for (std::int64_t cluster = 0; cluster < problem_.clusters; ++cluster) {
      const T* const product = products_ + cluster * n_;
      const T least = least_taken(product);
      std::int64_t equal = window_ - std::count_if(product, product + n_, [&](T value) {
                             return value > least;
                           });  // how many of the least are taken
      std::int32_t* place = places(of_keys, cluster);
      for (std::int64_t i = 0; i < n_; ++i) {
        if (product[i] >= least && (product[i] > least || equal-- > 0)) *place++ = static_cast<std::int32_t>(i);
      }
    }
    if (t_.sums.defined()) collect(normalised);
  }

  // The window's smallest of n products. A sample tells about where it lies, so that few have to be ordered.
  T least_taken(const T* product) const {
    constexpr std::int64_t apart = 16;
    const std::int64_t samples = n_ / apart, rank = 2 * window_ / apart + 4;
    T* end = values_;
    if (rank < samples) {
      for (std::int64_t i = 0; i < samples; ++i) values_[i] = product[i * apart];
      std::nth_element(values_, values_ + rank, values_ + samples, std::greater<T>());
      const T bound = values_[rank];
      end = std::copy_if(product, product + n_, values_, [&](T value) { return value >= bound; });
    }
    if (end - values_ < window_) end = std::copy_n(product, n_, values_);
    std::nth_element(values_, values_ + window_ - 1, end, std::greater<T>());
    return values_[window_ - 1];
  }

  // Adds each vector, as a unit vector, to the sum of the centroid with the largest product.
  void collect(const T* normalised) {
    T* const sums = t_.sums.mutable_data_ptr<T>() + (sequence_ * heads_ + head_) * problem_.clusters * d_;
    std::int64_t* const counts =
        t_.counts.mutable_data_ptr<std::int64_t>() + (sequence_ * heads_ + head_) * problem_.clusters;
    nearest_.assign(static_cast<std::size_t>(n_), 0);
    std::copy_n(products_, n_, values_);
    for (std::int32_t cluster = 1; cluster < problem_.clusters; ++cluster) {
      const T* const product = products_ + cluster * n_;
      for (std::int64_t i = 0; i < n_; ++i) {
        auto& nearest = nearest_[static_cast<std::size_t>(i)];
        nearest = product[i] > values_[i] ? cluster : nearest;
        values_[i] = std::max(product[i], values_[i]);
      }
    }
    for (std::int64_t i = 0; i < n_; ++i) {
      const T* const row = normalised + i * d_;
      T square = 0;
      for (std::int64_t c = 0; c < d_; ++c) square += row[c] * row[c];
      const std::int64_t cluster = nearest_[static_cast<std::size_t>(i)];
      add(row, 1 / std::max(std::sqrt(square), static_cast<T>(1e-12)), sums + cluster * d_);
      ++counts[cluster];
    }
  }

  void count_takers() {
    for (std::int64_t cluster = 0; cluster < problem_.clusters; ++cluster) {
      for (std::int64_t m = 0; m < window_; ++m) ++takers_[static_cast<std::size_t>(places(0, cluster)[m])];
    }
  }

  cpu::QueryBlock<T> block_of(cpu::KeyPart<T>& part, std::uint32_t round) const {
    cpu::QueryBlock<T> block;
    block.d = d_;
    block.scale = static_cast<T>(1.0 / std::sqrt(static_cast<double>(d_)));
    block.q = {queries_, d_};
    block.dropout = problem_.dropout;
    block.dropout.head = static_cast<std::uint32_t>(sequence_ * heads_ + head_);
    block.meetings.round = round;  // for the dropout alone
    block.parts = &part;
    block.num_parts = 1;
    block.grad_out = {grads_, d_, places_in_piece_.data()};
    block.add_to_grad_q = true;
    part.k = {keys_, d_};
    part.v = rows_of(t_.v);
    if (t_.grad_q.defined()) {
      block.grad_q = rows(t_.grad_q);
      part.grad_k = rows(t_.grad_k);
      part.grad_v = rows(t_.grad_v);
    }
    part.num_runs = 1;
    return block;
  }

  // Some neighbouring queries at a time, of which at least one is in no cluster.
  template <class Work>
  void for_fallback(const Work& work) const {
    cpu::KeyPart<T> part;
    cpu::QueryBlock<T> block = block_of(part, 0);
    const cpu::Run all{0, n_};
    part.runs = &all;
    part.band = problem_.fallback_window;
    block.log_sum = t_.log_sum.mutable_data_ptr<T>() + first_ * heads_ + head_;
    block.rounding = t_.rounding.mutable_data_ptr<T>() + first_ * heads_ + head_;
    block.log_sum_step = heads_;
    for (block.first = 0; block.first < n_; block.first += fallback_queries) {
      block.count = std::min(fallback_queries, n_ - block.first);
      const auto taken = takers_.begin() + block.first;
      if (std::find(taken, taken + block.count, 0) != taken + block.count) work(block);
    }
  }

  // Some queries of each cluster at a time; their results go to outs_ and log_sums_.
  template <class Work>
  void for_clusters(const Work& work) const {
    const cpu::Run all{0, window_};
    for (std::int64_t cluster = 0; cluster < problem_.clusters; ++cluster) {
      cpu::KeyPart<T> part;
      cpu::QueryBlock<T> block = block_of(part, static_cast<std::uint32_t>(1 + cluster));
      const std::int32_t *const queries = places(0, cluster), *const keys = places(1, cluster);
      part.runs = &all;
      part.k.order = part.v.order = part.grad_k.order = part.grad_v.order = keys;
      block.q.order = block.grad_q.order = queries;
      block.out = {outs_, d_, places_in_piece_.data()};
      block.saved_out = {outs_, d_, places_in_piece_.data()};
      block.log_sum = log_sums_;
      block.rounding = roundings_;
      for (block.first = 0; block.first < window_; block.first += cpu::max_queries) {
        block.count = std::min(cpu::max_queries, window_ - block.first);
        work(block);
      }
    }
  }

  // work(m, place, share of this cluster) for the queries of a cluster's block, m counting from 0.
  template <class Work>
  void for_queries(const cpu::QueryBlock<T>& block, const Work& work) const {
    for (std::int64_t m = 0; m < block.count; ++m) {
      const std::int64_t place = block.q.order[block.first + m];
      work(m, place, T{1} / static_cast<T>(takers_[static_cast<std::size_t>(place)]));
    }
  }

  const Problem& problem_;
  const Tensors& t_;
  const std::int64_t heads_, head_, sequence_, d_, first_, n_, window_;
  T *queries_, *keys_;                  // (n, d), normalised
  T *outs_, *grads_;                    // (max_queries, d): what a block gives, and its gradients
  T *log_sums_, *roundings_, *values_;  // (n)
  T *scratch_, *products_;              // products_ (clusters, n): forward
  std::vector<std::int32_t> takers_, nearest_, places_in_piece_;  // (n)
};

// work(head) for all heads of all sequences, on all threads.
template <class T, class Work>
void for_heads(const Problem& problem, const Tensors& t, bool backward, const Work& work) {
  std::int64_t longest = 0;
  for (std::int64_t s = 0; s < problem.sequences(); ++s) {
    longest = std::max(longest,
                       problem.offsets[static_cast<std::size_t>(s) + 1] - problem.offsets[static_cast<std::size_t>(s)]);
  }
  const std::int64_t units = problem.sequences() * t.q.size(1);
  on_threads<T>(units, Head<T>::memory(problem, longest, t.q.size(2), backward), [&](std::int64_t unit, T* memory) {
    const at::NoGradGuard guard;
    Head<T> head(problem, t, unit, memory);
    work(head);
  });
}

// What RECORD_FUNCTION is told, where somebody listens: the tensors, and the multiplications and additions of one
// product of all clusters times `products`.
std::vector<c10::IValue> recorded(const Problem& problem, const Tensors& t, double products) {
  if (!at::hasCallbacks()) return {};
  const double pairs =
      static_cast<double>(problem.sequences() * t.q.size(1) * problem.clusters * problem.window * problem.window);
  return {t.q, t.k, t.v, 2 * products * pairs * static_cast<double>(t.q.size(2))};
}

struct RoutingAttention : torch::autograd::Function<RoutingAttention> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const at::Tensor& centroids, const c10::intrusive_ptr<Problem>& problem, bool collect) {
    const std::int64_t heads = q.size(1), d = q.size(2);
    Tensors t;
    t.q = rows_in_line(q), t.k = rows_in_line(k), t.v = rows_in_line(v), t.centroids = centroids;
    t.places =
        at::empty({2, problem->sequences(), heads, problem->clusters, problem->window}, q.options().dtype(at::kInt));
    t.out = at::empty(q.sizes(), q.options());
    t.log_sum = at::empty({q.size(0), heads}, q.options());
    t.rounding = at::empty_like(t.log_sum);
    if (collect) {
      t.sums = at::zeros({problem->sequences(), heads, problem->clusters, d}, q.options());
      t.counts = at::zeros({problem->sequences(), heads, problem->clusters, 1}, q.options().dtype(at::kLong));
    }
    RECORD_FUNCTION("lra::routing_attention", recorded(*problem, t, 2));
    if (q.scalar_type() == at::kDouble) {
      for_heads<double>(*problem, t, false, [](Head<double>& head) { head.forward(); });
    } else {
      for_heads<float>(*problem, t, false, [](Head<float>& head) { head.forward(); });
    }
    context->save_for_backward({q, k, v, t.places, t.out, t.log_sum, t.rounding});
    context->saved_data["problem"] =
        c10::IValue::make_capsule(c10::static_intrusive_pointer_cast<torch::CustomClassHolder>(problem));
    guard.setOutputs(std::vector<c10::IValue>{t.out});
    if (!collect) return {t.out};
    const at::Tensor sums = t.sums.sum(0), counts = t.counts.sum(0);
    context->mark_non_differentiable({sums, counts});
    return {t.out, sums, counts};
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("routing_attention");
    const auto saved = context->get_saved_variables();
    const auto& problem = *c10::static_intrusive_pointer_cast<Problem>(context->saved_data["problem"].toCapsule());
    const at::Tensor& q = saved[0];
    Tensors t;
    t.q = rows_in_line(q), t.k = rows_in_line(saved[1]), t.v = rows_in_line(saved[2]);
    t.places = saved[3], t.out = saved[4], t.log_sum = saved[5], t.rounding = saved[6];
    t.grad_out = rows_in_line(gradients[0]);
    for (auto* grad : {&t.grad_q, &t.grad_k, &t.grad_v}) *grad = at::zeros(q.sizes(), q.options());
    RECORD_FUNCTION("lra::routing_attention_backward", recorded(problem, t, 7));
    if (q.scalar_type() == at::kDouble) {
      for_heads<double>(problem, t, true, [](Head<double>& head) { head.backward(); });
    } else {
      for_heads<float>(problem, t, true, [](Head<float>& head) { head.backward(); });
    }
    guard.setOutputs(std::vector<c10::IValue>{t.grad_q, t.grad_k, t.grad_v});
    return {t.grad_q, t.grad_k, t.grad_v, {}, {}, {}};
  }
};

}  // namespace

Routed routing_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const std::vector<std::int64_t>& offsets, const at::Tensor& centroids, std::int64_t window,
                         std::int64_t fallback_window, double dropout, bool collect) {
  TORCH_CHECK(
      q.is_cpu() && q.dim() == 3 && offsets.back() == q.size(0) && k.sizes() == q.sizes() && v.sizes() == q.sizes(),
      "routing_attention: queries ", q.sizes(), ", keys ", k.sizes(), " and values ", v.sizes(), " for ",
      offsets.back(), " tokens");
  const auto type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  auto problem = c10::make_intrusive<Problem>();
  problem->offsets = offsets;
  problem->clusters = centroids.size(1);
  problem->window = window;
  problem->fallback_window = fallback_window;
  problem->dropout = cpu::drawn_dropout(dropout);
  const auto results =
      RoutingAttention::apply(q.to(type), k.to(type), v.to(type), centroids.to(type), problem, collect);
  return {results[0].to(q.scalar_type()), collect ? results[1] : at::Tensor(), collect ? results[2] : at::Tensor()};
}

}  // namespace lra::ops
