// Compiled three times (CMakeLists.txt): LRA_INSTRUCTION_SET is plain, avx2 or avx512. Everything here but the tables
// is local to the unit, and no header brings inline functions that the linker could take from the wrong one.
#include "ops/fused/kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <type_traits>
#include <utility>

#if defined(__AVX512F__)
#define LRA_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define LRA_VECTOR_BYTES 32
#else
#define LRA_VECTOR_BYTES 16
#endif

namespace lra::ops::fused {
namespace {

#include "ops/cpu/simd.h"

constexpr int blocks = 16;                  // of Philox in a group, 8 numbers each
constexpr std::int64_t group = 8 * blocks;  // elements
constexpr std::int64_t columns_at_once = 3 * group;

template <class To, class From>
inline To bits_of(From from) {
  return __builtin_bit_cast(To, from);
}

inline float load(float x) { return x; }
inline double load(double x) { return x; }
inline float load(BFloat16 x) { return bits_of<float>(static_cast<std::uint32_t>(x.bits) << 16); }

inline void store(float& to, float x) { to = x; }
inline void store(double& to, double x) { to = x; }
inline void store(BFloat16& to, float x) {
  const auto bits = bits_of<std::uint32_t>(x);
  // To the nearest, ties to even; NaN stays NaN.
  to.bits = x != x ? std::uint16_t{0x7fc0} : static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline double exponential(double x) { return __builtin_exp(x < 700.0 ? x : 700.0); }  // finite: it meets factors of 0
// Cephes' expf: relative error below 1.2e-7. Arguments are cut to where the result and its reciprocal are normal
// numbers: others are a hundred times slower.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 80.0f ? 80.0f : x;
  constexpr float integers =
      12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to an integer, in the lowest bits
  const float shifted = x * 1.44269504089f + integers;
  const float n = shifted - integers;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return bits_of<float>(bits_of<std::uint32_t>(p) + (bits_of<std::uint32_t>(shifted) << 23));
}

// The normal distribution's density and integral at x.
struct Normal {
  double density, below;
};
struct NormalFloat {
  float density, below;
};
inline Normal normal(double x) {
  return {0.39894228040143267794 * __builtin_exp(-0.5 * x * x), 0.5 * __builtin_erfc(-x * 0.70710678118654752440)};
}
// The integral beyond |x|, divided by exp(-x²/2), is a polynomial of t = 1 / (1 + 0.21 |x|), as in Abramowitz and
// Stegun 7.1.26; this one is the minimax fit of degree 9 with a relative error of 1.7e-8 for |x| <= 14.
inline NormalFloat normal(float x) {
  const float size = __builtin_fabsf(x);
  const float t = 1.0f / (1.0f + 0.21f * size);
  float p = -7.1655606321e-2f;
  p = p * t + 2.8358526087e-1f;
  p = p * t - 3.3024668256e-1f;
  p = p * t + 3.4939336366e-1f;
  p = p * t - 9.3919841783e-2f;
  p = p * t + 1.2487035878e-1f;
  p = p * t + 6.9192811644e-2f;
  p = p * t + 8.5068760659e-2f;
  p = p * t + 8.3711581967e-2f;
  const float bell = exponential(-0.5f * x * x);
  const float beyond = p * t * bell;
  return {0.39894228040143268f * bell, x < 0 ? beyond : 1.0f - beyond};
}

// gelu(x) = x * share, and its derivative.
template <class C>
struct Gelu {
  C share, derivative;
};
template <bool tanh, class C>
inline Gelu<C> gelu(C x) {
  if constexpr (tanh) {
    // (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), u = √(2/π) (x + 0.044715 x³)
    constexpr C twice = C(1.5957691216057307117), cubic = C(0.044715);
    const C power = exponential(-twice * (x + cubic * x * x * x));
    const C share = C(1) / (C(1) + power);
    return {share, share + x * share * (power * share) * twice *
                               (C(1) + 3 * cubic * x * x)};  // power * share = 1 - share, without its cancellation
  } else {
    const auto [density, below] = normal(x);
    return {below, below + x * density};
  }
}

#include "ops/cpu/philox.h"

// The 128 numbers of a group of elements.
void draw(std::uint64_t seed, std::uint64_t group_index, std::uint16_t* __restrict numbers) {
  const std::uint64_t block = group_index * blocks;
  alignas(64) std::uint32_t words[4][blocks];
  for (int first = 0; first < blocks; first += wide_lanes) {
    Wide a = {}, b = {}, c = {}, d = {};
    for (int i = 0; i < wide_lanes; ++i) {
      a[i] = block + static_cast<std::uint64_t>(first + i);
      b[i] = block >> 32;
    }
    philox(seed, a, b, c, d);
    for (int i = 0; i < wide_lanes; ++i) {
      words[0][first + i] = static_cast<std::uint32_t>(a[i]);
      words[1][first + i] = static_cast<std::uint32_t>(b[i]);
      words[2][first + i] = static_cast<std::uint32_t>(c[i]);
      words[3][first + i] = static_cast<std::uint32_t>(d[i]);
    }
  }
  __builtin_memcpy(numbers, words, sizeof(words));
}

/// The factors of a dropout, for elements in rising order.
template <class C>
class Factors {
 public:
  explicit Factors(const Dropout& dropout) : dropout_(dropout) {
    for (auto& factor : factors_) factor = C(1);
  }

