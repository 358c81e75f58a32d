// Attention by feature maps, out = φ(q) (φ(k)ᵀ V) / (φ(q) Σ φ(k)), with the features of one block of tokens at a time:
// included like simd.h, after it and attention.h. Features lie by token, F (tokens, width), and are zero beyond the
// last one, so that sums over the padded width are right.
//
// Maps that grow as e^x would give 0/0 where all features are too small for T. A factor e^a[f] of feature f of all
// keys, and one e^b of all features of a query, cancel: so φ(k)[f] is divided by e^largest[f], φ(q)[f] multiplied by
// it, and φ(q) divided by its own largest feature. The denominator then is 1 at least.

template <class T>
struct FeatureSums {
  T* products;  // (width, d): φ(k)ᵀ V, then what queries read
  T* totals;    // (width): Σ φ(k), then what queries read
  T* raw;       // (width): softmax: Σ φ(k); exponential: its sum, in the first place
  T* largest;   // (width): the logits' maximum, that of each feature (softmax, elu, where it is 0 at most, and
                // exponential without ε) or the same for all
  T* values;    // (d): Σ V, only for `exponential`
};

template <class T>
LRA_INLINE FeatureSums<T> divide_sums(T* memory, std::int64_t width, std::int64_t d_width) {
  T* const totals = memory + width * d_width;
  return {memory, totals, totals + width, totals + 2 * width, totals + 3 * width};
}

template <class T>
struct FeatureScratch {
  std::int64_t d_width, half, width,
      step;  // half: features of one kind; step: of F, no multiple of 4 KiB, which a cache cannot hold by columns
  T *inputs, *values, *outputs;  // (tokens, d)
  T *features, *gradients;       // (tokens, width)
  T* transposed;                 // (d, width)
  T *norms, *lengths, *offsets;  // (tokens)
};

template <class T>
LRA_INLINE FeatureScratch<T> divide_feature_scratch(const FeatureUnit<T>& unit, T* scratch) {
  FeatureScratch<T> s;
  const auto take = [&](std::int64_t count) {
    T* const start = scratch;
    scratch += count;
    return start;
  };
  s.d_width = whole(unit.d, 16);
  s.half = whole(unit.m, 16);
  s.width = feature_width(unit.map, unit.m);
  s.step = s.width + 16;
  s.inputs = take(feature_tokens * s.d_width);
  s.values = take(feature_tokens * s.d_width);
  s.outputs = take(feature_tokens * s.d_width);
  s.features = take(feature_tokens * s.step);
  s.gradients = take(feature_tokens * s.step);
  s.transposed = take(s.width * s.d_width);
  s.norms = take(feature_tokens);
  s.lengths = take(feature_tokens);
  s.offsets = take(feature_tokens);
  return s;
}

template <class T>
LRA_INLINE void fill(T* to, std::int64_t count, T value) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = value;
}

/// sin x and cos x within some 1e-7 (float): polynomials of Cephes on |r| <= π/4.
LRA_INLINE void sine_cosine(Vector<float> x, Vector<float>& sine, Vector<float>& cosine) {
  const Vector<float> magnitude = larger<float>(x, -x);
  if (!(largest_of<float>(magnitude) < 8192.0f)) {  // the three parts of π/2 end here
    for (std::int64_t l = 0; l < lanes<float>; ++l) {
      sine[l] = __builtin_sinf(x[l]);
      cosine[l] = __builtin_cosf(x[l]);
    }
    return;
  }
  const Vector<float> shift = all(12582912.0f);  // as in `exponential`
  const Vector<float> biased = x * 0.63661977236758134f + shift;
  const Vector<float> n = biased - shift;
  Vector<float> r = x - n * 1.5703125f;
  r = r - n * 4.837512969970703125e-4f;
  r = r - n * 7.54978995489188216e-8f;
  const Vector<float> square = r * r;
  Vector<float> s = all(-1.9515295891e-4f);
  s = s * square + 8.3321608736e-3f;
  s = s * square - 1.6666654611e-1f;
  s = s * square * r + r;
  Vector<float> c = all(2.443315711809948e-5f);
  c = c * square - 1.388731625493765e-3f;
  c = c * square + 4.166664568298827e-2f;
  c = c * square * square - square * 0.5f + 1.0f;
  Integers<float> quarter;
  __builtin_memcpy(&quarter, &biased, sizeof quarter);
  const Integers<float> swapped = (quarter & 1) != 0;
  const Vector<float> a = swapped ? c : s, b = swapped ? s : c;
  sine = (quarter & 2) != 0 ? -a : a;
  cosine = ((quarter + 1) & 2) != 0 ? -b : b;
}
LRA_INLINE void sine_cosine(Vector<double> x, Vector<double>& sine, Vector<double>& cosine) {
  for (std::int64_t l = 0; l < lanes<double>; ++l) {
    sine[l] = __builtin_sin(x[l]);
    cosine[l] = __builtin_cos(x[l]);
  }
}

