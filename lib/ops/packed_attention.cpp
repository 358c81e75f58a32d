#include "ops/packed_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <type_traits>

#include "ops/autograd.h"
#include "ops/cpu/kernels.h"
#include "ops/on_threads.h"
#include "ops/rows_in_line.h"

namespace lra::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// The runs of neighbouring blocks of keys of each query block, for each sequence and head that have lists of their own.
struct Runs {
  std::vector<cpu::Run> runs;
  std::vector<std::size_t> starts;  // of each list
  std::int64_t batch = 1, heads = 1, query_blocks = 1;

  explicit Runs(const BlockPattern& pattern) {
    // In ascending order: neighbours join, and a tile whose last key is count - 1 after its first one has no gap.
    const at::Tensor lists = std::get<0>(pattern.key_blocks.to(at::kCPU, at::kLong).sort()).contiguous();
    batch = lists.size(0), heads = lists.size(1), query_blocks = lists.size(2);
    const auto* block = lists.const_data_ptr<std::int64_t>();
    for (std::int64_t list = 0; list < batch * heads * query_blocks; ++list) {
      starts.push_back(runs.size());
      for (std::int64_t i = 0; i < lists.size(3); ++i, ++block) {
        if (*block < 0) continue;
        const std::int64_t first = *block * pattern.key_block;
        if (runs.size() > starts.back() && runs.back().last == first) {
          runs.back().last = first + pattern.key_block;
        } else {
          runs.push_back({first, first + pattern.key_block});
        }
      }
    }
    starts.push_back(runs.size());
  }

  std::span<const cpu::Run> of(std::int64_t sequence, std::int64_t head, std::int64_t query_block) const {
    const auto list = static_cast<std::size_t>(
        ((batch > 1 ? sequence : 0) * heads + (heads > 1 ? head : 0)) * query_blocks + query_block);
    return std::span(runs).subspan(starts[list], starts[list + 1] - starts[list]);
  }
};

// What forward and backward have in common, kept in the autograd context.
struct Problem : torch::CustomClassHolder {
  std::vector<std::int64_t> offsets;
  std::vector<KeySource> sources;                                      // k, v and mixture undefined
  std::size_t mixed_source = std::numeric_limits<std::size_t>::max();  // the one that had a mixture
  // Which pair of tensors is the keys and values of each source: sources may share them, and have one gradient then.
  // Keys that are the queries share theirs.
  std::vector<std::size_t> pairs;
  bool keys_are_queries = false;
  std::vector<Runs> runs;
  std::int64_t stride = 1;
  HashRounds rounds;
  cpu::Dropout dropout;
  const cpu::RoundedKernels* rounded = nullptr;  // not null: products in bfloat16

  std::int64_t pair_count() const {
    return 1 + static_cast<std::int64_t>(*std::max_element(pairs.begin(), pairs.end()));
  }
  bool has_mixture() const { return mixed_source < sources.size(); }
  std::int64_t round_count() const { return rounds.order.defined() ? rounds.order.size(0) : 1; }
  // How many classes of places have no keys in common: all, or only one, with all of them inside.
  std::int64_t classes_apart() const {
    return std::all_of(sources.begin(), sources.end(), [](const KeySource& source) { return source.by_class; }) ? stride
                                                                                                                : 1;
  }
  std::int64_t sequences() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
};

// One head of one class of one sequence.
struct Unit {
  std::int64_t sequence, head, residue;
};

template <class T>
struct Tensors {
  at::Tensor q, out, log_sum, sum;
  at::Tensor rounding;  // see cpu::QueryBlock; undefined in a backward pass: not known
  std::vector<at::Tensor> k, v;
  at::Tensor grad_out, grad_log_sum, grad_q;
  std::vector<at::Tensor> grad_k, grad_v;
  at::Tensor mixture, grad_mixture;
};