  /// Those of the elements first .. first+count-1, count <= `columns_at_once`.
  const C* at(std::int64_t first, std::int64_t count) {
    if (dropout_.drop_below == 0) return factors_;
    first += dropout_.first;
    if (first < start_ || first + count > start_ + size) {
      start_ = first / group * group;
      const C scale = static_cast<C>(dropout_.scale);
      const std::uint32_t drop_below = dropout_.drop_below;
      for (std::int64_t offset = 0; offset < size; offset += group) {
        alignas(64) std::uint16_t numbers[group];
        draw(dropout_.seed, static_cast<std::uint64_t>((start_ + offset) / group), numbers);
        C* __restrict const out = factors_ + offset;
#pragma omp simd
        for (std::int64_t i = 0; i < group; ++i) out[i] = numbers[i] < drop_below ? C(0) : scale;
      }
    }
    return factors_ + (first - start_);
  }

 private:
  static constexpr std::int64_t size = columns_at_once + group;
  const Dropout dropout_;
  std::int64_t start_ = -size;
  alignas(64) C factors_[size];
};

// Calls work(column, count, factors) for parts of a row.
template <class C, class Work>
inline void for_columns(Factors<C>& factors, std::int64_t row, std::int64_t width, Work work) {
  for (std::int64_t column = 0; column < width; column += columns_at_once) {
    const std::int64_t count = width - column < columns_at_once ? width - column : columns_at_once;
    work(column, count, factors.at(row * width + column, count));
  }
}

// Σ f over the elements of some rows, which f takes one by one or as vectors.
template <class C, class F, class... Row>
LRA_INLINE C sum_over(std::int64_t width, const F& f, const Row*... rows) {
  Vector<C> sums = {};
  C rest = 0;
  std::int64_t i = 0;
  for (; i + lanes<C> <= width; i += lanes<C>) sums += f(load(rows + i)...);
  for (; i < width; ++i) rest += f(rows[i]...);
  return rest + sum_of<C>(sums);
}

// Loops over rows of a known length have neither remainders nor counters.
template <std::int64_t known_width, class C, class S>
void residual_norm_of(const ResidualNorm<C, S>& in, std::int64_t first, std::int64_t last) {
  Factors<C> all_factors(in.dropout);
  const std::int64_t width = known_width > 0 ? known_width : in.width;
  const C* __restrict const weight = in.weight;
  const C* __restrict const bias = in.bias;
  for (std::int64_t row = first; row < last; ++row) {
    C* __restrict const sum = in.sum + row * width;
    for_columns(all_factors, row, width, [&](std::int64_t column, std::int64_t count, const C* __restrict factors) {
      const S* __restrict const y = in.y + row * width + column;
      const C* __restrict const y_bias = in.y_bias + column;
      C* __restrict const out = sum + column;
      if (in.x != nullptr) {
        const C* __restrict const x = in.x + row * width + column;
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) out[i] = x[i] + factors[i] * (load(y[i]) + y_bias[i]);
      } else {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) out[i] = factors[i] * (load(y[i]) + y_bias[i]);
      }
    });
    const C mean = sum_over<C>(width, [](auto x) { return x; }, sum) / static_cast<C>(width);
    const C squares = sum_over<C>(width, [mean](auto x) { return (x - mean) * (x - mean); }, sum);
    const C variance = squares / static_cast<C>(width) + static_cast<C>(in.eps);
    const C rstd = C(1) / (std::is_same_v<C, float> ? static_cast<C>(__builtin_sqrtf(static_cast<float>(variance)))
                                                    : static_cast<C>(__builtin_sqrt(variance)));
    in.mean[row] = mean;
    in.rstd[row] = rstd;
    C* __restrict const norm = in.norm + row * width;
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) norm[i] = (sum[i] - mean) * rstd * weight[i] + bias[i];
  }
}