// Features relative to their largest.
constexpr bool has_largest(Features map) {
  return map == Features::elu || map == Features::softmax || map == Features::exponential;
}
// Has each feature a maximum of its own? ε is relative to the mean of all, which need one for all.
template <class T, Features map>
LRA_INLINE bool largest_of_each(const FeatureUnit<T>& unit) {
  return map != Features::exponential || unit.epsilon == 0;
}
constexpr bool has_directions(Features map) {
  return map == Features::exponential || map == Features::relu || map == Features::sincos;
}

// elu(x) + 1, divided by e^-shift, and its derivative.
template <class T>
LRA_INLINE void elu_feature(Vector<T> shift, T* x, T* derivative) {
  const Vector<T> here = load(x), slope = exponential((here > 0 ? Vector<T>{} : here) + shift);
  store(derivative, slope);
  store(x, (here > 0 ? here + 1 : all(T{1})) * slope);
}

// Features before their maxima are known, for tokens first .. first + count - 1 of `rows`: logits, or what relu and
// sincos make of them.
template <class T, Features map>
LRA_INLINE void raw_features(const FeatureUnit<T>& unit, const FeatureScratch<T>& s, const Rows<const T>& rows,
                             std::int64_t first, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T* const from = rows.data + (first + i) * rows.step;
    if constexpr (!has_directions(map)) {
      copy_row(from, unit.d, T{1}, s.features + i * s.step, s.width);
    } else {
      T* const to = s.inputs + i * s.d_width;
      copy_row(from, unit.d, T{1}, to, s.d_width);
      if constexpr (map == Features::sincos) {
        const T length = static_cast<T>(__builtin_sqrt(static_cast<double>(dot(to, to, s.d_width))));
        s.lengths[i] = 1 / (length > static_cast<T>(1e-12) ? length : static_cast<T>(1e-12));
        copy_row(to, s.d_width, s.lengths[i], to, s.d_width);
      }
    }
  }
  if constexpr (has_directions(map)) {
    product<T, false, false>(count, s.half, unit.d, s.inputs, s.d_width, unit.directions_by_feature, s.half, s.features,
                             s.step);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    T* const f = s.features + i * s.step;
    if constexpr (map == Features::relu) {
      for (std::int64_t c = 0; c < s.width; c += lanes<T>)
        store(f + c, larger<T>(load(f + c), Vector<T>{}) + unit.epsilon);
    } else if constexpr (map == Features::sincos) {
      for (std::int64_t c = 0; c < s.half; c += lanes<T>) {
        Vector<T> sine, cosine;
        sine_cosine(load(f + c) * unit.sigma, sine, cosine);
        store(f + c, sine);
        store(f + s.half + c, cosine);
      }
      fill(f + s.half + unit.m, s.half - unit.m, T{0});
    }
    if constexpr (map != Features::sincos) {
      fill(f + unit.m, s.width - unit.m, has_largest(map) ? hidden_logit<T> : T{0});
    }
  }
}