// The mixed blocks of one head, (keys, d).
template <class T>
struct Mixed {
  T *k = nullptr, *v = nullptr, *grad_k = nullptr, *grad_v = nullptr;
};

// Blocks of a sequence of n keys: all have the first `last` places, all but the last one the others.
struct Blocks {
  std::int64_t count, last;
  Blocks(std::int64_t n, std::int64_t size) : count((n + size - 1) / size), last(n - (count - 1) * size) {}
  std::int64_t keys(std::int64_t size) const { return count == 1 ? last : count * size; }
};

template <class T>
cpu::Rows<const T> rows_of(const at::Tensor& x, std::int64_t row, std::int64_t head, std::int64_t stride,
                           const std::int32_t* order) {
  return {x.const_data_ptr<T>() + row * x.stride(0) + head * x.stride(1), x.stride(0) * stride, order};
}
template <class T>
cpu::Rows<T> writable_rows_of(const at::Tensor& x, std::int64_t row, std::int64_t head, std::int64_t stride,
                              const std::int32_t* order) {
  return {x.mutable_data_ptr<T>() + row * x.stride(0) + head * x.stride(1), x.stride(0) * stride, order};
}

// Queries that share a tile of keys: many where all keys are seen, fewer where a band or lists would make them see more
// than they need.
constexpr std::int64_t very_few_queries = 32, few_queries = 64, many_queries = cpu::max_queries, narrow_band = 64,
                       many_keys = 512;

