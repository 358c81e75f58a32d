// Blocks mixed with each other (Sinkhorn, arXiv 2002.11296) and vectors made to have mean 0 and variance 1 (Routing,
// arXiv 2003.05997): included like simd.h, after attention.h.

// The slots first .. first + count - 1 of `rows` blocks, each (rows, width), `apart` from each other, zero beyond d. A
// block's slots lie beside each other, the blocks far apart: so several slots are read at a time.
template <class T>
LRA_INLINE void copy_slots(const BlockMixture<T>& mixture, const Rows<const T>& from, std::int64_t first,
                           std::int64_t count, std::int64_t rows, std::int64_t width, T* to, std::int64_t apart) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* const block = from.data + (i * mixture.block + first) * from.step;
    for (std::int64_t s = 0; s < count; ++s)
      copy_row(block + s * from.step, mixture.d, T{1}, to + s * apart + i * width, width);
  }
}

template <class T>
void mix_blocks(const BlockMixture<T>& mixture, T* scratch) {
  const std::int64_t d = mixture.d, width = whole(d, lanes<T>), sources = mixture.sources, blocks = mixture.blocks;
  T *const x = scratch, *const mixed =
                            x + slots_at_once * sources * width;  // (slots, sources, width), (slots, blocks, width)
  for (std::int64_t first = mixture.first_slot; first < mixture.last_slot; first += slots_at_once) {
    const std::int64_t left = mixture.last_slot - first, count = left < slots_at_once ? left : slots_at_once;
    copy_slots(mixture, mixture.x, first, count, sources, width, x, sources * width);
    for (std::int64_t s = 0; s < count; ++s) {
      product<T, false, false>(blocks, width, sources, mixture.weights, mixture.weights_step, x + s * sources * width,
                               width, mixed + s * blocks * width, width);
    }
    for (std::int64_t i = 0; i < blocks; ++i) {
      for (std::int64_t s = 0; s < count; ++s)
        copy_row(mixed + (s * blocks + i) * width, d, T{1}, mixture.mixed + (i * mixture.block + first + s) * d, d);
    }
  }
}

template <class T>
void mix_blocks_backward(const BlockMixture<T>& mixture, T* scratch) {
  const std::int64_t d = mixture.d, width = whole(d, lanes<T>), blocks = mixture.blocks, sources = mixture.sources,
                     padded = whole(sources, lanes<T>);
  T *const x = scratch, *const grads = x + slots_at_once * padded * width,
           *const grads_of_x = grads + slots_at_once * blocks * width;  // (slots, ..., width)
  T *const by_feature = grads_of_x + slots_at_once * sources * width,
           *const grad_weights = by_feature + padded * width;  // (width, padded), (blocks, padded)
  for (std::int64_t i = 0; i < blocks * padded; ++i) grad_weights[i] = 0;
  for (std::int64_t i = 0; i < slots_at_once * padded * width; ++i) x[i] = 0;  // from row `sources` on they stay
  for (std::int64_t first = mixture.first_slot; first < mixture.last_slot; first += slots_at_once) {
    const std::int64_t left = mixture.last_slot - first, count = left < slots_at_once ? left : slots_at_once;
    copy_slots(mixture, mixture.x, first, count, sources, width, x, padded * width);
    copy_slots(mixture, {mixture.grad_mixed, d}, first, count, blocks, width, grads, blocks * width);
    for (std::int64_t s = 0; s < count; ++s) {
      const T* const grads_of_slot = grads + s * blocks * width;
      transpose(padded, width, x + s * padded * width, width, by_feature, padded);
      product<T, true, false>(blocks, padded, width, grads_of_slot, width, by_feature, padded, grad_weights, padded);
      product<T, false, true>(sources, width, blocks, mixture.weights, mixture.weights_step, grads_of_slot, width,
                              grads_of_x + s * sources * width, width);
    }
    for (std::int64_t j = 0; j < sources; ++j) {
      T* const grads_of_block = mixture.grad_x.data + (j * mixture.block + first) * mixture.grad_x.step;
      for (std::int64_t s = 0; s < count; ++s)
        add_row(grads_of_x + (s * sources + j) * width, d, T{1}, grads_of_block + s * mixture.grad_x.step);
    }
  }
  for (std::int64_t i = 0; i < blocks; ++i)
    add_row(grad_weights + i * padded, sources, T{1}, mixture.grad_weights + i * mixture.weights_step);
}

template <class T>
LRA_INLINE T sum_of(const T* x, std::int64_t d) {
  Vector<T> sums = {};
  T sum = 0;
  std::int64_t c = 0;
  for (; c + lanes<T> <= d; c += lanes<T>) sums += load(x + c);
  for (; c < d; ++c) sum += x[c];
  return sum + sum_of<T>(sums);
}

// 1 / the root of x's variance and at::layer_norm's epsilon.
template <class T>
LRA_INLINE T inverse_deviation(const T* x, std::int64_t d, T mean) {
  Vector<T> squares = {};
  T square = 0;
  std::int64_t c = 0;
  for (; c + lanes<T> <= d; c += lanes<T>) {
    const Vector<T> difference = load(x + c) - mean;
    squares += difference * difference;
  }
  for (; c < d; ++c) square += (x[c] - mean) * (x[c] - mean);
  square += sum_of<T>(squares);
  return 1 / static_cast<T>(__builtin_sqrt(static_cast<double>(square / static_cast<T>(d) + static_cast<T>(1e-5))));
}

template <class T>
void normalise(const Rows<const T>& x, std::int64_t n, std::int64_t d, T* to) {
  for (std::int64_t i = 0; i < n; ++i, to += d) {
    const T* const row = x.data + i * x.step;
    const T mean = sum_of(row, d) / static_cast<T>(d), scale = inverse_deviation(row, d, mean);
    std::int64_t c = 0;
    for (; c + lanes<T> <= d; c += lanes<T>) store(to + c, (load(row + c) - mean) * scale);
    for (; c < d; ++c) to[c] = (row[c] - mean) * scale;
  }
}

// The gradient of x in place of that of y = normalise(x), g: (g - mean(g) - y mean(g y)) / deviation.
template <class T>
void normalise_backward(const Rows<const T>& x, std::int64_t n, std::int64_t d, const T* y, const Rows<T>& grad) {
  for (std::int64_t i = 0; i < n; ++i, y += d) {
    const T* const row = x.data + i * x.step;
    T* const g = grad.data + i * grad.step;
    const T scale = inverse_deviation(row, d, sum_of(row, d) / static_cast<T>(d));
    const T mean = sum_of(g, d) / static_cast<T>(d), along = dot(g, y, d) / static_cast<T>(d);
    std::int64_t c = 0;
    for (; c + lanes<T> <= d; c += lanes<T>) store(g + c, (load(g + c) - mean - load(y + c) * along) * scale);
    for (; c < d; ++c) g[c] = (g[c] - mean - y[c] * along) * scale;
  }
}