// elu: a query whose features are all small, divided by its largest one.
template <class T>
__attribute__((noinline)) void enlarge_query(const FeatureUnit<T>& unit, const FeatureScratch<T>& s,
                                             const FeatureSums<T>& sums, std::int64_t query, T* f, T* slopes, T& norm) {
  copy_row(unit.q.data + query * unit.q.step, unit.d, T{1}, f, s.width);
  fill(f + unit.m, s.width - unit.m, hidden_logit<T>);
  Vector<T> largest = all(hidden_logit<T>);
  for (std::int64_t c = 0; c < s.width; c += lanes<T>) {
    const Vector<T> x = load(f + c);
    largest = larger<T>((x > 0 ? Vector<T>{} : x) + load(sums.largest + c), largest);
  }
  const T most = largest_of<T>(largest);
  for (std::int64_t c = 0; c < s.width; c += lanes<T>) elu_feature<T>(load(sums.largest + c) - most, f + c, slopes + c);
  norm = dot(f, sums.totals, s.width);
}

// φ of queries, and what each row is divided by.
template <class T, Features map>
LRA_INLINE void query_features(const FeatureUnit<T>& unit, const FeatureScratch<T>& s, const FeatureSums<T>& sums,
                               std::int64_t first, std::int64_t count) {
  raw_features<T, map>(unit, s, unit.q, first, count);
  for (std::int64_t i = 0; i < count; ++i) {
    T* const f = s.features + i * s.step;
    if constexpr (map == Features::elu) {
      T* const slopes = s.inputs + i * s.d_width;
      for (std::int64_t c = 0; c < s.width; c += lanes<T>) elu_feature<T>(load(sums.largest + c), f + c, slopes + c);
      s.norms[i] = dot(f, sums.totals, s.width);
      if (s.norms[i] < static_cast<T>(1e-10)) enlarge_query(unit, s, sums, first + i, f, slopes, s.norms[i]);
    } else if constexpr (map == Features::softmax || map == Features::exponential) {
      if (map == Features::exponential && unit.epsilon == 0) {
        for (std::int64_t c = 0; c < s.width; c += lanes<T>) store(f + c, load(f + c) + load(sums.largest + c));
      }
      Vector<T> largest = load(f);
      for (std::int64_t c = lanes<T>; c < s.width; c += lanes<T>) largest = larger<T>(largest, load(f + c));
      const T most = largest_of<T>(largest);
      Vector<T> norm = {};
      for (std::int64_t c = 0; c < s.width; c += lanes<T>) {
        const Vector<T> e = exponential(load(f + c) - most);
        store(f + c, e);
        norm += e * load(sums.totals + c);
      }
      s.norms[i] = sum_of<T>(norm);
    } else {
      s.norms[i] = dot(f, sums.totals, s.width);
    }
  }
}

// What stands in `products` and `totals` is for a smaller maximum.
template <class T>
LRA_INLINE void rescale_feature(const FeatureScratch<T>& s, const FeatureSums<T>& sums, std::int64_t f, T factor) {
  T* const row = sums.products + f * s.d_width;
  for (std::int64_t c = 0; c < s.d_width; c += lanes<T>) store(row + c, load(row + c) * factor);
  sums.totals[f] *= factor;
}
template <class T>
LRA_INLINE T exponential_of(T x) {
  return exponential(all(x))[0];
}