// Calls kernel(block) for the query blocks first .. last - 1 of `parts` equal shares of one unit, in all rounds.
template <class T, class Kernel>
void for_blocks(const Problem& problem, const Tensors<T>& t, const Unit& unit, const Mixed<T>& mixed,
                std::int64_t share, std::int64_t shares, bool backward, const Kernel& kernel) {
  const auto at = [](const std::vector<std::int64_t>& list, std::int64_t i) {
    return list[static_cast<std::size_t>(i)];
  };
  const std::int64_t heads = t.q.size(1), stride = problem.stride,
                     first_row = at(problem.offsets, unit.sequence) + unit.residue;
  const std::int64_t n = (at(problem.offsets, unit.sequence + 1) - first_row + stride - 1) / stride;
  if (n <= 0) return;
  cpu::QueryBlock<T> block;
  block.d = t.q.size(2);
  block.scale = static_cast<T>(1.0 / std::sqrt(static_cast<double>(block.d)));
  block.log_sum_step = heads * stride;
  block.dropout = problem.dropout;
  block.dropout.head = static_cast<std::uint32_t>((unit.sequence * stride + unit.residue) * heads + unit.head);
  const std::int64_t numbers = first_row * heads + unit.head;  // of log_sum and sum (T, H)
  block.log_sum = t.log_sum.template mutable_data_ptr<T>() + numbers;
  if (t.rounding.defined()) block.rounding = t.rounding.template mutable_data_ptr<T>() + numbers;
  const std::size_t count = problem.sources.size();
  std::vector<cpu::KeyPart<T>> parts(count);
  std::vector<std::vector<cpu::Run>> runs(count);

  const std::int64_t rounds = problem.round_count();
  std::vector<T> log_counts;
  for (std::int64_t c = 0; c <= rounds; ++c) log_counts.push_back(std::log(static_cast<T>(c)));
  for (std::int64_t round = 0; round < rounds; ++round) {
    const std::int32_t* order = nullptr;
    if (problem.rounds.order.defined()) {
      const std::int64_t tokens = t.q.size(0), place = unit.head * tokens + first_row;
      order = problem.rounds.order.template const_data_ptr<std::int32_t>() + round * heads * tokens + place;
      block.meetings = {.own = problem.rounds.own.template const_data_ptr<std::int32_t>() + place,
                        .before = problem.rounds.before.template const_data_ptr<std::int32_t>() + place,
                        .round_step = heads * tokens,
                        .rounds = rounds,
                        .round = round,
                        .log_counts = log_counts.data()};
    }
    block.first_round = round == 0;
    block.last_round = round + 1 == rounds;
    block.q = rows_of<T>(t.q, first_row, unit.head, stride, order);
    if (backward) {
      block.saved_out = rows_of<T>(t.out, first_row, unit.head, stride, order);
      block.grad_out = rows_of<T>(t.grad_out, first_row, unit.head, stride, order);
      block.grad_q = writable_rows_of<T>(t.grad_q, first_row, unit.head, stride, order);
      block.add_to_grad_q = rounds > 1 || problem.keys_are_queries;
      if (t.grad_log_sum.defined()) block.grad_log_sum = t.grad_log_sum.template const_data_ptr<T>() + numbers;
    } else {
      block.out = writable_rows_of<T>(t.out, first_row, unit.head, stride, order);
      if (t.sum.defined()) block.sum = t.sum.template mutable_data_ptr<T>() + numbers;
    }
    std::vector<std::int64_t> key_counts;
    for (std::size_t p = 0; p < count; ++p) {
      const KeySource& source = problem.sources[p];
      const auto& offsets = source.offsets.empty() ? problem.offsets : source.offsets;
      const std::int64_t residue = source.by_class ? unit.residue : 0, step = source.by_class ? stride : 1;
      const std::int64_t row = at(offsets, unit.sequence) + residue;
      key_counts.push_back((at(offsets, unit.sequence + 1) - row + step - 1) / step);
      const std::size_t pair = problem.pairs[p];
      parts[p].k = rows_of<T>(t.k[pair], row, unit.head, step, order);
      parts[p].v = rows_of<T>(t.v[pair], row, unit.head, step, order);
      if (backward) {
        parts[p].grad_k = writable_rows_of<T>(t.grad_k[pair], row, unit.head, step, order);
        parts[p].grad_v = writable_rows_of<T>(t.grad_v[pair], row, unit.head, step, order);
      }
      parts[p].unit_keys = source.unit_keys;
      parts[p].band = source.pattern.band.value_or(-1);
      parts[p].visible_step = step;
      if (source.visible.defined())
        parts[p].visible = static_cast<const std::uint8_t*>(source.visible.const_data_ptr()) + row;
      if (p == problem.mixed_source) {
        key_counts.back() = Blocks(key_counts.back(), source.pattern.key_block).keys(source.pattern.key_block);
        parts[p].k = {mixed.k, block.d};
        parts[p].v = {mixed.v, block.d};
        parts[p].grad_k = {mixed.grad_k, block.d};
        parts[p].grad_v = {mixed.grad_v, block.d};
      }
    }
    // Blocks of places that have the same lists, and smaller ones of what fits into the caches.
    std::int64_t size = n, at_once = few_queries;
    for (std::size_t p = 0; p < count; ++p) {
      const BlockPattern& pattern = problem.sources[p].pattern;
      if (problem.runs[p].query_blocks > 1) {
        size = pattern.query_block;
      } else if (!pattern.band.has_value() && key_counts[p] >= many_keys) {
        at_once = many_queries;
      }
    }
    const auto narrow = [](const KeySource& source) {
      return source.pattern.band.value_or(narrow_band + 1) <= narrow_band;
    };
    if (std::all_of(problem.sources.begin(), problem.sources.end(), narrow)) at_once = very_few_queries;
    const std::int64_t blocks = (n + size - 1) / size;
    const std::int64_t pieces = (size + at_once - 1) / at_once, all_pieces = blocks * pieces;
    const std::int64_t piece_size = std::min((size + pieces - 1) / pieces, n);
    for (std::int64_t piece = all_pieces * share / shares; piece < all_pieces * (share + 1) / shares; ++piece) {
      const std::int64_t query_block = piece / pieces;
      block.first = query_block * size + piece % pieces * piece_size;
      block.count = std::min({piece_size, (query_block + 1) * size - block.first, n - block.first});
      if (block.count <= 0) continue;
      for (std::size_t p = 0; p < count; ++p) {
        runs[p].clear();
        const Runs& all = problem.runs[p];
        for (const cpu::Run& run : all.of(unit.sequence, unit.head, all.query_blocks > 1 ? query_block : 0)) {
          if (run.first < key_counts[p]) runs[p].push_back({run.first, std::min(run.last, key_counts[p])});
        }
        parts[p].runs = runs[p].data();
        parts[p].num_runs = static_cast<std::int64_t>(runs[p].size());
      }
      block.parts = parts.data();
      block.num_parts = static_cast<std::int64_t>(count);
      kernel(block);
    }
  }
}

