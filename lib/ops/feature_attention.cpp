#include "ops/feature_attention.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "ops/autograd.h"
#include "ops/on_threads.h"
#include "ops/rows_in_line.h"

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;
using Step = cpu::FeatureStep;

// What forward and backward have in common, kept in the autograd context.
struct Problem : torch::CustomClassHolder {
  std::vector<std::int64_t> offsets;
  cpu::Features map = cpu::Features::elu;
  std::int64_t m = 0;
  double half = 0, epsilon = 0;
  at::Tensor directions, directions_by_feature;  // as the kernels want them
};

template <class T>
struct Tensors {
  at::Tensor q, k, v, sigma, out, sums;  // sums (sequences, heads, feature_sums)
  at::Tensor grad_out, grad_q, grad_k, grad_v;
  at::Tensor part_sums;    // (sequences, heads, shares - 1, feature_sums): of the tokens of the other shares
  at::Tensor grad_sums;    // (sequences, heads, shares, feature_sums)
  at::Tensor grad_sigmas;  // (heads, sequences * shares)
};

template <class T>
cpu::Rows<const T> rows_of(const at::Tensor& x, std::int64_t row, std::int64_t head) {
  return {x.const_data_ptr<T>() + row * x.stride(0) + head * x.stride(1), x.stride(0)};
}
template <class T>
cpu::Rows<T> writable_rows_of(const at::Tensor& x, std::int64_t row, std::int64_t head) {
  return {x.mutable_data_ptr<T>() + row * x.stride(0) + head * x.stride(1), x.stride(0)};
}

// Work on all heads of all sequences, on all threads. Where these are too few for the threads, several share the tokens
// of one.
template <class T>
class Run {
 public:
  Run(const Problem& problem, Tensors<T>& tensors)
      : problem_(problem),
        t_(tensors),
        heads_(t_.q.size(1)),
        units_((static_cast<std::int64_t>(problem.offsets.size()) - 1) * heads_) {
    const std::int64_t threads = at::get_num_threads();
    shares_ = units_ >= 4 * threads || units_ % threads == 0 ? 1 : threads;
  }

  void forward() {
    t_.sums = at::empty({units_, sums_size()}, t_.q.options());
    if (shares_ > 1) t_.part_sums = at::empty({units_, shares_ - 1, sums_size()}, t_.q.options());
    in_steps(Step::keys, Step::finish, Step::queries, [&](const cpu::FeatureUnit<T>& unit, std::int64_t number) {
      for (std::int64_t share = 1; share < shares_; ++share) {
        cpu::kernels().merge_features(
            unit, t_.part_sums.template const_data_ptr<T>() + (number * (shares_ - 1) + share - 1) * sums_size());
      }
    });
  }

  void backward() {
    t_.grad_sums = at::empty({units_, shares_, sums_size()}, t_.q.options());
    t_.grad_sigmas = at::zeros({heads_, units_ / heads_ * shares_}, t_.q.options());
    in_steps(Step::query_gradients, Step::finish_gradients, Step::key_gradients,
             [&](cpu::FeatureUnit<T> unit, std::int64_t number) {
               unit.sums = unit.grad_sums;
               for (std::int64_t share = 1; share < shares_; ++share) {
                 cpu::kernels().merge_features(
                     unit, t_.grad_sums.template const_data_ptr<T>() + (number * shares_ + share) * sums_size());
               }
             });
  }

 private:
  std::int64_t sums_size() const { return cpu::feature_sums(problem_.map, t_.q.size(2), problem_.m); }