// φ of keys, relative to the maxima in sums.largest, which grow first if `growing`.
template <class T, Features map, bool growing>
LRA_INLINE void key_features(const FeatureUnit<T>& unit, const FeatureScratch<T>& s, const FeatureSums<T>& sums,
                             std::int64_t first, std::int64_t count) {
  raw_features<T, map>(unit, s, unit.k, first, count);
  if constexpr (map == Features::exponential) {
    for (std::int64_t i = 0; i < count; ++i)
      s.offsets[i] = unit.half * dot(s.inputs + i * s.d_width, s.inputs + i * s.d_width, s.d_width);
  }
  if (growing && map == Features::exponential && !largest_of_each<T, map>(unit)) {
    T largest = sums.largest[0];
    for (std::int64_t i = 0; i < count; ++i) {
      const T* const f = s.features + i * s.step;
      Vector<T> of_row = load(f);
      for (std::int64_t c = lanes<T>; c < s.width; c += lanes<T>) of_row = larger<T>(of_row, load(f + c));
      const T most = largest_of<T>(of_row) - s.offsets[i];
      largest = most > largest ? most : largest;
    }
    if (largest > sums.largest[0]) {
      const T factor = exponential_of(sums.largest[0] - largest);
      for (std::int64_t f = 0; f < s.width; ++f) rescale_feature(s, sums, f, factor);
      fill(sums.largest, s.width, largest);
    }
  }
  const auto offset = [&](std::int64_t i) { return map == Features::exponential ? s.offsets[i] : T{0}; };
  if (growing && has_largest(map) && largest_of_each<T, map>(unit)) {
    for (std::int64_t c = 0; c < s.width; c += lanes<T>) {
      const Vector<T> before = load(sums.largest + c);
      if (map == Features::elu && sum_of<T>(before) == 0) continue;  // at most 0 each: they grow no more
      Vector<T> largest = before;
      for (std::int64_t i = 0; i < count; ++i)
        largest = larger<T>(load(s.features + i * s.step + c) - offset(i), largest);
      if (map == Features::elu) largest = largest > 0 ? Vector<T>{} : largest;
      const Vector<T> factor = exponential(before - largest);
      store(sums.largest + c, largest);
      for (std::int64_t l = 0; l < lanes<T>; ++l) {
        if (factor[l] != 1) rescale_feature(s, sums, c + l, factor[l]);
      }
    }
  }
  if constexpr (has_largest(map)) {
    for (std::int64_t i = 0; i < count; ++i) {
      T* const f = s.features + i * s.step;
      for (std::int64_t c = 0; c < s.width; c += lanes<T>) {
        if constexpr (map == Features::elu) {
          elu_feature<T>(-load(sums.largest + c), f + c, s.inputs + i * s.d_width + c);
        } else {
          store(f + c, exponential(load(f + c) - offset(i) - load(sums.largest + c)));
        }
      }
      fill(f + unit.m, s.width - unit.m, T{0});  // their maximum may be what hides them
    }
  }
}

template <class T, Features map>
void sum_keys(const FeatureUnit<T>& unit, const FeatureScratch<T>& s) {
  const FeatureSums<T> sums = divide_sums(unit.sums, s.width, s.d_width);
  fill(unit.sums, feature_sums(map, unit.d, unit.m), T{0});
  if constexpr (has_largest(map)) fill(sums.largest, s.width, hidden_logit<T>);
  for (std::int64_t done = 0; done < unit.count; done += feature_tokens) {
    const std::int64_t first = unit.first + done,
                       count = unit.count - done < feature_tokens ? unit.count - done : feature_tokens;
    key_features<T, map, true>(unit, s, sums, first, count);
    for (std::int64_t i = 0; i < count; ++i)
      copy_row(unit.v.data + (first + i) * unit.v.step, unit.d, T{1}, s.values + i * s.d_width, s.d_width);
    product<T, true, true>(s.width, s.d_width, count, s.features, s.step, s.values, s.d_width, sums.products,
                           s.d_width);
    for (std::int64_t c = 0; c < s.width; c += lanes<T>) {
      Vector<T> total = load(sums.totals + c);
      for (std::int64_t i = 0; i < count; ++i) total += load(s.features + i * s.step + c);
      store(sums.totals + c, total);
    }
    if constexpr (map == Features::exponential) {
      for (std::int64_t i = 0; i < count; ++i) add_row(s.values + i * s.d_width, s.d_width, T{1}, sums.values);
    }
  }
}

template <class T>
void merge_features(const FeatureUnit<T>& unit, const T* more) {
  FeatureScratch<T> s;
  s.d_width = whole(unit.d, 16);
  s.width = feature_width(unit.map, unit.m);
  const FeatureSums<T> sums = divide_sums(unit.sums, s.width, s.d_width);
  const FeatureSums<const T> others = divide_sums(more, s.width, s.d_width);
  for (std::int64_t f = 0; f < s.width; ++f) {
    T factor = 1;
    const T theirs = others.largest[f];
    if (theirs > sums.largest[f]) {
      rescale_feature(s, sums, f, exponential_of(sums.largest[f] - theirs));
      sums.largest[f] = theirs;
    } else if (theirs < sums.largest[f]) {
      factor = exponential_of(theirs - sums.largest[f]);
    }
    add_row(others.products + f * s.d_width, s.d_width, factor, sums.products + f * s.d_width);
    sums.totals[f] += others.totals[f] * factor;
  }
  add_row(others.values, s.d_width, T{1}, sums.values);
}

