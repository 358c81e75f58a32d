#pragma once

// What is compiled once for each instruction set (plain.cpp, avx2.cpp, avx512.cpp) and chosen when the program runs.
// Everything here is plain data: these files must not emit functions of the standard library or of LibTorch, which the
// linker could then take for the whole program.

#include <cstdint>

#include "ops/masked_logit.h"

namespace lra::ops::cpu {

/// The vectors of one head of one sequence: vector i begins at data + (order ? order[i] : i) * step and has d numbers
/// in a row.
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
  std::int64_t band = -1;                 ///< largest distance of query and key; -1: any
  const std::uint8_t* visible = nullptr;  ///< of key i at i * visible_step (after `order`); null: all are
  std::int64_t visible_step = 1;
  bool unit_keys = false;  ///< keys are divided by their length; forward and backward
};

/// Several hash rounds whose pairs count once: a query i meets key j in round r if own[r][j] is own[r][i] or
/// before[r][i], all numbered by token. A token sees itself only if it meets nobody else. Null where there are none.
template <class T>
struct Meetings {
  const std::int32_t *own = nullptr, *before = nullptr;
  std::int64_t round_step = 0;  ///< from one round to the next
  std::int64_t rounds = 0, round = 0;
  const T* log_counts = nullptr;  ///< logarithms of 0 (not read) .. rounds
};

/// Weights of a query and a key are dropped where a 16-bit number is below `drop_below`, the others multiplied by
/// `scale`. The number is a function of the seed, `head`, the hash round and the tokens, so that the backward pass
/// draws it again, and neither tiles nor threads nor instruction sets matter: number key % 8 (16 bits each) of Philox'
/// four words for the counter (query, key / 8, head, 256 round + part).
struct Dropout {
  std::uint64_t seed = 0;
  std::uint32_t drop_below = 0;  ///< of 65536; 0: nothing is drawn
  double scale = 1;
  std::uint32_t head = 0;  ///< number of sequence and head
};
/// With this probability (to 1/65536), by a seed from the default generator; 0: none is drawn.
Dropout drawn_dropout(double probability);

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
  /// Forward: what comes out; by token: the logits' log-sum-exp (masked_logit where there is no key). While rounds
  /// follow, `out` is not yet divided by `sum` and log_sum is the largest logit.
  Rows<T> out;
  T *log_sum = nullptr, *sum = nullptr;
  /// By token as log_sum: e to the power of (log_sum, rounded, - its exact value). Written by the forward pass of the
  /// last round; the backward pass needs it where logits are so large that rounding their log-sum-exp is not small.
  /// Null: 1.
  T* rounding = nullptr;
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

/// Places first_slot .. last_slot - 1 of each block of one head: those of block i of `mixed` are Σ_j weights[i, j] x
/// block j's, over the first `sources` blocks.
template <class T>
struct BlockMixture {
  std::int64_t d = 0, block = 0, blocks = 0, sources = 0;  ///< numbers of a vector; places in a block
  std::int64_t first_slot = 0, last_slot = 0;
  const T* weights = nullptr;  ///< (blocks, sources)
  std::int64_t weights_step = 0;
  Rows<const T> x;
  T* mixed = nullptr;  ///< (blocks * block, d)
  /// Backward; what is not const is added to.
  const T* grad_mixed = nullptr;
  Rows<T> grad_x;
  T* grad_weights = nullptr;
};
constexpr std::int64_t slots_at_once = 4;  ///< that are mixed
constexpr std::int64_t mixture_scratch(std::int64_t d, std::int64_t blocks) {
  const std::int64_t width = (d + 15) / 16 * 16, padded = (blocks + 15) / 16 * 16;
  return padded * ((3 * slots_at_once + 1) * width + padded);
}