// Shares of the query blocks of a unit, so that all threads have work where there are few units.
std::int64_t shares_of(const Problem& problem, std::int64_t heads) {
  const std::int64_t threads = at::get_num_threads(), units = problem.sequences() * heads * problem.classes_apart();
  return problem.rounds.order.defined() || problem.has_mixture() || units >= 4 * threads || units % threads == 0
             ? 1
             : threads;
}

// What of the mixture concerns one unit; calls work(mixture, keys) for the keys' and the values' places that are mixed
// alike.
template <class T, class Work>
void for_mixtures(const Problem& problem, const Tensors<T>& t, const Unit& unit, const Work& work) {
  const KeySource& source = problem.sources[problem.mixed_source];
  const auto& offsets = source.offsets.empty() ? problem.offsets : source.offsets;
  const auto sequence = static_cast<std::size_t>(unit.sequence);
  const std::int64_t size = source.pattern.key_block, row = offsets[sequence];
  if (offsets[sequence + 1] == row) return;
  const Blocks blocks(offsets[sequence + 1] - row, size);
  cpu::BlockMixture<T> mixture;
  mixture.d = t.q.size(2);
  mixture.block = size;
  mixture.blocks = blocks.count;
  mixture.weights_step = t.mixture.size(4);
  const std::size_t pair = problem.pairs[problem.mixed_source];
  for (const bool rest : {false, true}) {
    mixture.first_slot = rest ? blocks.last : 0;
    mixture.last_slot = rest ? size : blocks.last;
    mixture.sources = rest ? blocks.count - 1 : blocks.count;
    if (mixture.sources == 0 || mixture.first_slot == mixture.last_slot) continue;
    const std::int64_t place = (((rest ? 1 : 0) * t.mixture.size(1) + unit.sequence) * t.mixture.size(2) + unit.head) *
                               t.mixture.size(3) * t.mixture.size(4);
    mixture.weights = t.mixture.template const_data_ptr<T>() + place;
    if (t.grad_mixture.defined()) mixture.grad_weights = t.grad_mixture.template mutable_data_ptr<T>() + place;
    for (const bool keys : {true, false}) {
      mixture.x = rows_of<T>((keys ? t.k : t.v)[pair], row, unit.head, 1, nullptr);
      if (t.grad_mixture.defined())
        mixture.grad_x = writable_rows_of<T>((keys ? t.grad_k : t.grad_v)[pair], row, unit.head, 1, nullptr);
      work(mixture, keys);
    }
  }
}

