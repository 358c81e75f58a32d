// Blocks mixed with each other (Sinkhorn, arXiv 2002.11296) and vectors made to have mean 0 and variance 1 (Routing, arXiv 2003.05997): included like simd.h, after
// attention.h.

// Row i of `rows` vectors `step` apart from `first` on, to (rows, width), zero beyond d and from row `rows` to `padded`.
template <class T>
LRA_INLINE void copy_slot(const T* from, std::int64_t step, std::int64_t rows, std::int64_t padded, std::int64_t d, std::int64_t width, T* to) {
  for (std::int64_t i = 0; i < rows; ++i) copy_row(from + i * step, d, T{1}, to + i * width, width);
  for (std::int64_t i = rows * width; i < padded * width; ++i) to[i] = 0;
}

template <class T>
void mix_blocks(const BlockMixture<T>& mixture, T* scratch) {
  const std::int64_t d = mixture.d, width = whole(d, lanes<T>), sources = mixture.sources;
  T *const slot_of_x = scratch, *const slot_of_mixed = slot_of_x + sources * width;
  for (std::int64_t slot = mixture.first_slot; slot < mixture.last_slot; ++slot) {
    copy_slot(mixture.x.data + slot * mixture.x.step, mixture.block * mixture.x.step, sources, sources, d, width, slot_of_x);
    product<T, false, false>(mixture.blocks, width, sources, mixture.weights, mixture.weights_step, slot_of_x, width, slot_of_mixed, width);
    for (std::int64_t i = 0; i < mixture.blocks; ++i) copy_row(slot_of_mixed + i * width, d, T{1}, mixture.mixed + (i * mixture.block + slot) * d, d);
  }
}

template <class T>
void mix_blocks_backward(const BlockMixture<T>& mixture, T* scratch) {
  const std::int64_t d = mixture.d, width = whole(d, lanes<T>), blocks = mixture.blocks, sources = mixture.sources, padded = whole(sources, lanes<T>);
  T *const slot_of_x = scratch, *const by_feature = slot_of_x + padded * width, *const grads = by_feature + padded * width, *const grads_of_x = grads + blocks * width;
  T* const grad_weights = grads_of_x + sources * width;  // (blocks, padded)
  for (std::int64_t i = 0; i < blocks * padded; ++i) grad_weights[i] = 0;
  for (std::int64_t slot = mixture.first_slot; slot < mixture.last_slot; ++slot) {
    copy_slot(mixture.x.data + slot * mixture.x.step, mixture.block * mixture.x.step, sources, padded, d, width, slot_of_x);
    transpose(padded, width, slot_of_x, width, by_feature, padded);
    copy_slot(mixture.grad_mixed + slot * d, mixture.block * d, blocks, blocks, d, width, grads);
    product<T, true, false>(blocks, padded, width, grads, width, by_feature, padded, grad_weights, padded);
    product<T, false, true>(sources, width, blocks, mixture.weights, mixture.weights_step, grads, width, grads_of_x, width);
    for (std::int64_t j = 0; j < sources; ++j) add_row(grads_of_x + j * width, d, T{1}, mixture.grad_x.data + (j * mixture.block + slot) * mixture.grad_x.step);
  }
  for (std::int64_t i = 0; i < blocks; ++i) add_row(grad_weights + i * padded, sources, T{1}, mixture.grad_weights + i * mixture.weights_step);
}

template <class T>
LRA_INLINE T sum_of(const T* x, std::int64_t d) {
  Vector<T> sums = {};
  T sum = 0;
  std::int64_t c = 0;
  for (; c + lanes<T> <= d; c += lanes<T>) sums += load(x + c);
  for (; c < d; ++c) sum += x[c];
  for (std::int64_t l = 0; l < lanes<T>; ++l) sum += sums[l];
  return sum;
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
  for (std::int64_t l = 0; l < lanes<T>; ++l) square += squares[l];
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