// The sum of all rows of products, and of totals.
template <class T>
LRA_INLINE T sum_features(const FeatureUnit<T>& unit, const FeatureScratch<T>& s, const FeatureSums<T>& sums,
                          T* of_products) {
  fill(of_products, s.d_width, T{0});
  T total = 0;
  for (std::int64_t f = 0; f < unit.m; ++f) {
    add_row(sums.products + f * s.d_width, s.d_width, T{1}, of_products);
    total += sums.totals[f];
  }
  return total;
}
template <class T>
LRA_INLINE void add_to_features(const FeatureUnit<T>& unit, const FeatureScratch<T>& s, const FeatureSums<T>& sums,
                                const T* to_products, T factor, T to_totals) {
  for (std::int64_t f = 0; f < unit.m; ++f) {
    add_row(to_products, s.d_width, factor, sums.products + f * s.d_width);
    sums.totals[f] += to_totals;
  }
}

// exponential: every feature of a key grows by ε times the mean of all features of all keys, every feature of a query
// by ε times the mean of its own. Both are added where sums are small matrices: (φ + ε 1)ᵀ V = φᵀ V + ε 1 (Σ V)ᵀ.
template <class T, Features map>
void finish_sums(const FeatureUnit<T>& unit, const FeatureScratch<T>& s) {
  const FeatureSums<T> sums = divide_sums(unit.sums, s.width, s.d_width);
  if constexpr (map == Features::softmax) {
    for (std::int64_t f = 0; f < unit.m; ++f) {
      sums.raw[f] = sums.totals[f];
      sums.totals[f] = 1;
      copy_row(sums.products + f * s.d_width, s.d_width, 1 / sums.raw[f], sums.products + f * s.d_width, s.d_width);
    }
  } else if constexpr (map == Features::exponential) {
    if (unit.epsilon == 0) return;
    const T of_mean = unit.epsilon / static_cast<T>(unit.m);
    const T total = sum_features(unit, s, sums, s.outputs);
    sums.raw[0] = total;
    const T of_key = of_mean * total / static_cast<T>(unit.n);
    add_to_features(unit, s, sums, sums.values, of_key, of_mean * total);
    const T new_total = sum_features(unit, s, sums, s.outputs);
    add_to_features(unit, s, sums, s.outputs, of_mean, of_mean * new_total);
  }
}

template <class T, Features map>
void read_queries(const FeatureUnit<T>& unit, const FeatureScratch<T>& s) {
  const FeatureSums<T> sums = divide_sums(unit.sums, s.width, s.d_width);
  for (std::int64_t done = 0; done < unit.count; done += feature_tokens) {
    const std::int64_t first = unit.first + done,
                       count = unit.count - done < feature_tokens ? unit.count - done : feature_tokens;
    query_features<T, map>(unit, s, sums, first, count);
    product<T, false, false>(count, s.d_width, s.width, s.features, s.step, sums.products, s.d_width, s.outputs,
                             s.d_width);
    for (std::int64_t i = 0; i < count; ++i)
      copy_row(s.outputs + i * s.d_width, unit.d, 1 / s.norms[i], unit.out.data + (first + i) * unit.out.step, unit.d);
  }
}