/// y = x Wᵀ + b.
template <class T>
struct LinearMap {
  std::int64_t width = 0;         ///< of y
  const T* weight = nullptr;      ///< (width, width of x); read by the backward pass
  const T* transposed = nullptr;  ///< its transpose; read by the forward pass
  const T* bias = nullptr;        ///< (width); null: zero
  T* y = nullptr;                 ///< (rows, width)
  /// Backward; what is not const is added to, grad_bias may be null.
  const T* grad_y = nullptr;
  T *grad_weight = nullptr, *grad_bias = nullptr;
};

/// The rows first .. last - 1 of several maps of one x. All widths are multiples of 16.
template <class T>
struct LinearMaps {
  std::int64_t width = 0;  ///< of x
  std::int64_t first = 0, last = 0;
  const T* x = nullptr;  ///< (rows, width)
  T* grad_x = nullptr;   ///< set; null: not wanted
  const LinearMap<T>* maps = nullptr;
  std::int64_t count = 0;
};

/// Feature maps φ of attention without a softmax over pairs.
enum class Features : std::int32_t {
  elu,          ///< elu(x) + 1
  softmax,      ///< over the features of a query, over the tokens for each feature of the keys
  exponential,  ///< exp(w·x - |x|²/2) for each direction w
  relu,         ///< max(w·x, 0) + ε
  sincos        ///< sin and cos of σ w·x/|x|
};

/// The parts of feature-map attention, in this order.
enum class FeatureStep : std::int32_t {
  keys,              ///< sums over the keys of some tokens
  finish,            ///< sums over all keys → what queries read
  queries,           ///< out
  query_gradients,   ///< grad_q, and grad_sums over some tokens
  finish_gradients,  ///< grad_sums over all queries → what keys read
  key_gradients      ///< grad_k and grad_v
};

/// Some tokens of one head of one sequence: out = φ(q) (φ(k)ᵀ V) / (φ(q) Σ φ(k)).
template <class T>
struct FeatureUnit {
  Features map = Features::elu;
  std::int64_t d = 0, m = 0;  ///< numbers of a head; features (sincos: directions)
  std::int64_t n = 0;         ///< tokens of the sequence
  std::int64_t first = 0, count = 0;
  /// (m, d) and (d, m), scaled, widths and heights padded with zeros to multiples of 16; null where the map has none.
  const T *directions = nullptr, *directions_by_feature = nullptr;
  T half = 0;     ///< exponential: what |x|² is multiplied by
  T epsilon = 0;  ///< exponential: relative to the mean feature
  T sigma = 1;
  Rows<const T> q, k, v;
  Rows<T> out;
  T* sums = nullptr;  ///< feature_sums(map, d, m) numbers
  /// Backward.
  Rows<const T> saved_out, grad_out;
  Rows<T> grad_q, grad_k, grad_v;
  T* grad_sums = nullptr;   ///< as `sums`
  T* grad_sigma = nullptr;  ///< one number, added to
};

/// What a map adds up over the tokens of a sequence; all widths are multiples of 16.
constexpr std::int64_t feature_width(Features map, std::int64_t m) {
  return (m + 15) / 16 * 16 * (map == Features::sincos ? 2 : 1);
}
constexpr std::int64_t feature_sums(Features map, std::int64_t d, std::int64_t m) {
  const std::int64_t width = (d + 15) / 16 * 16;
  return feature_width(map, m) * (width + 3) + width;
}
constexpr std::int64_t feature_tokens = 64;  ///< whose features are there at a time
constexpr std::int64_t feature_scratch(Features map, std::int64_t d, std::int64_t m) {
  const std::int64_t width = (d + 15) / 16 * 16, features = feature_width(map, m);
  return feature_tokens * (3 * width + 2 * (features + 16) + 3) + features * width;
}

constexpr std::int64_t max_radix = 64;

/// A discrete Fourier transform of n complex numbers; all tables are complex numbers, real part first.
template <class T>
struct FourierPlan {
  std::int64_t n = 0, size = 0;           ///< size: n, or the length of the convolution that stands for it
  const std::int64_t* radices = nullptr;  ///< of size, each at most max_radix
  std::int64_t num_radices = 0;
  const T* roots = nullptr;  ///< (size) exp(-2πi t / size)
  const T
      *chirp = nullptr,
      *filter =
          nullptr;  ///< (n) exp(-πi t² / n), (size) the transform of its conjugate divided by size; null if size is n
};
constexpr std::int64_t fourier_scratch(std::int64_t size) { return 4 * 32 * size; }

