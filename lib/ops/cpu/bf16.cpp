#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <utility>

#include "ops/cpu/kernels.h"

#define LRA_VECTOR_BYTES 64

namespace lra::ops::cpu {

#if defined(__AVX512BF16__) && defined(__AMX_BF16__)
namespace bf16 {

#include "ops/cpu/simd.h"
// after simd.h
#include "ops/cpu/philox.h"
// after both
#include "ops/cpu/attention.h"

// What both units read: A (rows, depth) in rows of bfloat16; B (depth, columns) in pairs of rows, B[2r][c] and B[2r +
// 1][c] side by side, the first in the lower half; C (rows, columns) in float32. Rows, columns and depth are multiples
// of 32; steps are in numbers of the pointer's type.
using Bits = std::uint16_t;
using Pair = std::uint32_t;

LRA_INLINE __m512i pairs_of(Vector<float> low, Vector<float> high) {
  const __m512i places = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                          21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(places, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
}

// (count, width) → rows of bfloat16; zeros from `count` to `padded`.
LRA_INLINE void round_rows(const float* from, std::int64_t step, std::int64_t count, std::int64_t padded,
                           std::int64_t width, Bits* to) {
  for (std::int64_t r = 0; r < padded; ++r, to += width) {
    for (std::int64_t c = 0; c < width; c += 32) {
      const float* const row = from + r * step + c;
      _mm512_storeu_si512(to + c, r < count ? reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(load(row + 16), load(row)))
                                            : _mm512_setzero_si512());
    }
  }
}

// (count, width) → pairs of rows; zeros from `count` to `padded`.
LRA_INLINE void pair_rows(const float* from, std::int64_t step, std::int64_t count, std::int64_t padded,
                          std::int64_t width, Pair* to) {
  for (std::int64_t r = 0; r < padded; r += 2, to += width) {
    for (std::int64_t c = 0; c < width; c += 16) {
      const float* const row = from + r * step + c;
      const Vector<float> low = r < count ? load(row) : Vector<float>{},
                          high = r + 1 < count ? load(row + step) : Vector<float>{};
      _mm512_storeu_si512(to + c, pairs_of(low, high));
    }
  }
}

// Only moves bits.
LRA_INLINE void transpose_words(std::int64_t rows, std::int64_t columns, const void* from, void* to) {
  transpose(rows, columns, static_cast<const float*>(from), columns, static_cast<float*>(to), rows);
}

// Intel's tiles: 16 rows of 64 bytes.
struct Tiles {
  struct alignas(64) Layout {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  Tiles() {
    const Layout layout;
    _tile_loadconfig(&layout);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <bool add>
  static void product(std::int64_t rows, std::int64_t columns, std::int64_t depth, const Bits* a, std::int64_t a_step,
                      const Pair* b, std::int64_t b_step, float* c, std::int64_t c_step) {
    asm volatile("" ::: "memory");  // g++ does not know that loads of tiles read memory
    const std::int64_t a_bytes = 2 * a_step, b_bytes = 4 * b_step, c_bytes = 4 * c_step;
    for (std::int64_t n = 0; n < columns; n += 32) {
      for (std::int64_t m = 0; m < rows; m += 32) {
        float* const upper = c + m * c_step + n;
        float* const lower = upper + 16 * c_step;
        if constexpr (add) {
          _tile_loadd(0, upper, c_bytes);
          _tile_loadd(1, upper + 16, c_bytes);
          _tile_loadd(2, lower, c_bytes);
          _tile_loadd(3, lower + 16, c_bytes);
        } else {
          _tile_zero(0);
          _tile_zero(1);
          _tile_zero(2);
          _tile_zero(3);
        }
        for (std::int64_t k = 0; k < depth; k += 32) {
          _tile_loadd(4, a + m * a_step + k, a_bytes);
          _tile_loadd(5, a + (m + 16) * a_step + k, a_bytes);
          _tile_loadd(6, b + k / 2 * b_step + n, b_bytes);
          _tile_loadd(7, b + k / 2 * b_step + n + 16, b_bytes);
          _tile_dpbf16ps(0, 4, 6);
          _tile_dpbf16ps(1, 4, 7);
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, upper, c_bytes);
        _tile_stored(1, upper + 16, c_bytes);
        _tile_stored(2, lower, c_bytes);
        _tile_stored(3, lower + 16, c_bytes);
      }
    }
  }
};

// Dot products of pairs on whole vectors.
struct Vectors {
  template <bool add>
  static void product(std::int64_t rows, std::int64_t columns, std::int64_t depth, const Bits* a, std::int64_t a_step,
                      const Pair* b, std::int64_t b_step, float* c, std::int64_t c_step) {
    constexpr int M = 8, N = 2;
    for (std::int64_t n = 0; n < columns; n += 16 * N) {
      for (std::int64_t m = 0; m < rows; m += M) {
        __m512 sums[M][N];
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) {
#pragma GCC unroll 2
          for (int j = 0; j < N; ++j)
            sums[i][j] = add ? _mm512_loadu_ps(c + (m + i) * c_step + n + 16 * j) : _mm512_setzero_ps();
        }
        for (std::int64_t pair = 0; pair < depth / 2; ++pair) {
          __m512bh right[N];
#pragma GCC unroll 2
          for (int j = 0; j < N; ++j)
            right[j] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + pair * b_step + n + 16 * j));
#pragma GCC unroll 8
          for (int i = 0; i < M; ++i) {
            int left;
            __builtin_memcpy(&left, a + (m + i) * a_step + 2 * pair, sizeof left);
#pragma GCC unroll 2
            for (int j = 0; j < N; ++j)
              sums[i][j] = _mm512_dpbf16_ps(sums[i][j], reinterpret_cast<__m512bh>(_mm512_set1_epi32(left)), right[j]);
          }
        }
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) {
#pragma GCC unroll 2
          for (int j = 0; j < N; ++j) _mm512_storeu_ps(c + (m + i) * c_step + n + 16 * j, sums[i][j]);
        }
      }
    }
  }
};