// Gradients of features → those of the tokens they are made of. s.gradients (count, width) are changed.
template <class T, Features map, bool keys>
LRA_INLINE void input_gradients(const FeatureUnit<T>& unit, const FeatureScratch<T>& s, const Rows<T>& to,
                                std::int64_t first, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T* const f = s.features + i * s.step;
    T* const g = s.gradients + i * s.step;
    Vector<T> sum = {};
    for (std::int64_t c = 0; c < s.half; c += lanes<T>) {
      [[maybe_unused]] const Vector<T> feature = load(f + c);
      Vector<T> gradient = load(g + c);
      if constexpr (map == Features::elu) {
        gradient *= load(s.inputs + i * s.d_width + c);
      } else if constexpr (map == Features::relu) {
        gradient = feature > unit.epsilon ? gradient : Vector<T>{};
      } else if constexpr (map == Features::sincos) {
        gradient = gradient * load(f + s.half + c) - load(g + s.half + c) * feature;
      } else {
        gradient *= feature;
        if constexpr (keys && map == Features::exponential) sum += gradient;
      }
      store(g + c, gradient);
    }
    if constexpr (keys && map == Features::exponential) s.offsets[i] = sum_of<T>(sum);
  }
  if constexpr (has_directions(map))
    product<T, false, false>(count, s.d_width, s.half, s.gradients, s.step, unit.directions, s.d_width, s.outputs,
                             s.d_width);
  for (std::int64_t i = 0; i < count; ++i) {
    T* const row = to.data + (first + i) * to.step;
    T* const gradient = s.outputs + i * s.d_width;
    const T* const input = s.inputs + i * s.d_width;
    if constexpr (!has_directions(map)) {
      copy_row(s.gradients + i * s.step, unit.d, T{1}, row, unit.d);
    } else if constexpr (map == Features::sincos) {
      const T along = dot(gradient, input, s.d_width);
      *unit.grad_sigma += along;
      add_row(input, s.d_width, -along, gradient);
      copy_row(gradient, unit.d, unit.sigma * s.lengths[i], row, unit.d);
    } else {
      if constexpr (keys && map == Features::exponential)
        add_row(input, s.d_width, -2 * unit.half * s.offsets[i], gradient);
      copy_row(gradient, unit.d, T{1}, row, unit.d);
    }
  }
}

template <class T, Features map>
void query_gradients(const FeatureUnit<T>& unit, const FeatureScratch<T>& s) {
  const FeatureSums<T> sums = divide_sums(unit.sums, s.width, s.d_width),
                       grads = divide_sums(unit.grad_sums, s.width, s.d_width);
  fill(unit.grad_sums, feature_sums(map, unit.d, unit.m), T{0});
  transpose(s.width, s.d_width, sums.products, s.d_width, s.transposed, s.width);
  for (std::int64_t done = 0; done < unit.count; done += feature_tokens) {
    const std::int64_t first = unit.first + done,
                       count = unit.count - done < feature_tokens ? unit.count - done : feature_tokens;
    query_features<T, map>(unit, s, sums, first, count);
    for (std::int64_t i = 0; i < count; ++i) {
      copy_row(unit.grad_out.data + (first + i) * unit.grad_out.step, unit.d, 1 / s.norms[i], s.values + i * s.d_width,
               s.d_width);
      const T* const out = unit.saved_out.data + (first + i) * unit.saved_out.step;
      const T* const grad = s.values + i * s.d_width;
      Vector<T> partial = {};
      T sum = 0;
      std::int64_t c = 0;
      for (; c + lanes<T> <= unit.d; c += lanes<T>) partial += load(out + c) * load(grad + c);
      for (; c < unit.d; ++c) sum += out[c] * grad[c];
      s.offsets[i] = sum + sum_of<T>(partial);
    }
    product<T, false, false>(count, s.width, unit.d, s.values, s.d_width, s.transposed, s.width, s.gradients, s.step);
    product<T, true, true>(s.width, s.d_width, count, s.features, s.step, s.values, s.d_width, grads.products,
                           s.d_width);
    for (std::int64_t c = 0; c < s.width; c += lanes<T>) {
      const Vector<T> total = load(sums.totals + c);
      Vector<T> grad_total = load(grads.totals + c);
      for (std::int64_t i = 0; i < count; ++i) {
        T* const g = s.gradients + i * s.step + c;
        store(g, load(g) - total * s.offsets[i]);
        grad_total -= load(s.features + i * s.step + c) * s.offsets[i];
      }
      store(grads.totals + c, grad_total);
    }
    input_gradients<T, map, false>(unit, s, unit.grad_q, first, count);
  }
}