// Memory of one thread for mixed blocks.
template <class T>
class MixtureMemory {
 public:
  MixtureMemory(const Problem& problem, const Tensors<T>& t, bool backward) {
    if (!problem.has_mixture()) return;
    const std::int64_t size = problem.sources[problem.mixed_source].pattern.key_block, blocks = t.mixture.size(3),
                       d = t.q.size(2);
    tensors_ = at::empty({backward ? 4 : 2, blocks * size * d}, t.q.options());
    scratch_ = at::empty({cpu::mixture_scratch(d, blocks)}, t.q.options());
    T* const memory = tensors_.template mutable_data_ptr<T>();
    const std::int64_t one = tensors_.size(1);
    mixed_ = {memory, memory + one, backward ? memory + 2 * one : nullptr, backward ? memory + 3 * one : nullptr};
  }
  const Mixed<T>& mix(const Problem& problem, const Tensors<T>& t, const Unit& unit) {
    if (!problem.has_mixture()) return mixed_;
    if (tensors_.size(0) == 4) tensors_.narrow(0, 2, 2).zero_();
    for_mixtures(problem, t, unit, [&](cpu::BlockMixture<T>& mixture, bool keys) {
      mixture.mixed = keys ? mixed_.k : mixed_.v;
      cpu::kernels().mix_blocks(mixture, scratch_.template mutable_data_ptr<T>());
    });
    return mixed_;
  }
  // Hands the gradients of mixed blocks on.
  void give_back(const Problem& problem, const Tensors<T>& t, const Unit& unit) {
    if (!problem.has_mixture()) return;
    for_mixtures(problem, t, unit, [&](cpu::BlockMixture<T>& mixture, bool keys) {
      mixture.grad_mixed = keys ? mixed_.grad_k : mixed_.grad_v;
      cpu::kernels().mix_blocks_backward(mixture, scratch_.template mutable_data_ptr<T>());
    });
  }

 private:
  at::Tensor tensors_, scratch_;
  Mixed<T> mixed_;
};

// work(unit, share, memory, scratch) for all units and shares, on all threads. Units that write to the same keys'
// gradients, classes with keys in common, stay on one.
template <class T, class Work>
void for_units(const Problem& problem, const Tensors<T>& t, std::int64_t shares, bool backward, const Work& work) {
  const std::int64_t heads = t.q.size(1), apart = problem.classes_apart(), together = problem.stride / apart;
  const std::int64_t tasks = problem.sequences() * heads * apart * shares;
  const std::int64_t d = t.q.size(2), scratch_size = problem.rounded != nullptr ? problem.rounded->scratch(d)
                                                                                : cpu::kernels().attention_scratch(d);
  struct Memory {
    at::Tensor scratch;
    MixtureMemory<T> mixture;
  };
  const auto make_memory = [&] {
    return Memory{at::empty({scratch_size}, t.q.options()), MixtureMemory<T>(problem, t, backward)};
  };
  on_threads_with(tasks, make_memory, [&](std::int64_t task, Memory& memory) {
    const std::int64_t unit = task / shares;
    for (std::int64_t residue = 0; residue < together; ++residue) {
      work(Unit{unit / heads / apart, unit % heads, unit / heads % apart + residue}, task % shares, memory.mixture,
           memory.scratch.template mutable_data_ptr<T>());
    }
  });
}

// The kernel of one pass. There are rounded ones for float only.
template <class T>
auto kernel_of(const Problem& problem, bool backward, T* scratch) {
  return [&problem, backward, scratch](const cpu::QueryBlock<T>& block) {
    if constexpr (std::is_same_v<T, float>) {
      if (problem.rounded != nullptr)
        return (backward ? problem.rounded->attention_backward : problem.rounded->attention_forward)(block, scratch);
    }
    backward ? cpu::kernels().attention_backward(block, scratch) : cpu::kernels().attention_forward(block, scratch);
  };
}

template <class T>
void forward(const Problem& problem, Tensors<T>& t) {
  const std::int64_t shares = shares_of(problem, t.q.size(1));
  for_units(problem, t, shares, false, [&](const Unit& unit, std::int64_t share, MixtureMemory<T>& memory, T* scratch) {
    for_blocks(problem, t, unit, memory.mix(problem, t, unit), share, shares, false,
               kernel_of(problem, false, scratch));
  });
}