// The products of attention.h with factors rounded to bfloat16; the softmax, sums and all else is float32.
template <class Unit>
struct RoundedProducts {
  static constexpr std::int64_t multiple = widest, key_multiple = widest;
  const AttentionScratch<float>& s;
  std::int64_t padded, width;
  Pair *queries_by_feature, *grads_by_feature;  // (d / 2, queries)
  Pair *query_pairs, *grad_pairs;               // (queries / 2, d)
  Pair* key_pairs;                              // (keys / 2, d)
  Pair* weight_pairs;                           // (keys / 2, queries)
  Bits* rows;                                   // (keys, d)
  Bits* by_feature;                             // (d, keys)
  Bits* weights;                                // (keys, queries)
  float* sums;                                  // (d, queries)

  static constexpr std::int64_t scratch(std::int64_t d) {
    return (7 * max_queries * whole(d, widest) + 3 * max_keys * whole(d, widest) + 2 * max_keys * max_queries) / 2;
  }

  RoundedProducts(const AttentionScratch<float>& shared, float* memory, std::int64_t d, std::int64_t queries)
      : s(shared), padded(whole(queries, multiple)), width(whole(d, multiple)) {
    const auto take = [&](std::int64_t bits) {
      float* const start = memory;
      memory += bits / 2;
      return start;
    };
    for (Pair** to : {&queries_by_feature, &grads_by_feature, &query_pairs, &grad_pairs})
      *to = reinterpret_cast<Pair*>(take(max_queries * width));
    key_pairs = reinterpret_cast<Pair*>(take(max_keys * width));
    weight_pairs = reinterpret_cast<Pair*>(take(max_keys * max_queries));
    rows = reinterpret_cast<Bits*>(take(max_keys * width));
    by_feature = reinterpret_cast<Bits*>(take(max_keys * width));
    weights = reinterpret_cast<Bits*>(take(max_keys * max_queries));
    sums = take(2 * max_queries * width);
  }

  // Right factors: by features for what keys meet; by queries, in the backward pass, for what keys get. The sums'
  // memory is free yet.
  LRA_INLINE void pair_features(const float* from, Pair* to) const {
    round_rows(from, width, padded, padded, width, reinterpret_cast<Bits*>(sums));
    transpose_words(padded, width / 2, sums, to);
  }
  LRA_INLINE void load_queries() const { pair_features(s.queries, queries_by_feature); }
  LRA_INLINE void load_grads() const {
    pair_features(s.grads, grads_by_feature);
    pair_rows(s.grads, width, padded, padded, width, grad_pairs);
    pair_rows(s.queries, width, padded, padded, width, query_pairs);
  }