struct Kernels {
  const char* name;
  std::int64_t vector_bytes;
  /// Numbers of scratch memory that a call needs.
  std::int64_t (*attention_scratch)(std::int64_t d);
  void (*attention_forward_float)(const QueryBlock<float>&, float* scratch);
  void (*attention_backward_float)(const QueryBlock<float>&, float* scratch);
  void (*attention_forward_double)(const QueryBlock<double>&, double* scratch);
  void (*attention_backward_double)(const QueryBlock<double>&, double* scratch);
  void (*feature_attention_float)(FeatureStep, const FeatureUnit<float>&, float* scratch);
  void (*feature_attention_double)(FeatureStep, const FeatureUnit<double>&, double* scratch);
  /// Adds the sums over some keys (or of gradients) to those over others.
  void (*merge_features_float)(const FeatureUnit<float>&, const float* more);
  void (*merge_features_double)(const FeatureUnit<double>&, const double* more);
  void (*mix_blocks_float)(const BlockMixture<float>&, float* scratch);
  void (*mix_blocks_double)(const BlockMixture<double>&, double* scratch);
  void (*mix_blocks_backward_float)(const BlockMixture<float>&, float* scratch);
  void (*mix_blocks_backward_double)(const BlockMixture<double>&, double* scratch);
  void (*linear_forward_float)(const LinearMaps<float>&);
  void (*linear_forward_double)(const LinearMaps<double>&);
  void (*linear_backward_float)(const LinearMaps<float>&);
  void (*linear_backward_double)(const LinearMaps<double>&);
  /// at::layer_norm of n vectors of d numbers, to (n, d); from the gradient of this, y, that of x, in place.
  void (*normalise_float)(const Rows<const float>& x, std::int64_t n, std::int64_t d, float* to);
  void (*normalise_double)(const Rows<const double>& x, std::int64_t n, std::int64_t d, double* to);
  void (*normalise_backward_float)(const Rows<const float>& x, std::int64_t n, std::int64_t d, const float* y,
                                   const Rows<float>& grad);
  void (*normalise_backward_double)(const Rows<const double>& x, std::int64_t n, std::int64_t d, const double* y,
                                    const Rows<double>& grad);
  /// The transform of each of the rows of plan.n numbers, half of it, for fourier_columns. The rows must be of one
  /// sequence: they are transformed in pairs.
  void (*fourier_rows_float)(const FourierPlan<float>& plan, std::int64_t rows, const float* in, float* out,
                             float* scratch);
  void (*fourier_rows_double)(const FourierPlan<double>& plan, std::int64_t rows, const double* in, double* out,
                              double* scratch);
  /// The real part of the transform of n of these rows, of d numbers, and zeros up to plan.n, in place; for one group
  /// of as many frequencies as a vector holds.
  void (*fourier_columns_float)(const FourierPlan<float>& plan, std::int64_t n, std::int64_t d, std::int64_t group,
                                float* rows, float* scratch);
  void (*fourier_columns_double)(const FourierPlan<double>& plan, std::int64_t n, std::int64_t d, std::int64_t group,
                                 double* rows, double* scratch);