template <class T>
void backward(const Problem& problem, Tensors<T>& t) {
  const std::int64_t shares = shares_of(problem, t.q.size(1));
  // The first share writes where the gradients belong, the others into tensors of their own, which are added in order.
  std::vector<Tensors<T>> of_share(static_cast<std::size_t>(shares), t);
  for (std::size_t share = 1; share < of_share.size(); ++share) {
    for (auto* grads : {&of_share[share].grad_k, &of_share[share].grad_v}) {
      for (auto& grad : *grads) grad = at::zeros_like(grad);
    }
  }
  for_units(problem, t, shares, true, [&](const Unit& unit, std::int64_t share, MixtureMemory<T>& memory, T* scratch) {
    for_blocks(problem, of_share[static_cast<std::size_t>(share)], unit, memory.mix(problem, t, unit), share, shares,
               true, kernel_of(problem, true, scratch));
    memory.give_back(problem, t, unit);
  });
  for (std::size_t share = 1; share < of_share.size(); ++share) {
    for (std::size_t p = 0; p < t.grad_k.size(); ++p) {
      t.grad_k[p].add_(of_share[share].grad_k[p]);
      t.grad_v[p].add_(of_share[share].grad_v[p]);
    }
  }
}

// What RECORD_FUNCTION is told, where somebody listens: the tensors, and the multiplications and additions of one
// product of all tiles times `products`.
template <class T>
std::vector<c10::IValue> recorded(const Problem& problem, const Tensors<T>& t, double products) {
  if (!at::hasCallbacks()) return {};
  double pairs = 0;
  for (std::int64_t unit = 0; unit < problem.sequences() * t.q.size(1) * problem.stride; ++unit) {
    const std::int64_t heads = t.q.size(1);
    for_blocks(
        problem, t, {unit / heads / problem.stride, unit % heads, unit / heads % problem.stride}, {}, 0, 1, false,
        [&](const cpu::QueryBlock<T>& block) {
          for (std::int64_t p = 0; p < block.num_parts; ++p) {
            const cpu::KeyPart<T>& part = block.parts[p];
            for (const cpu::Run& run : std::span(part.runs, static_cast<std::size_t>(part.num_runs))) {
              const bool banded = part.band >= 0;
              const std::int64_t first = banded ? std::max(run.first, block.first - part.band) : run.first;
              const std::int64_t last = banded ? std::min(run.last, block.first + block.count + part.band) : run.last;
              pairs += static_cast<double>(block.count) * static_cast<double>(std::max<std::int64_t>(last - first, 0));
            }
          }
        });
  }
  std::vector<c10::IValue> values{t.q};
  for (std::size_t p = 0; p < t.k.size(); ++p) values.insert(values.end(), {t.k[p], t.v[p]});
  values.emplace_back(2 * products * pairs * static_cast<double>(t.q.size(2)));
  return values;
}

// q, keys, values and the mixture, which comes after all pairs of keys and values.
template <class T>
Tensors<T> inputs(const Problem& problem, const at::Tensor& q, at::TensorList keys_and_values) {
  Tensors<T> t;
  t.q = rows_in_line(q);
  for (std::int64_t pair = 0; pair < problem.pair_count(); ++pair) {
    t.k.push_back(rows_in_line(keys_and_values[static_cast<std::size_t>(2 * pair)]));
    t.v.push_back(rows_in_line(keys_and_values[static_cast<std::size_t>(2 * pair + 1)]));
  }
  if (problem.has_mixture()) t.mixture = keys_and_values.back().contiguous();
  return t;
}

template <class T>
Tensors<T> run_forward(const Problem& problem, const at::Tensor& q, at::TensorList keys_and_values) {
  Tensors<T> t = inputs<T>(problem, q, keys_and_values);
  t.out = at::empty(q.sizes(), q.options());
  t.log_sum = at::empty({q.size(0), q.size(1)}, q.options());
  t.rounding = at::empty_like(t.log_sum);
  if (problem.round_count() > 1) t.sum = at::empty_like(t.log_sum);
  RECORD_FUNCTION("lra::packed_attention", recorded(problem, t, 2));
  forward(problem, t);
  guard.setOutputs(std::vector<c10::IValue>{t.out, t.log_sum});
  return t;
}