  cpu::FeatureUnit<T> unit_of(std::int64_t number, std::int64_t share, Step step) const {
    const std::int64_t sequence = number / heads_, head = number % heads_;
    const std::int64_t row = problem_.offsets[static_cast<std::size_t>(sequence)];
    cpu::FeatureUnit<T> unit;
    unit.map = problem_.map;
    unit.d = t_.q.size(2);
    unit.m = problem_.m;
    unit.n = problem_.offsets[static_cast<std::size_t>(sequence + 1)] - row;
    unit.first = unit.n * share / shares_;
    unit.count = unit.n * (share + 1) / shares_ - unit.first;
    if (problem_.directions.defined()) {
      unit.directions = problem_.directions.template const_data_ptr<T>();
      unit.directions_by_feature = problem_.directions_by_feature.template const_data_ptr<T>();
    }
    unit.half = static_cast<T>(problem_.half);
    unit.epsilon = static_cast<T>(problem_.epsilon);
    if (t_.sigma.defined()) unit.sigma = t_.sigma.template const_data_ptr<T>()[head];
    unit.q = rows_of<T>(t_.q, row, head);
    unit.k = rows_of<T>(t_.k, row, head);
    unit.v = rows_of<T>(t_.v, row, head);
    unit.sums = t_.sums.template mutable_data_ptr<T>() + number * sums_size();
    if (step == Step::keys && share > 0)
      unit.sums = t_.part_sums.template mutable_data_ptr<T>() + (number * (shares_ - 1) + share - 1) * sums_size();
    if (!t_.grad_out.defined()) {
      unit.out = writable_rows_of<T>(t_.out, row, head);
      return unit;
    }
    unit.saved_out = rows_of<T>(t_.out, row, head);
    unit.grad_out = rows_of<T>(t_.grad_out, row, head);
    unit.grad_q = writable_rows_of<T>(t_.grad_q, row, head);
    unit.grad_k = writable_rows_of<T>(t_.grad_k, row, head);
    unit.grad_v = writable_rows_of<T>(t_.grad_v, row, head);
    unit.grad_sums = t_.grad_sums.template mutable_data_ptr<T>() +
                     (number * shares_ + (step == Step::query_gradients ? share : 0)) * sums_size();
    unit.grad_sigma =
        t_.grad_sigmas.template mutable_data_ptr<T>() + head * t_.grad_sigmas.size(1) + sequence * shares_ + share;
    return unit;
  }

  // work(number, scratch) for the numbers below `tasks`.
  template <class Work>
  void on_all_threads(std::int64_t tasks, const Work& work) const {
    on_threads<T>(tasks, cpu::feature_scratch(problem_.map, t_.q.size(2), problem_.m), work);
  }

  // What each share sums up is merged in order, then read by each share.
  template <class Merge>
  void in_steps(Step sum, Step finish, Step read, const Merge& merge) const {
    const auto do_step = [&](Step step, std::int64_t number, std::int64_t share, T* scratch) {
      const cpu::FeatureUnit<T> unit = unit_of(number, share, step);
      if (step == finish) merge(unit, number);
      cpu::kernels().feature_attention(step, unit, scratch);
    };
    if (shares_ == 1) {
      // All heads of a sequence on one thread, where there are enough of them: their rows lie side by side, and are in
      // its cache after the first.
      const std::int64_t together = units_ / heads_ >= 4 * at::get_num_threads() ? heads_ : 1;
      on_all_threads(units_ / together, [&](std::int64_t task, T* scratch) {
        for (std::int64_t number = task * together; number < (task + 1) * together; ++number) {
          for (const Step step : {sum, finish, read}) do_step(step, number, 0, scratch);
        }
      });
      return;
    }
    on_all_threads(units_ * shares_,
                   [&](std::int64_t task, T* scratch) { do_step(sum, task / shares_, task % shares_, scratch); });
    on_all_threads(units_, [&](std::int64_t number, T* scratch) { do_step(finish, number, 0, scratch); });
    on_all_threads(units_ * shares_,
                   [&](std::int64_t task, T* scratch) { do_step(read, task / shares_, task % shares_, scratch); });
  }

  const Problem& problem_;
  Tensors<T>& t_;
  const std::int64_t heads_, units_;
  std::int64_t shares_ = 1;
};

template <class T>
Tensors<T> inputs(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& sigma) {
  Tensors<T> t;
  t.q = rows_in_line(q);
  t.k = rows_in_line(k);
  t.v = rows_in_line(v);
  t.sigma = sigma;
  return t;
}

template <class T>
tensor_list run_forward(const Problem& problem, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const at::Tensor& sigma) {
  Tensors<T> t = inputs<T>(q, k, v, sigma);
  t.out = at::empty(q.sizes(), q.options());
  Run<T>(problem, t).forward();
  return {t.out, t.sums};
}

