// Vectors and small dense products for one instruction set: included by each file with kernels of one inside a
// namespace of its own, after LRA_VECTOR_BYTES. No include guard is wanted: each includes it once.

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float Type __attribute__((vector_size(LRA_VECTOR_BYTES)));
  using Integer = std::int32_t;
  typedef Integer Integers __attribute__((vector_size(LRA_VECTOR_BYTES)));
};
template <>
struct VectorOf<double> {
  typedef double Type __attribute__((vector_size(LRA_VECTOR_BYTES)));
  using Integer = std::int64_t;
  typedef Integer Integers __attribute__((vector_size(LRA_VECTOR_BYTES)));
};
template <class T>
using Vector = typename VectorOf<T>::Type;
template <class T>
using Integers = typename VectorOf<T>::Integers;
template <class T>
constexpr std::int64_t lanes = LRA_VECTOR_BYTES / static_cast<std::int64_t>(sizeof(T));

#define LRA_INLINE inline __attribute__((always_inline))

template <class T>
LRA_INLINE Vector<T> load(const T* from) {
  Vector<T> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
LRA_INLINE Integers<float> load(const std::int32_t* from) {
  Integers<float> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
LRA_INLINE Integers<double> load(const std::int64_t* from) {
  Integers<double> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
template <class T>
LRA_INLINE void store(T* to, Vector<T> v) {
  __builtin_memcpy(to, &v, sizeof v);
}
template <class T>
LRA_INLINE Vector<T> all(T x) {
  return x - Vector<T>{};
}
// b where one is not a number.
template <class T>
LRA_INLINE Vector<T> larger(Vector<T> a, Vector<T> b) {
  return a > b ? a : b;
}
// The lanes, `by` places on.
template <class T, std::int64_t by, std::size_t... I>
LRA_INLINE Vector<T> rotated(Vector<T> v, std::index_sequence<I...>) {
  return __builtin_shufflevector(v, v, ((static_cast<std::int64_t>(I) + by) % lanes<T>)...);
}
template <class T, std::int64_t by = lanes<T> / 2>
LRA_INLINE T sum_of(Vector<T> v) {
  if constexpr (by == 0) {
    return v[0];
  } else {
    return sum_of<T, by / 2>(v + rotated<T, by>(v, std::make_index_sequence<static_cast<std::size_t>(lanes<T>)>{}));
  }
}
template <class T, std::int64_t by = lanes<T> / 2>
LRA_INLINE T largest_of(Vector<T> v) {
  if constexpr (by == 0) {
    return v[0];
  } else {
    return largest_of<T, by / 2>(
        larger<T>(v, rotated<T, by>(v, std::make_index_sequence<static_cast<std::size_t>(lanes<T>)>{})));
  }
}
constexpr std::int64_t whole(std::int64_t n, std::int64_t lanes) { return (n + lanes - 1) / lanes * lanes; }

/// e^x for x <= 88: about one unit in the last place; 0 below -87 (AVX-512: where it underflows). What is not a number
/// stays so.
LRA_INLINE Vector<float> exponential(Vector<float> x) {
#if defined(__AVX512F__)
  // x / ln 2 = n + f, |f| <= 1/2; 2^f by a polynomial whose largest relative error, 2e-9, is least.
  const Vector<float> clamped = larger<float>(all(-200.0f), x);  // below, f would not stay within 1/2
  const Vector<float> n = _mm512_roundscale_ps(clamped * 1.44269504088896341f, _MM_FROUND_TO_NEAREST_INT);
  const Vector<float> f = (clamped * 1.442695022f - n) + clamped * 1.92596299e-8f;  // 1 / ln 2 in two pieces
  Vector<float> p = all(1.5353362e-4f);
  p = p * f + 1.3398875e-3f;
  p = p * f + 9.6184374e-3f;
  p = p * f + 5.5503325e-2f;
  p = p * f + 2.4022648e-1f;
  p = p * f + 6.9314720e-1f;
  p = p * f + 1.0f;
  return _mm512_scalef_ps(p, n);
#else
  // x = n ln 2 + r, |r| <= ln 2 / 2; the polynomial is the Taylor series' with minimax coefficients (Cephes).
  const Vector<float> shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to whole numbers
  const Vector<float> low = all(-87.0f);
  const Vector<float> clamped = larger<float>(low, x);
  const Vector<float> biased = clamped * 1.44269504088896341f + shift;
  const Vector<float> n = biased - shift;
  Vector<float> r = clamped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Vector<float> p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  Integers<float> bits, scale;
  __builtin_memcpy(&scale, &biased, sizeof scale);
  __builtin_memcpy(&bits, &p, sizeof bits);
  bits += scale << 23;  // the rounded n lies in the lowest bits of `biased`
  Vector<float> result;
  __builtin_memcpy(&result, &bits, sizeof result);
  return x < low ? Vector<float>{} : x == x ? result : x;
#endif
}
LRA_INLINE Vector<double> exponential(Vector<double> x) {
  Vector<double> result;
  for (std::int64_t i = 0; i < lanes<double>; ++i) result[i] = __builtin_exp(x[i]);
  return result;
}

// C (M, N * lanes) = or += start + A (M, depth) B (depth, N * lanes). A(m, k) is at a[m * row + k * column], one of
// which is 1; start: one row for all, or null.
template <class T, int M, int N, bool add>
LRA_INLINE void product_tile(const T* a, std::int64_t row, std::int64_t column, const T* b, std::int64_t b_step, T* c,
                             std::int64_t c_step, std::int64_t depth, const T* start) {
  Vector<T> sums[M][N] = {};
  if (start != nullptr) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const Vector<T> first = load(start + n * lanes<T>);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) sums[m][n] = first;
    }
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    Vector<T> right[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) right[n] = load(b + k * b_step + n * lanes<T>);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const Vector<T> left = all(a[m * row + k * column]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) sums[m][n] += left * right[n];
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      T* to = c + m * c_step + n * lanes<T>;
      store(to, add ? load(to) + sums[m][n] : sums[m][n]);
    }
  }
}

