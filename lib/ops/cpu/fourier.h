// The real part of a two-dimensional Fourier transform: included like simd.h, after it. A transform works on whole
// vectors: `lanes` of them at a time, each complex number a vector of real parts and one of imaginary parts.

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

// Where a stage reads and writes, unless it is the first or the last.
template <class T>
struct InMemory {
  const T* x;
  LRA_INLINE ComplexVector<T> operator()(std::int64_t i) const { return load_complex(x + i * 2 * lanes<T>); }
};
template <class T>
struct ToMemory {
  T* y;
  LRA_INLINE void operator()(std::int64_t i, const ComplexVector<T>& z) const {
    store_complex(y + i * 2 * lanes<T>, z);
  }
};

// One stage of Stockham's transform, y[q + s (r p + j)] = w^(p j) Σ_k x[q + s (p + k m)] ω_r^(j k), with s q's and m
// p's; `roots` are exp(-2πi t / size). `fixed`: the radix, if it is known when this is compiled.
template <class T, int fixed, class In, class Out>
__attribute__((noinline)) void fourier_stage(std::int64_t some_radix, std::int64_t size, std::int64_t m, std::int64_t s,
                                             const T* roots, const In& x, const Out& y) {
  const std::int64_t radix = fixed != 0 ? fixed : some_radix;
  ComplexVector<T> sums[fixed != 0 ? fixed : max_radix], differences[fixed != 0 ? fixed : max_radix];
  T twiddles[2 * (fixed != 0 ? fixed : max_radix)];
  for (std::int64_t p = 0; p < m; ++p) {
    for (std::int64_t j = 1; j < radix; ++j) {
      twiddles[2 * j] = roots[2 * (p * j * s)];
      twiddles[2 * j + 1] = roots[2 * (p * j * s) + 1];
    }
    for (std::int64_t q = 0; q < s; ++q) {
      const auto in = [&](std::int64_t k) __attribute__((always_inline)) { return x(q + s * (p + k * m)); };
      const auto out = [&](std::int64_t j, const ComplexVector<T>& z) __attribute__((always_inline)) {
        y(q + s * (radix * p + j), j == 0 ? z : times(z, twiddles[2 * j], twiddles[2 * j + 1]));
      };
      if constexpr (fixed == 2) {
        const auto a = in(0), b = in(1);
        out(0, a + b);
        out(1, a - b);
      } else if constexpr (fixed == 4) {
        const auto a = in(0), b = in(1), c = in(2), d = in(3);
        const auto even = a + c, odd = a - c, sum = b + d, difference = turned(b - d);
        out(0, even + sum);
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
        out(0, total);
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
template <class T, class In, class Out>
LRA_INLINE void any_stage(std::int64_t radix, std::int64_t size, std::int64_t m, std::int64_t s, const T* roots,
                          const In& in, const Out& out) {
  switch (radix) {
    case 4:
      return fourier_stage<T, 4>(4, size, m, s, roots, in, out);
    case 2:
      return fourier_stage<T, 2>(2, size, m, s, roots, in, out);
    case 3:
      return fourier_stage<T, 3>(3, size, m, s, roots, in, out);
    case 5:
      return fourier_stage<T, 5>(5, size, m, s, roots, in, out);
    default:
      return fourier_stage<T, 0>(radix, size, m, s, roots, in, out);
  }
}

// From in(i) to out(i, z), with x and y of plan.size numbers between.
template <class T, class In, class Out>
LRA_INLINE void fourier_stages(const FourierPlan<T>& plan, const In& in, const Out& out, T* x, T* y) {
  if (plan.num_radices < 2) {
    for (std::int64_t i = 0; i < plan.size; ++i) ToMemory<T>{x}(i, in(i));
    if (plan.num_radices == 0) return out(0, InMemory<T>{x}(0));
    return any_stage(plan.size, plan.size, 1, 1, plan.roots, InMemory<T>{x}, out);
  }
  std::int64_t m = plan.size / plan.radices[0], s = plan.radices[0];
  any_stage(s, plan.size, m, 1, plan.roots, in, ToMemory<T>{x});
  for (std::int64_t i = 1; i < plan.num_radices; ++i) {
    const std::int64_t radix = plan.radices[i];
    m /= radix;
    if (i + 1 == plan.num_radices) return any_stage(radix, plan.size, m, s, plan.roots, InMemory<T>{x}, out);
    any_stage(radix, plan.size, m, s, plan.roots, InMemory<T>{x}, ToMemory<T>{y});
    s *= radix;
    T* const swapped = x;
    x = y;
    y = swapped;
  }
}

// `lanes` transforms of plan.n numbers, from in(i) to out(i, z), which may be called in any order. All of `in` is read
// before `out` is called. x, y and, where there is a chirp, z have room for plan.size of them.
template <class T, class In, class Out>
LRA_INLINE void fourier(const FourierPlan<T>& plan, const In& in, const Out& out, T* x, T* y, T* z) {
  if (plan.chirp == nullptr) return fourier_stages(plan, in, out, x, y);
  // Bluestein: a convolution with a chirp, by transforms of a length with small factors. Real and imaginary parts
  // exchanged make a transform its inverse.
  for (std::int64_t i = 0; i < plan.n; ++i) ToMemory<T>{z}(i, times(in(i), plan.chirp[2 * i], plan.chirp[2 * i + 1]));
  for (std::int64_t i = plan.n; i < plan.size; ++i) ToMemory<T>{z}(i, ComplexVector<T>{});
  fourier_stages(plan, InMemory<T>{z}, ToMemory<T>{z}, x, y);
  for (std::int64_t i = 0; i < plan.size; ++i) {
    const ComplexVector<T> product = times(InMemory<T>{z}(i), plan.filter[2 * i], plan.filter[2 * i + 1]);
    ToMemory<T>{z}(i, ComplexVector<T>{product.im, product.re});
  }
  fourier_stages(plan, InMemory<T>{z}, ToMemory<T>{z}, x, y);
  for (std::int64_t i = 0; i < plan.n; ++i) {
    const ComplexVector<T> value = InMemory<T>{z}(i);
    out(i, times<T>({value.im, value.re}, plan.chirp[2 * i], plan.chirp[2 * i + 1]));
  }
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

// The transform of each row, of which the second half follows from the first: real part of frequency f in place f,
// imaginary part in place d - f.
template <class T>
void fourier_rows(const FourierPlan<T>& plan, std::int64_t rows, const T* in, T* out, T* scratch) {
  constexpr std::int64_t size = lanes<T>, pair = 2 * size;
  const std::int64_t d = plan.n;
  T *const x = scratch, *const y = x + plan.size * pair, *const z = y + plan.size * pair,
           *const a = z + plan.size * pair;
  T* const b = a + d * size;
  for (std::int64_t r = 0; r < rows; r += pair) {  // one row as the real part, another as the imaginary part
    const std::int64_t left = rows - r, first = left < size ? left : size,
                       second = left - first < size ? left - first : size;
    rows_to_lanes(first, d, in + r * d, a, pair);
    rows_to_lanes(second, d, in + (r + first) * d, a + size, pair);
    fourier(plan, InMemory<T>{a}, ToMemory<T>{z}, x, y, z);
    // Then d vectors of the first rows, d of the second.
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

// The transform along the first dimension of what fourier_rows made of n rows, zero from there to plan.n, for one group
// of `lanes` frequencies; its real part takes the places of its input. Frequencies 0 and d / 2 are real and share a
// lane.
template <class T>
void fourier_columns(const FourierPlan<T>& plan, std::int64_t n, std::int64_t d, std::int64_t group, T* rows,
                     T* scratch) {
  constexpr std::int64_t size = lanes<T>, pair = 2 * size;
  T *const x = scratch, *const y = x + plan.size * pair, *const z = y + plan.size * pair;
  T* const shared = z + plan.size * pair;  // (plan.n) the complex numbers of lane 0 of the first group
  const std::int64_t first = group * size, frequencies = (d + 1) / 2;
  const std::int64_t count = frequencies - first < size ? frequencies - first : size;
  const bool whole_group = count == size && d >= pair;
  const std::int64_t last =
      d - first - size + 1;  // of the group's places d - f, the first; lane 0 of the first group has none
  const auto in = [&](std::int64_t t) __attribute__((always_inline)) {
    ComplexVector<T> value = {};
    if (t >= n) return value;
    const T* const row = rows + t * d;
    if (whole_group) {
      const T* const soon =
          rows + (t + 4 < n ? t + 4 : t) * d;  // rows are too far apart for the processor to guess the next ones
      __builtin_prefetch(soon + first);
      __builtin_prefetch(soon + d - first - size);
      __builtin_prefetch(soon + d - first - 1);
      value.re = load(row + first);
      if (first > 0) {
        value.im = reversed<T>(load(row + last));
      } else {
        __builtin_memcpy(&value.im, row + last, sizeof value.im - sizeof(T));
        value.im = reversed<T>(value.im);
        value.im[0] = d % 2 == 0 ? row[d / 2] : T{0};
      }
    } else {
      for (std::int64_t l = 0; l < count; ++l) {
        value.re[l] = row[first + l];
        value.im[l] = first + l > 0 ? row[d - first - l] : d % 2 == 0 ? row[d / 2] : T{0};
      }
    }
    return value;
  };
  const auto out = [&](std::int64_t t, const ComplexVector<T>& value) __attribute__((always_inline)) {
    const std::int64_t mirrored = t == 0 ? 0 : plan.n - t;  // Re X[-t, d - f] = Re X[t, f]
    if (first == 0) {
      shared[2 * t] = value.re[0];
      shared[2 * t + 1] = value.im[0];
    }
    if (t < n) {
      T* const row = rows + t * d + first;
      if (whole_group) {
        store(row, value.re);
      } else {
        for (std::int64_t l = 0; l < count; ++l) row[l] = value.re[l];
      }
    }
    if (mirrored < n) {
      T* const row = rows + mirrored * d;
      if (whole_group) {
        const Vector<T> backwards = reversed<T>(value.re);
        if (first > 0) {
          store(row + last, backwards);
        } else {
          __builtin_memcpy(row + last, &backwards, sizeof backwards - sizeof(T));
        }
      } else {
        for (std::int64_t l = first == 0 ? 1 : 0; l < count; ++l) row[d - first - l] = value.re[l];
      }
    }
  };
  fourier(plan, in, out, x, y, z);
  if (first > 0) return;
  for (std::int64_t t = 0; t < n; ++t) {
    T* const row = rows + t * d;
    const T* const here = shared + 2 * t;
    const T* const there = shared + 2 * (t == 0 ? 0 : plan.n - t);
    row[0] = (here[0] + there[0]) / 2;
    if (d % 2 == 0) row[d / 2] = (here[1] + there[1]) / 2;
  }
}