template <class T>
tensor_list run_backward(const Problem& problem, const tensor_list& saved, const at::Tensor& grad_out) {
  Tensors<T> t = inputs<T>(saved[0], saved[1], saved[2], saved[3]);
  t.out = saved[4];
  t.sums = saved[5];
  t.grad_out = rows_in_line(grad_out);
  for (at::Tensor* grad : {&t.grad_q, &t.grad_k, &t.grad_v}) *grad = at::empty(t.q.sizes(), t.q.options());
  Run<T>(problem, t).backward();
  return {t.grad_q, t.grad_k, t.grad_v, problem.map == cpu::Features::sincos ? t.grad_sigmas.sum(1) : at::Tensor(), {}};
}

// What RECORD_FUNCTION is told, where somebody listens: the tensors, and the multiplications and additions of so many
// products of features with values and of inputs with directions.
std::vector<c10::IValue> recorded(const Problem& problem, const tensor_list& tensors, double of_values,
                                  double of_inputs) {
  if (!at::hasCallbacks()) return {};
  std::vector<c10::IValue> told(tensors.begin(), tensors.end());
  const auto inputs = static_cast<double>(tensors[0].numel());
  const double directions = problem.directions.defined() ? of_inputs * static_cast<double>(problem.m) : 0;
  told.emplace_back(2 * inputs *
                    (of_values * static_cast<double>(cpu::feature_width(problem.map, problem.m)) + directions));
  return told;
}

struct FeatureAttention : torch::autograd::Function<FeatureAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& sigma, const c10::intrusive_ptr<Problem>& problem) {
    RECORD_FUNCTION("lra::feature_attention", recorded(*problem, {q, k, v}, 2, 2));
    const tensor_list result = q.scalar_type() == at::kDouble ? run_forward<double>(*problem, q, k, v, sigma)
                                                              : run_forward<float>(*problem, q, k, v, sigma);
    guard.setOutputs(std::vector<c10::IValue>{result[0]});
    context->save_for_backward({q, k, v, sigma, result[0], result[1]});
    context->saved_data["problem"] =
        c10::IValue::make_capsule(c10::static_intrusive_pointer_cast<torch::CustomClassHolder>(problem));
    return result[0];
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("feature_attention");
    const tensor_list saved = context->get_saved_variables();
    const auto& problem = *c10::static_intrusive_pointer_cast<Problem>(context->saved_data["problem"].toCapsule());
    RECORD_FUNCTION("lra::feature_attention_backward",
                    recorded(problem, {saved[0], saved[1], saved[2], saved[4], gradients[0]}, 4, 4));
    tensor_list result = saved[0].scalar_type() == at::kDouble ? run_backward<double>(problem, saved, gradients[0])
                                                               : run_backward<float>(problem, saved, gradients[0]);
    guard.setOutputs(std::vector<c10::IValue>{result[0], result[1], result[2]});
    return result;
  }
};

}  // namespace

at::Tensor feature_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::vector<std::int64_t>& offsets, const FeatureMap& map) {
  TORCH_CHECK(
      q.is_cpu() && q.dim() == 3 && offsets.back() == q.size(0) && k.sizes() == q.sizes() && v.sizes() == q.sizes(),
      "feature_attention: expected queries, keys and values (", offsets.back(), ", H, d) on the CPU, found ", q.sizes(),
      ", ", k.sizes(), " and ", v.sizes());
  const auto type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const std::int64_t d = q.size(2);
  auto problem = c10::make_intrusive<Problem>();
  problem->offsets = offsets;
  problem->map = map.kind;
  problem->m = map.directions.defined() ? map.directions.size(0) : d;
  problem->epsilon = map.epsilon;
  if (map.directions.defined()) {
    const double scale = map.kind == cpu::Features::sincos ? 1 : std::pow(static_cast<double>(d), -0.25);
    problem->half = 0.5 * scale * scale;
    const auto padded = [](std::int64_t n) { return (n + 15) / 16 * 16; };
    problem->directions = at::zeros({padded(problem->m), padded(d)}, q.options().dtype(type));
    problem->directions.narrow(0, 0, problem->m).narrow(1, 0, d).copy_(map.directions.detach() * scale);
    problem->directions_by_feature = problem->directions.t().contiguous();
  }
  const at::Tensor sigma = map.sigma.defined() ? map.sigma.to(type) : at::ones({q.size(1)}, q.options().dtype(type));
  return FeatureAttention::apply(q.to(type), k.to(type), v.to(type), sigma, problem).to(q.scalar_type());
}

}  // namespace lra::ops