  void attention_forward(const QueryBlock<float>& block, float* scratch) const {
    attention_forward_float(block, scratch);
  }
  void attention_forward(const QueryBlock<double>& block, double* scratch) const {
    attention_forward_double(block, scratch);
  }
  void attention_backward(const QueryBlock<float>& block, float* scratch) const {
    attention_backward_float(block, scratch);
  }
  void attention_backward(const QueryBlock<double>& block, double* scratch) const {
    attention_backward_double(block, scratch);
  }
  void feature_attention(FeatureStep step, const FeatureUnit<float>& unit, float* scratch) const {
    feature_attention_float(step, unit, scratch);
  }
  void feature_attention(FeatureStep step, const FeatureUnit<double>& unit, double* scratch) const {
    feature_attention_double(step, unit, scratch);
  }
  void merge_features(const FeatureUnit<float>& unit, const float* more) const { merge_features_float(unit, more); }
  void merge_features(const FeatureUnit<double>& unit, const double* more) const { merge_features_double(unit, more); }
  void mix_blocks(const BlockMixture<float>& mixture, float* scratch) const { mix_blocks_float(mixture, scratch); }
  void mix_blocks(const BlockMixture<double>& mixture, double* scratch) const { mix_blocks_double(mixture, scratch); }
  void mix_blocks_backward(const BlockMixture<float>& mixture, float* scratch) const {
    mix_blocks_backward_float(mixture, scratch);
  }
  void mix_blocks_backward(const BlockMixture<double>& mixture, double* scratch) const {
    mix_blocks_backward_double(mixture, scratch);
  }
  void linear_forward(const LinearMaps<float>& maps) const { linear_forward_float(maps); }
  void linear_forward(const LinearMaps<double>& maps) const { linear_forward_double(maps); }
  void linear_backward(const LinearMaps<float>& maps) const { linear_backward_float(maps); }
  void linear_backward(const LinearMaps<double>& maps) const { linear_backward_double(maps); }
  void normalise(const Rows<const float>& x, std::int64_t n, std::int64_t d, float* to) const {
    normalise_float(x, n, d, to);
  }
  void normalise(const Rows<const double>& x, std::int64_t n, std::int64_t d, double* to) const {
    normalise_double(x, n, d, to);
  }
  void normalise_backward(const Rows<const float>& x, std::int64_t n, std::int64_t d, const float* y,
                          const Rows<float>& grad) const {
    normalise_backward_float(x, n, d, y, grad);
  }
  void normalise_backward(const Rows<const double>& x, std::int64_t n, std::int64_t d, const double* y,
                          const Rows<double>& grad) const {
    normalise_backward_double(x, n, d, y, grad);
  }
  void fourier_rows(const FourierPlan<float>& plan, std::int64_t rows, const float* in, float* out,
                    float* scratch) const {
    fourier_rows_float(plan, rows, in, out, scratch);
  }
  void fourier_rows(const FourierPlan<double>& plan, std::int64_t rows, const double* in, double* out,
                    double* scratch) const {
    fourier_rows_double(plan, rows, in, out, scratch);
  }
  void fourier_columns(const FourierPlan<float>& plan, std::int64_t n, std::int64_t d, std::int64_t group, float* rows,
                       float* scratch) const {
    fourier_columns_float(plan, n, d, group, rows, scratch);
  }
  void fourier_columns(const FourierPlan<double>& plan, std::int64_t n, std::int64_t d, std::int64_t group,
                       double* rows, double* scratch) const {
    fourier_columns_double(plan, n, d, group, rows, scratch);
  }
};

const Kernels& plain_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();

/// Attention whose products have factors rounded to bfloat16 and float32 sums; all else, and what is read and written,
/// is float32.
struct RoundedKernels {
  const char* name;
  std::int64_t (*scratch)(std::int64_t d);
  void (*attention_forward)(const QueryBlock<float>&, float* scratch);
  void (*attention_backward)(const QueryBlock<float>&, float* scratch);
};
/// AMX tiles and AVX-512's dot products of pairs; null where the compiler's target has none. Only where the processor
/// has these instructions may they be called.
const RoundedKernels* tile_kernels();
const RoundedKernels* vector_kernels();
/// The faster one that this processor and its operating system allow; null: neither.
const RoundedKernels* rounded_kernels();

/// The fastest for this processor, as LibTorch sees it (the environment variable ATEN_CPU_CAPABILITY lowers it).
const Kernels& kernels();

}  // namespace lra::ops::cpu