template <class C, class S>
void residual_norm(const ResidualNorm<C, S>& in, std::int64_t first, std::int64_t last) {
  in.width == 64 ? residual_norm_of<64>(in, first, last) : residual_norm_of<0>(in, first, last);
}

template <class C>
void norm_again(const NormAgain<C>& in, std::int64_t first, std::int64_t last) {
  const C* __restrict const weight = in.weight;
  const C* __restrict const bias = in.bias;
  for (std::int64_t row = first; row < last; ++row) {
    const C* __restrict const sum = in.sum + row * in.width;
    C* __restrict const norm = in.norm + row * in.width;
    const C mean = in.mean[row], rstd = in.rstd[row];
#pragma omp simd
    for (std::int64_t i = 0; i < in.width; ++i) norm[i] = (sum[i] - mean) * rstd * weight[i] + bias[i];
  }
}

template <std::int64_t known_width, class C, class S>
void residual_norm_backward_of(const ResidualNormBackward<C, S>& in, std::int64_t first, std::int64_t last) {
  Factors<C> all_factors(in.dropout);
  alignas(64) C unwanted[columns_at_once];
  const std::int64_t width = known_width > 0 ? known_width : in.width;
  const C* __restrict const weight = in.weight;
  C* __restrict const grad_weight = in.grad_weight;
  C* __restrict const grad_bias = in.grad_bias;
  for (std::int64_t row = first; row < last; ++row) {
    const C* __restrict const grad_norm = in.grad_norm + row * width;
    const C* __restrict const sum = in.sum + row * width;
    const C mean = in.mean[row], rstd = in.rstd[row];
    // Means of the normalised values' gradient, and of its product with them.
    const C total = sum_over<C>(width, [](auto g, auto w) { return g * w; }, grad_norm, weight) / static_cast<C>(width);
    const C along =
        sum_over<C>(
            width, [=](auto g, auto w, auto x) { return g * w * ((x - mean) * rstd); }, grad_norm, weight, sum) /
        static_cast<C>(width);
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) {
      grad_weight[i] += grad_norm[i] * ((sum[i] - mean) * rstd);
      grad_bias[i] += grad_norm[i];
    }
    for_columns(all_factors, row, width, [&](std::int64_t column, std::int64_t count, const C* __restrict factors) {
      const std::int64_t at = row * width + column;
      C* __restrict const grad_x = in.grad_x != nullptr ? in.grad_x + at : unwanted;
      C* __restrict const grad_y_bias = in.grad_y_bias + column;
      const C* __restrict const gn = grad_norm + column;
      const C* __restrict const s = sum + column;
      const C* __restrict const w = weight + column;
      if (in.grad_sum != nullptr) {
        const C* __restrict const gs = in.grad_sum + at;
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i)
          grad_x[i] = gs[i] + rstd * (gn[i] * w[i] - total - (s[i] - mean) * rstd * along);
      } else {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i)
          grad_x[i] = rstd * (gn[i] * w[i] - total - (s[i] - mean) * rstd * along);
      }
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) grad_y_bias[i] += grad_x[i] * factors[i];
      if (in.grad_y == nullptr) return;
      S* __restrict const grad_y = in.grad_y + at;
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) store(grad_y[i], grad_x[i] * factors[i]);
    });
  }
}