// What a backward pass needs of the forward pass.
struct Kept {
  at::Tensor out, log_sum, rounding;
};

template <class T>
tensor_list run_backward(const Problem& problem, const at::Tensor& q, at::TensorList keys_and_values, const Kept& kept,
                         const at::Tensor& grad_out, const at::Tensor& grad_log_sum) {
  Tensors<T> t = inputs<T>(problem, q, keys_and_values);
  t.out = kept.out;
  t.log_sum = kept.log_sum;
  t.rounding = kept.rounding;
  t.grad_out = grad_out.defined() ? rows_in_line(grad_out) : at::zeros_like(t.out);
  if (grad_log_sum.defined()) t.grad_log_sum = grad_log_sum.contiguous();
  t.grad_q = problem.round_count() > 1 || problem.keys_are_queries ? at::zeros(q.sizes(), q.options())
                                                                   : at::empty(q.sizes(), q.options());
  tensor_list gradients{t.grad_q};
  for (std::size_t pair = 0; pair < t.k.size(); ++pair) {
    const bool shared = problem.keys_are_queries && pair == 0;
    t.grad_k.push_back(shared ? t.grad_q : at::zeros(t.k[pair].sizes(), q.options()));
    t.grad_v.push_back(at::zeros(t.v[pair].sizes(), q.options()));
    gradients.push_back(shared ? at::Tensor() : t.grad_k.back());
    gradients.push_back(t.grad_v.back());
  }
  if (problem.has_mixture()) gradients.push_back(t.grad_mixture = at::zeros_like(t.mixture));
  RECORD_FUNCTION("lra::packed_attention_backward", recorded(problem, t, 5));
  backward(problem, t);
  guard.setOutputs(std::vector<c10::IValue>(gradients.begin(), gradients.end()));
  return gradients;
}

struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& q, at::TensorList keys_and_values,
                             const c10::intrusive_ptr<Problem>& problem) {
    const auto run = [&]<class T>(T) {
      const Tensors<T> t = run_forward<T>(*problem, q, keys_and_values);
      return Kept{t.out, t.log_sum, t.rounding};
    };
    const Kept kept = q.scalar_type() == at::kDouble ? run(double{}) : run(float{});
    tensor_list saved{q, kept.out, kept.log_sum, kept.rounding};
    saved.insert(saved.end(), keys_and_values.begin(), keys_and_values.end());
    context->save_for_backward(saved);
    context->saved_data["problem"] =
        c10::IValue::make_capsule(c10::static_intrusive_pointer_cast<torch::CustomClassHolder>(problem));
    return {kept.out, kept.log_sum};
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    refuse_second_derivative("packed_attention");
    const auto saved = context->get_saved_variables();
    const auto& problem = *c10::static_intrusive_pointer_cast<Problem>(context->saved_data["problem"].toCapsule());
    const auto run = saved[0].scalar_type() == at::kDouble ? run_backward<double> : run_backward<float>;
    tensor_list result = run(problem, saved[0], at::TensorList(saved).slice(4), {saved[1], saved[2], saved[3]},
                             gradients[0], gradients[1]);
    result.emplace_back();
    return result;
  }
};

struct Prepared {
  at::Tensor q;
  std::vector<at::Tensor> keys_and_values;  // of each pair
  c10::intrusive_ptr<Problem> problem;
};