  LRA_INLINE void of_keys(std::int64_t count, const float* keys, std::int64_t step, const Pair* right,
                          float* to) const {
    const std::int64_t all = whole(count, multiple);
    round_rows(keys, step, count, all, width, rows);
    Unit::template product<false>(all, padded, width, rows, width, right, padded, to, padded);
  }
  LRA_INLINE void logits(const Tile<float>& tile) const {
    of_keys(tile.count, tile.k, tile.k_step, queries_by_feature, s.weights);
  }
  LRA_INLINE void weight_grads(const Tile<float>& tile) const {
    of_keys(tile.count, tile.v, tile.v_step, grads_by_feature, s.weight_grads);
  }

  // The sums by feature, so that weights, which lie by key, are a right factor.
  LRA_INLINE void begin_sums() const { transpose(padded, width, s.sums, width, sums, padded); }
  LRA_INLINE void rescale_sums(std::int64_t) const {
    for (std::int64_t c = 0; c < width; ++c) {
      for (std::int64_t i = 0; i < padded; i += 16)
        store(sums + c * padded + i, load(sums + c * padded + i) * load(s.rescale + i));
    }
  }
  LRA_INLINE void add(std::int64_t count, const float* keys, std::int64_t step, const float* weights_by_key) const {
    const std::int64_t all = whole(count, multiple);
    pair_rows(keys, step, count, all, width, key_pairs);
    transpose_words(all / 2, width, key_pairs, by_feature);
    pair_rows(weights_by_key, padded, count, all, padded, weight_pairs);
    Unit::template product<true>(width, padded, all, by_feature, all, weight_pairs, padded, sums, padded);
  }
  LRA_INLINE void add_values(const Tile<float>& tile, std::int64_t) const {
    add(tile.count, tile.v, tile.v_step, s.weights);
  }
  LRA_INLINE void add_value(std::int64_t query, float weight, const float* value) const {
    for (std::int64_t c = 0; c < width; ++c) sums[c * padded + query] += weight * value[c];
  }
  LRA_INLINE void add_query_grads(const Tile<float>& tile, std::int64_t) const {
    add(tile.count, tile.k, tile.k_step, s.weight_grads);
  }
  LRA_INLINE void end_sums() const { transpose(width, padded, sums, padded, s.sums, width); }

  template <bool adds>
  LRA_INLINE void key_grads(const Tile<float>& tile, float* grad_v, std::int64_t v_step, float* grad_k,
                            std::int64_t k_step) const {
    const std::int64_t all = whole(tile.count, multiple);
    round_rows(s.weights, padded, tile.count, all, padded, weights);
    Unit::template product<adds>(all, width, padded, weights, padded, grad_pairs, width, grad_v, v_step);
    round_rows(s.weight_grads, padded, tile.count, all, padded, weights);
    Unit::template product<adds>(all, width, padded, weights, padded, query_pairs, width, grad_k, k_step);
  }
};

std::int64_t scratch(std::int64_t d) { return attention_scratch(d) + RoundedProducts<Tiles>::scratch(d); }

template <class Unit>
void forward(const QueryBlock<float>& block, float* memory) {
  [[maybe_unused]] const Unit unit{};
  const AttentionScratch<float> s = divide_scratch(memory, block.d);
  attend_forward(block, s, RoundedProducts<Unit>(s, memory + attention_scratch(block.d), block.d, block.count));
}

template <class Unit>
void backward(const QueryBlock<float>& block, float* memory) {
  [[maybe_unused]] const Unit unit{};
  const AttentionScratch<float> s = divide_scratch(memory, block.d);
  attend_backward(block, s, RoundedProducts<Unit>(s, memory + attention_scratch(block.d), block.d, block.count));
}

}  // namespace bf16

const RoundedKernels* tile_kernels() {
  static constexpr RoundedKernels table{"AMX", bf16::scratch, bf16::forward<bf16::Tiles>, bf16::backward<bf16::Tiles>};
  return &table;
}
const RoundedKernels* vector_kernels() {
  static constexpr RoundedKernels table{"AVX-512 BF16", bf16::scratch, bf16::forward<bf16::Vectors>,
                                        bf16::backward<bf16::Vectors>};
  return &table;
}
#else
const RoundedKernels* tile_kernels() { return nullptr; }
const RoundedKernels* vector_kernels() { return nullptr; }
#endif

}  // namespace lra::ops::cpu