template <class C, class S>
void residual_norm_backward(const ResidualNormBackward<C, S>& in, std::int64_t first, std::int64_t last) {
  in.width == 64 ? residual_norm_backward_of<64>(in, first, last) : residual_norm_backward_of<0>(in, first, last);
}

template <bool tanh, class C, class S>
void bias_gelu_as(const BiasGelu<C, S>& in, std::int64_t first, std::int64_t last) {
  Factors<C> all_factors(in.dropout);
  for (std::int64_t row = first; row < last; ++row) {
    for_columns(all_factors, row, in.width, [&](std::int64_t column, std::int64_t count, const C* __restrict factors) {
      const S* __restrict const x = in.x + row * in.width + column;
      const C* __restrict const bias = in.bias + column;
      S* __restrict const out = in.out + row * in.width + column;
      if (in.slope == nullptr) {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) {
          const C value = load(x[i]) + bias[i];
          store(out[i], value * gelu<tanh>(value).share * factors[i]);
        }
      } else {
        S* __restrict const slope = in.slope + row * in.width + column;
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) {
          const C value = load(x[i]) + bias[i];
          const Gelu<C> of_value = gelu<tanh>(value);
          store(out[i], value * of_value.share * factors[i]);
          store(slope[i], of_value.derivative * factors[i]);
        }
      }
    });
  }
}

template <class C, class S>
void times_slope(const BiasGeluBackward<C, S>& in, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    const S* __restrict const slope = in.slope + row * in.width;
    const S* __restrict const grad_out = in.grad_out + row * in.width;
    S* __restrict const grad_x = in.grad_x + row * in.width;
    C* __restrict const grad_bias = in.grad_bias;
#pragma omp simd
    for (std::int64_t i = 0; i < in.width; ++i) {
      const C gradient = load(grad_out[i]) * load(slope[i]);
      store(grad_x[i], gradient);
      grad_bias[i] += gradient;
    }
  }
}

template <bool tanh, class C, class S>
void bias_gelu_backward_as(const BiasGeluBackward<C, S>& in, std::int64_t first, std::int64_t last) {
  Factors<C> all_factors(in.dropout);
  for (std::int64_t row = first; row < last; ++row) {
    for_columns(all_factors, row, in.width, [&](std::int64_t column, std::int64_t count, const C* __restrict factors) {
      const std::int64_t at = row * in.width + column;
      const S* __restrict const x = in.x + at;
      const S* __restrict const grad_out = in.grad_out + at;
      const C* __restrict const bias = in.bias + column;
      S* __restrict const grad_x = in.grad_x + at;
      C* __restrict const grad_bias = in.grad_bias + column;
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) {
        const C gradient = load(grad_out[i]) * factors[i] * gelu<tanh>(load(x[i]) + bias[i]).derivative;
        store(grad_x[i], gradient);
        grad_bias[i] += gradient;
      }
    });
  }
}

template <class C, class S>
void bias_gelu(const BiasGelu<C, S>& in, std::int64_t first, std::int64_t last) {
  in.tanh ? bias_gelu_as<true>(in, first, last) : bias_gelu_as<false>(in, first, last);
}

template <class C, class S>
void bias_gelu_backward(const BiasGeluBackward<C, S>& in, std::int64_t first, std::int64_t last) {
  if (in.slope != nullptr) return times_slope(in, first, last);
  in.tanh ? bias_gelu_backward_as<true>(in, first, last) : bias_gelu_backward_as<false>(in, first, last);
}

}  // namespace

namespace LRA_INSTRUCTION_SET {

template <class C, class S>
Kernels<C, S> kernels() {
  return {residual_norm<C, S>, norm_again<C>, residual_norm_backward<C, S>, bias_gelu<C, S>, bias_gelu_backward<C, S>};
}

template Kernels<float, float> kernels();
template Kernels<double, double> kernels();
template Kernels<float, BFloat16> kernels();

}  // namespace LRA_INSTRUCTION_SET
}  // namespace lra::ops::fused