Prepared prepare(const at::Tensor& q, const std::vector<std::int64_t>& offsets, const std::vector<KeySource>& sources,
                 double dropout, std::int64_t stride, const HashRounds& rounds) {
  TORCH_CHECK(q.is_cpu() && q.dim() == 3 && offsets.back() == q.size(0), "packed_attention: expected queries (",
              offsets.back(), ", H, d) on the CPU, found ", q.sizes());
  const auto type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  auto problem = c10::make_intrusive<Problem>();
  problem->offsets = offsets;
  problem->stride = stride;
  problem->rounds = rounds;
  problem->dropout = cpu::drawn_dropout(dropout);
  if (q.scalar_type() == at::kBFloat16) problem->rounded = cpu::rounded_kernels();
  std::vector<at::Tensor> keys_and_values;
  std::vector<const KeySource*> firsts;  // one for each pair
  at::Tensor mixture;
  for (const KeySource& source : sources) {
    const std::int64_t keys = source.offsets.empty() ? offsets.back() : source.offsets.back();
    TORCH_CHECK(source.k.size(0) == keys && source.v.sizes() == source.k.sizes() && source.k.size(1) == q.size(1) &&
                    source.k.size(2) == q.size(2),
                "packed_attention: keys ", source.k.sizes(), " and values ", source.v.sizes(), " for ", keys,
                " places and queries ", q.sizes());
    TORCH_CHECK(!rounds.order.defined() || rounds.order.size(0) <= cpu::max_rounds, "packed_attention: at most ",
                cpu::max_rounds, " rounds");
    problem->runs.emplace_back(source.pattern);
    std::size_t pair = 0;
    while (pair < firsts.size() && !(firsts[pair]->k.is_same(source.k) && firsts[pair]->v.is_same(source.v))) ++pair;
    problem->pairs.push_back(pair);
    if (pair == firsts.size()) {
      firsts.push_back(&source);
      keys_and_values.push_back(source.k.to(type));
      keys_and_values.push_back(source.v.to(type));
    }
    if (source.mixture.defined()) {
      TORCH_CHECK(!problem->has_mixture() && stride == 1 && !rounds.order.defined(),
                  "packed_attention: one mixture, without a stride and rounds");
      problem->mixed_source = problem->sources.size();
      mixture = source.mixture.to(type);
    }
    KeySource kept = source;
    kept.k = kept.v = kept.mixture = at::Tensor();
    if (kept.visible.defined()) kept.visible = kept.visible.contiguous();
    problem->sources.push_back(std::move(kept));
  }
  if (mixture.defined()) keys_and_values.push_back(mixture);
  // Shares of queries would write to the same keys' gradients.
  problem->keys_are_queries = sources[0].k.is_same(q) && rounds.order.defined();
  return {q.to(type), keys_and_values, problem};
}

}  // namespace

PartialAttention packed_attention(const at::Tensor& q, const std::vector<std::int64_t>& offsets,
                                  const std::vector<KeySource>& sources, double dropout, std::int64_t stride,
                                  const HashRounds& rounds) {
  const Prepared prepared = prepare(q, offsets, sources, dropout, stride, rounds);
  const auto result = PackedAttention::apply(prepared.q, at::TensorList(prepared.keys_and_values), prepared.problem);
  return {result[0].to(q.scalar_type()), result[1]};
}

std::vector<at::Tensor> packed_attention_backward(const PartialAttention& gradient, const PartialAttention& result,
                                                  const at::Tensor& q, const std::vector<std::int64_t>& offsets,
                                                  const KeySource& source, std::int64_t stride) {
  const Prepared prepared = prepare(q, offsets, {source}, 0, stride, {});
  const auto type = prepared.q.scalar_type();
  const auto run = type == at::kDouble ? run_backward<double> : run_backward<float>;
  const auto converted = [&](const at::Tensor& x) { return x.defined() ? x.to(type) : x; };
  std::vector<at::Tensor> gradients = run(*prepared.problem, prepared.q, prepared.keys_and_values,
                                          {result.out.to(type).contiguous(), result.log_sum.contiguous(), {}},
                                          converted(gradient.out), converted(gradient.log_sum));
  for (at::Tensor& x : gradients) x = x.to(q.scalar_type());
  return gradients;
}

}  // namespace lra::ops