template <class T, Features map>
void finish_gradients(const FeatureUnit<T>& unit, const FeatureScratch<T>& s) {
  const FeatureSums<T> sums = divide_sums(unit.sums, s.width, s.d_width),
                       grads = divide_sums(unit.grad_sums, s.width, s.d_width);
  if constexpr (map == Features::softmax) {
    for (std::int64_t f = 0; f < unit.m; ++f) {
      T* const grad = grads.products + f * s.d_width;
      copy_row(grad, s.d_width, 1 / sums.raw[f], grad, s.d_width);
      grads.totals[f] = -dot(grad, sums.products + f * s.d_width, s.d_width);
    }
  } else if constexpr (map == Features::exponential) {
    if (unit.epsilon == 0) return;
    const T of_mean = unit.epsilon / static_cast<T>(unit.m), of_key = of_mean / static_cast<T>(unit.n);
    const T of_totals = sum_features(unit, s, grads, s.outputs);
    add_to_features(unit, s, grads, s.outputs, of_mean, of_mean * of_totals);
    const T new_of_totals = sum_features(unit, s, grads, s.outputs);
    copy_row(s.outputs, s.d_width, of_key * sums.raw[0], grads.values, s.d_width);
    add_to_features(unit, s, grads, s.outputs, T{0},
                    of_key * dot(s.outputs, sums.values, s.d_width) + of_mean * new_of_totals);
  }
}

template <class T, Features map>
void key_gradients(const FeatureUnit<T>& unit, const FeatureScratch<T>& s) {
  const FeatureSums<T> sums = divide_sums(unit.sums, s.width, s.d_width),
                       grads = divide_sums(unit.grad_sums, s.width, s.d_width);
  transpose(s.width, s.d_width, grads.products, s.d_width, s.transposed, s.width);
  for (std::int64_t done = 0; done < unit.count; done += feature_tokens) {
    const std::int64_t first = unit.first + done,
                       count = unit.count - done < feature_tokens ? unit.count - done : feature_tokens;
    key_features<T, map, false>(unit, s, sums, first, count);
    for (std::int64_t i = 0; i < count; ++i)
      copy_row(unit.v.data + (first + i) * unit.v.step, unit.d, T{1}, s.values + i * s.d_width, s.d_width);
    product<T, false, false>(count, s.width, unit.d, s.values, s.d_width, s.transposed, s.width, s.gradients, s.step);
    product<T, false, false>(count, s.d_width, s.width, s.features, s.step, grads.products, s.d_width, s.outputs,
                             s.d_width);
    for (std::int64_t i = 0; i < count; ++i) {
      if constexpr (map == Features::exponential) add_row(grads.values, s.d_width, T{1}, s.outputs + i * s.d_width);
      copy_row(s.outputs + i * s.d_width, unit.d, T{1}, unit.grad_v.data + (first + i) * unit.grad_v.step, unit.d);
      T* const g = s.gradients + i * s.step;
      for (std::int64_t c = 0; c < s.width; c += lanes<T>) store(g + c, load(g + c) + load(grads.totals + c));
    }
    input_gradients<T, map, true>(unit, s, unit.grad_k, first, count);
  }
}

template <class T, Features map>
LRA_INLINE void feature_step(FeatureStep step, const FeatureUnit<T>& unit, T* memory) {
  const FeatureScratch<T> s = divide_feature_scratch(unit, memory);
  switch (step) {
    case FeatureStep::keys:
      return sum_keys<T, map>(unit, s);
    case FeatureStep::finish:
      return finish_sums<T, map>(unit, s);
    case FeatureStep::queries:
      return read_queries<T, map>(unit, s);
    case FeatureStep::query_gradients:
      return query_gradients<T, map>(unit, s);
    case FeatureStep::finish_gradients:
      return finish_gradients<T, map>(unit, s);
    case FeatureStep::key_gradients:
      return key_gradients<T, map>(unit, s);
  }
}

template <class T>
void feature_attention(FeatureStep step, const FeatureUnit<T>& unit, T* scratch) {
  switch (unit.map) {
    case Features::elu:
      return feature_step<T, Features::elu>(step, unit, scratch);
    case Features::softmax:
      return feature_step<T, Features::softmax>(step, unit, scratch);
    case Features::exponential:
      return feature_step<T, Features::exponential>(step, unit, scratch);
    case Features::relu:
      return feature_step<T, Features::relu>(step, unit, scratch);
    case Features::sincos:
      return feature_step<T, Features::sincos>(step, unit, scratch);
  }
}