// As many rows as are left, fewer than M.
template <class T, int M, int N, bool add>
LRA_INLINE void product_rest(std::int64_t rows, const T* a, std::int64_t row, std::int64_t column, const T* b,
                             std::int64_t b_step, T* c, std::int64_t c_step, std::int64_t depth, const T* start) {
  if constexpr (M > 1) {
    if (rows == M - 1) {
      product_tile<T, M - 1, N, add>(a, row, column, b, b_step, c, c_step, depth, start);
    } else {
      product_rest<T, M - 1, N, add>(rows, a, row, column, b, b_step, c, c_step, depth, start);
    }
  }
}

template <class T, int M, int N, bool add, bool transposed>
__attribute__((noinline)) void product_columns(std::int64_t rows, const T* a, std::int64_t a_step, const T* b,
                                               std::int64_t b_step, T* c, std::int64_t c_step, std::int64_t depth,
                                               const T* start) {
  const std::int64_t row = transposed ? 1 : a_step, column = transposed ? a_step : 1;
  std::int64_t m = 0;
  for (; m + M <= rows; m += M)
    product_tile<T, M, N, add>(a + m * row, row, column, b, b_step, c + m * c_step, c_step, depth, start);
  product_rest<T, M, N, add>(rows - m, a + m * row, row, column, b, b_step, c + m * c_step, c_step, depth, start);
}

/// C (rows, columns) = or += A B (+ `start`, a row for all rows), A (rows, depth) or, if `transposed`, stored as
/// (depth, rows); columns a multiple of the lanes, B and C of that width.
template <class T, bool add, bool transposed>
LRA_INLINE void product(std::int64_t rows, std::int64_t columns, std::int64_t depth, const T* a, std::int64_t a_step,
                        const T* b, std::int64_t b_step, T* c, std::int64_t c_step, const T* start = nullptr) {
  const auto start_at = [&](std::int64_t column) { return start == nullptr ? nullptr : start + column; };
  // The sums, a row of B and one number of A fill the registers: 32 of AVX-512, 16 of the others.
#if LRA_VECTOR_BYTES == 64
  constexpr int wide = 4, rows_of_wide = 6, rows_of_narrow = 12;
#else
  constexpr int wide = 2, rows_of_wide = 6, rows_of_narrow = 6;
#endif
  std::int64_t n = 0;
  for (; n + wide * lanes<T> <= columns; n += wide * lanes<T>) {
    product_columns<T, rows_of_wide, wide, add, transposed>(rows, a, a_step, b + n, b_step, c + n, c_step, depth,
                                                            start_at(n));
  }
  if constexpr (wide == 4) {
    if (n + 2 * lanes<T> <= columns) {
      product_columns<T, rows_of_narrow, 2, add, transposed>(rows, a, a_step, b + n, b_step, c + n, c_step, depth,
                                                             start_at(n));
      n += 2 * lanes<T>;
    }
  }
  if (n < columns)
    product_columns<T, rows_of_narrow, 1, add, transposed>(rows, a, a_step, b + n, b_step, c + n, c_step, depth,
                                                           start_at(n));
}

// a[offset], b[offset], a[offset + 1], b[offset + 1] ...
template <class T, int offset, std::size_t... I>
LRA_INLINE Vector<T> interleaved(Vector<T> a, Vector<T> b, std::index_sequence<I...>) {
  return __builtin_shufflevector(
      a, b, (offset + static_cast<int>(I) / 2 + static_cast<int>(I) % 2 * static_cast<int>(lanes<T>))...);
}

/// (rows, columns) → (columns, rows); both multiples of the lanes.
template <class T>
LRA_INLINE void transpose(std::int64_t rows, std::int64_t columns, const T* from, std::int64_t from_step, T* to,
                          std::int64_t to_step) {
  constexpr int size = static_cast<int>(lanes<T>);
  constexpr auto places = std::make_index_sequence<static_cast<std::size_t>(size)>{};
  for (std::int64_t r = 0; r < rows; r += size) {
    for (std::int64_t c = 0; c < columns; c += size) {
      Vector<T> square[size], next[size];
#pragma GCC unroll 16
      for (int i = 0; i < size; ++i) square[i] = load(from + (r + i) * from_step + c);
      // Interleaving the first half of the rows with the second, log2(size) times, transposes.
#pragma GCC unroll 4
      for (int stage = 1; stage < size; stage *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < size / 2; ++i) {
          next[2 * i] = interleaved<T, 0>(square[i], square[i + size / 2], places);
          next[2 * i + 1] = interleaved<T, size / 2>(square[i], square[i + size / 2], places);
        }
#pragma GCC unroll 16
        for (int i = 0; i < size; ++i) square[i] = next[i];
      }
#pragma GCC unroll 16
      for (int i = 0; i < size; ++i) store(to + (c + i) * to_step + r, square[i]);
    }
  }
}
