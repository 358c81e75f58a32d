// The real part of a two-dimensional Fourier transform: included like simd.h, after it. A transform works on whole vectors: `lanes` of them at a time, each
// complex number a vector of real parts and one of imaginary parts.

template <class T>
struct ComplexVector {
  Vector<T> re, im;
};
template <class T>
LRA_INLINE ComplexVector<T> load_complex(const T* from) {
  return {load(from), load(from + lanes<T>)};
}
template <class T>
LRA_INLINE void store_complex(T* to, const ComplexVector<T>& z) {
  store(to, z.re);
  store(to + lanes<T>, z.im);
}
template <class T>
LRA_INLINE ComplexVector<T> times(const ComplexVector<T>& z, T re, T im) {
  return {z.re * re - z.im * im, z.re * im + z.im * re};
}
template <class T>
LRA_INLINE ComplexVector<T> operator+(const ComplexVector<T>& a, const ComplexVector<T>& b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
LRA_INLINE ComplexVector<T> operator-(const ComplexVector<T>& a, const ComplexVector<T>& b) {
  return {a.re - b.re, a.im - b.im};
}

// -i z
template <class T>
LRA_INLINE ComplexVector<T> turned(const ComplexVector<T>& z) {
  return {z.im, -z.re};
}

// One stage of Stockham's transform, y[q + s (r p + j)] = w^(p j) Σ_k x[q + s (p + k m)] ω_r^(j k), with s q's and m p's; `roots` are exp(-2πi t / size).
// `fixed`: the radix, if it is known when this is compiled.
template <class T, int fixed>
__attribute__((noinline)) void fourier_stage(std::int64_t some_radix, std::int64_t size, std::int64_t m, std::int64_t s, const T* roots, const T* x, T* y) {
  constexpr std::int64_t pair = 2 * lanes<T>;
  const std::int64_t radix = fixed != 0 ? fixed : some_radix;
  ComplexVector<T> sums[fixed != 0 ? fixed : max_radix], differences[fixed != 0 ? fixed : max_radix];
  for (std::int64_t p = 0; p < m; ++p) {
    for (std::int64_t q = 0; q < s; ++q) {
      const T* const from = x + (q + s * p) * pair;
      T* const to = y + (q + s * radix * p) * pair;
      const auto in = [&](std::int64_t k) { return load_complex(from + s * m * k * pair); };
      const auto out = [&](std::int64_t j, const ComplexVector<T>& z) {
        const T* const root = roots + 2 * (p * j * s);
        store_complex(to + s * j * pair, times(z, root[0], root[1]));
      };
      if constexpr (fixed == 2) {
        const auto a = in(0), b = in(1);
        store_complex(to, a + b);
        out(1, a - b);
      } else if constexpr (fixed == 4) {
        const auto a = in(0), b = in(1), c = in(2), d = in(3);
        const auto even = a + c, odd = a - c, sum = b + d, difference = turned(b - d);
        store_complex(to, even + sum);
        out(1, odd + difference);
        out(2, even - sum);
        out(3, odd - difference);
      } else {
        const auto first = in(0);
        const std::int64_t half = (radix - 1) / 2;
        ComplexVector<T> total = first;
#pragma GCC unroll 3
        for (std::int64_t k = 1; k <= half; ++k) {
          const auto a = in(k), b = in(radix - k);
          sums[k] = a + b;
          differences[k] = turned(a - b);
          total = total + sums[k];
        }
        store_complex(to, total);
#pragma GCC unroll 3
        for (std::int64_t j = 1; j <= half; ++j) {
          ComplexVector<T> even = first, odd = {};
          std::int64_t place = 0;
#pragma GCC unroll 3
          for (std::int64_t k = 1; k <= half; ++k) {
            place = place + j >= radix ? place + j - radix : place + j;
            const T cosine = roots[2 * (place * (size / radix))], sine = -roots[2 * (place * (size / radix)) + 1];
            even = {even.re + sums[k].re * cosine, even.im + sums[k].im * cosine};
            odd = {odd.re + differences[k].re * sine, odd.im + differences[k].im * sine};
          }
          out(j, even + odd);
          out(radix - j, even - odd);
        }
      }
    }
  }
}

// Between x and y; returns where the result is.
template <class T>
LRA_INLINE T* fourier_stages(const FourierPlan<T>& plan, T* x, T* y) {
  std::int64_t m = plan.size, s = 1;
  for (std::int64_t i = 0; i < plan.num_radices; ++i) {
    const std::int64_t radix = plan.radices[i];
    m /= radix;
    if (radix == 4) {
      fourier_stage<T, 4>(4, plan.size, m, s, plan.roots, x, y);
    } else if (radix == 2) {
      fourier_stage<T, 2>(2, plan.size, m, s, plan.roots, x, y);
    } else if (radix == 3) {
      fourier_stage<T, 3>(3, plan.size, m, s, plan.roots, x, y);
    } else if (radix == 5) {
      fourier_stage<T, 5>(5, plan.size, m, s, plan.roots, x, y);
    } else {
      fourier_stage<T, 0>(radix, plan.size, m, s, plan.roots, x, y);
    }
    s *= radix;
    T* const swapped = x;
    x = y;
    y = swapped;
  }
  return x;
}

// `lanes` transforms of plan.n numbers in x; x and y have room for plan.size of them. Returns where the result is.
template <class T>
LRA_INLINE T* fourier(const FourierPlan<T>& plan, T* x, T* y) {
  constexpr std::int64_t pair = 2 * lanes<T>;
  if (plan.chirp == nullptr) return fourier_stages(plan, x, y);
  // Bluestein: a convolution with a chirp, by transforms of a length with small factors. Real and imaginary parts exchanged make a transform its inverse.
  const auto multiply = [](T* z, const T* by, std::int64_t count, bool exchange) {
    for (std::int64_t i = 0; i < count; ++i) {
      const ComplexVector<T> product = times(load_complex(z + i * pair), by[2 * i], by[2 * i + 1]);
      store_complex(z + i * pair, exchange ? ComplexVector<T>{product.im, product.re} : product);
    }
  };
  multiply(x, plan.chirp, plan.n, false);
  for (std::int64_t i = plan.n * pair; i < plan.size * pair; i += lanes<T>) store(x + i, Vector<T>{});
  T* z = fourier_stages(plan, x, y);
  multiply(z, plan.filter, plan.size, true);
  z = fourier_stages(plan, z, z == x ? y : x);
  for (std::int64_t i = 0; i < plan.n; ++i) {
    const ComplexVector<T> value = load_complex(z + i * pair);
    store_complex(z + i * pair, times({value.im, value.re}, plan.chirp[2 * i], plan.chirp[2 * i + 1]));
  }
  return z;
}

template <class T, std::size_t... I>
LRA_INLINE Vector<T> reversed(Vector<T> v, std::index_sequence<I...>) {
  return __builtin_shufflevector(v, v, (static_cast<int>(lanes<T>) - 1 - static_cast<int>(I))...);
}
template <class T>
LRA_INLINE Vector<T> reversed(Vector<T> v) {
  return reversed<T>(v, std::make_index_sequence<static_cast<std::size_t>(lanes<T>)>{});
}

// `count` rows of d numbers, at most `lanes`, → column c at to + c * step, one row a lane; and back.
template <class T>
LRA_INLINE void rows_to_lanes(std::int64_t count, std::int64_t d, const T* from, T* to, std::int64_t step) {
  std::int64_t c = 0;
  if (count == lanes<T>) {
    c = d / lanes<T> * lanes<T>;
    transpose(lanes<T>, c, from, d, to, step);
  }
  for (; c < d; ++c) {
    for (std::int64_t i = 0; i < lanes<T>; ++i) to[c * step + i] = i < count ? from[i * d + c] : T{0};
  }
}
template <class T>
LRA_INLINE void lanes_to_rows(std::int64_t count, std::int64_t d, const T* from, T* to) {
  std::int64_t c = 0;
  if (count == lanes<T>) {
    c = d / lanes<T> * lanes<T>;
    transpose(c, lanes<T>, from, lanes<T>, to, d);
  }
  for (; c < d; ++c) {
    for (std::int64_t i = 0; i < count; ++i) to[i * d + c] = from[c * lanes<T> + i];
  }
}

// The transform of each row, of which the second half follows from the first: real part of frequency f in place f, imaginary part in place d - f.
template <class T>
void fourier_rows(const FourierPlan<T>& plan, std::int64_t rows, const T* in, T* out, T* scratch) {
  constexpr std::int64_t size = lanes<T>, pair = 2 * size;
  const std::int64_t d = plan.n;
  T *const x = scratch, *const y = x + plan.size * pair;
  for (std::int64_t r = 0; r < rows; r += pair) {  // one row as the real part, another as the imaginary part
    const std::int64_t left = rows - r, first = left < size ? left : size, second = left - first < size ? left - first : size;
    rows_to_lanes(first, d, in + r * d, x, pair);
    rows_to_lanes(second, d, in + (r + first) * d, x + size, pair);
    T* const z = fourier(plan, x, y);
    T* const a = z == x ? y : x;  // then d vectors of the first rows, d of the second
    T* const b = a + d * size;
    store(a, load(z));
    store(b, load(z + size));
    const T half = static_cast<T>(0.5);
    for (std::int64_t f = 1; 2 * f <= d; ++f) {
      const ComplexVector<T> one = load_complex(z + f * pair), other = load_complex(z + (d - f) * pair);
      store(a + f * size, (one.re + other.re) * half);
      store(b + f * size, (one.im + other.im) * half);
      if (2 * f == d) break;
      store(a + (d - f) * size, (one.im - other.im) * half);
      store(b + (d - f) * size, (other.re - one.re) * half);
    }
    lanes_to_rows(first, d, a, out + r * d);
    lanes_to_rows(second, d, b, out + (r + first) * d);
  }
}

// The transform along the first dimension of what fourier_rows made of n rows, zero from there to plan.n, for one group of `lanes` frequencies; its real part
// takes the places of its input. Frequencies 0 and d / 2 are real and share a lane.
template <class T>
void fourier_columns(const FourierPlan<T>& plan, std::int64_t n, std::int64_t d, std::int64_t group, T* rows, T* scratch) {
  constexpr std::int64_t size = lanes<T>, pair = 2 * size;
  T *const x = scratch, *const y = x + plan.size * pair;
  const std::int64_t first = group * size, frequencies = (d + 1) / 2;
  const std::int64_t count = frequencies - first < size ? frequencies - first : size;
  const bool whole_group = count == size && d >= pair;
  const std::int64_t skip = first == 0 ? 1 : 0;              // lane 0 has no place d - 0
  const std::int64_t last = d - first - size + 1;            // of the group's places d - f, the first
  // Rows are too far apart for the processor to guess the next ones.
  const auto soon = [&](std::int64_t t) __attribute__((always_inline)) {
    const T* const row = rows + (t + 12 < n ? t + 12 : n - 1) * d;
    __builtin_prefetch(row + first);
    __builtin_prefetch(row + d - first - size);
    __builtin_prefetch(row + d - first - 1);
  };
  for (std::int64_t t = 0; t < n; ++t) {
    soon(t);
    const T* const row = rows + t * d;
    ComplexVector<T> z = {};
    if (whole_group) {
      z.re = load(row + first);
      if (skip == 0) {
        z.im = reversed<T>(load(row + last));
      } else {
        __builtin_memcpy(&z.im, row + last, sizeof z.im - sizeof(T));
        z.im = reversed<T>(z.im);
        z.im[0] = d % 2 == 0 ? row[d / 2] : T{0};
      }
    } else {
      for (std::int64_t l = 0; l < count; ++l) {
        z.re[l] = row[first + l];
        z.im[l] = first + l > 0 ? row[d - first - l] : d % 2 == 0 ? row[d / 2] : T{0};
      }
    }
    store_complex(x + t * pair, z);
  }
  for (std::int64_t i = n * pair; i < plan.n * pair; i += size) store(x + i, Vector<T>{});
  const T* const result = fourier(plan, x, y);
  for (std::int64_t t = 0; t < n; ++t) {
    soon(t);
    T* const row = rows + t * d;
    const T* const here = result + t * pair;
    const T* const there = result + (t == 0 ? 0 : plan.n - t) * pair;  // Re X[t, d - f] = Re X[-t, f]
    if (whole_group) {
      store(row + first, load(here));
      const Vector<T> mirrored = reversed<T>(load(there));
      if (skip == 0) {
        store(row + last, mirrored);
      } else {
        __builtin_memcpy(row + last, &mirrored, sizeof mirrored - sizeof(T));
      }
    } else {
      for (std::int64_t l = 0; l < count; ++l) {
        row[first + l] = here[l];
        if (first + l > 0) row[d - first - l] = there[l];
      }
    }
    if (first == 0) {
      row[0] = (here[0] + there[0]) / 2;
      if (d % 2 == 0) row[d / 2] = (here[size] + there[size]) / 2;
    }
  }
}
