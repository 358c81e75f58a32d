#pragma once

// What is compiled once for each instruction set (plain.cpp, avx2.cpp, avx512.cpp) and chosen when the program runs. Everything here is plain data: these
// files must not emit functions of the standard library or of LibTorch, which the linker could then take for the whole program.

#include <cstdint>

namespace lra::ops::cpu {

/// The vectors of one head of one sequence: vector i begins at data + (order ? order[i] : i) * step and has d numbers in a row.
template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t step = 0;
  const std::int32_t* order = nullptr;
};

/// Keys first .. last - 1.
struct Run {
  std::int64_t first = 0, last = 0;
};

/// Some keys of the queries of one block, each key once in all parts together.
template <class T>
struct KeyPart {
  Rows<const T> k, v;
  Rows<T> grad_k, grad_v;  ///< backward: added to
  const Run* runs = nullptr;
  std::int64_t num_runs = 0;
  std::int64_t band = -1;                ///< largest distance of query and key; -1: any
  const std::uint8_t* visible = nullptr;  ///< of key i at i * visible_step (after `order`); null: all are
  std::int64_t visible_step = 1;
  bool unit_keys = false;  ///< keys are divided by their length; forward and backward
};

/// Several hash rounds whose pairs count once: a query i meets key j in round r if own[r][j] is own[r][i] or before[r][i], all numbered by
/// token. Null where there are none.
template <class T>
struct Meetings {
  const std::int32_t *own = nullptr, *before = nullptr;
  std::int64_t round_step = 0;  ///< from one round to the next
  std::int64_t rounds = 0, round = 0;
  const T* log_counts = nullptr;  ///< logarithms of 0 (not read) .. rounds
  bool self_last = false;         ///< a token sees itself only if it meets nobody else
};

/// Weights of a query and a key are dropped where a 16-bit number is below `drop_below`, the others multiplied by `scale`. The number is a function of the
/// seed, `head`, the hash round and the tokens, so that the backward pass draws it again, and neither tiles nor threads nor instruction sets matter: number
/// key % 8 (16 bits each) of Philox' four words for the counter (query, key / 8, head, 256 round + part).
struct Dropout {
  std::uint64_t seed = 0;
  std::uint32_t drop_below = 0;  ///< of 65536; 0: nothing is drawn
  double scale = 1;
  std::uint32_t head = 0;  ///< number of sequence and head
};

/// Softmax attention of the queries first .. first + count - 1 over the keys of all parts.
template <class T>
struct QueryBlock {
  std::int64_t d = 0;
  T scale = 1;
  std::int64_t first = 0, count = 0;  ///< count <= max_queries
  Rows<const T> q;
  const KeyPart<T>* parts = nullptr;
  std::int64_t num_parts = 0;
  Meetings<T> meetings;
  Dropout dropout;
  /// Forward. By token: what comes out; the logits' log-sum-exp (masked_logit where there is no key). While rounds follow, `out` is not yet
  /// divided by `sum` and log_sum is the largest logit.
  Rows<T> out;
  T *log_sum = nullptr, *sum = nullptr;
  std::int64_t log_sum_step = 1;
  bool first_round = true, last_round = true;
  /// Backward.
  Rows<const T> grad_out, saved_out;
  const T* grad_log_sum = nullptr;  ///< null: zero
  Rows<T> grad_q;
  bool add_to_grad_q = false;  ///< otherwise it is set
};

constexpr std::int64_t max_rounds = 16;
constexpr std::int64_t max_queries = 128;
constexpr std::int64_t max_keys = 64;  ///< of a tile

struct Kernels {
  const char* name;
  /// Numbers of scratch memory, 64-byte aligned, that a call needs.
  std::int64_t (*attention_scratch)(std::int64_t d);
  void (*attention_forward_float)(const QueryBlock<float>&, float* scratch);
  void (*attention_backward_float)(const QueryBlock<float>&, float* scratch);
  void (*attention_forward_double)(const QueryBlock<double>&, double* scratch);
  void (*attention_backward_double)(const QueryBlock<double>&, double* scratch);

  void attention_forward(const QueryBlock<float>& block, float* scratch) const { attention_forward_float(block, scratch); }
  void attention_forward(const QueryBlock<double>& block, double* scratch) const { attention_forward_double(block, scratch); }
  void attention_backward(const QueryBlock<float>& block, float* scratch) const { attention_backward_float(block, scratch); }
  void attention_backward(const QueryBlock<double>& block, double* scratch) const { attention_backward_double(block, scratch); }
};

const Kernels& plain_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();

/// The fastest for this processor, as LibTorch sees it (the environment variable ATEN_CPU_CAPABILITY lowers it).
const Kernels& kernels();

}  // namespace lra::ops::cpu
