// Linear maps of narrow matrices, which stay in the caches while rows go by: included like simd.h, after attention.h.
// All widths are multiples of the lanes.

constexpr std::int64_t rows_at_once = 48;

template <class T>
void linear_forward(const LinearMaps<T>& maps) {
  for (std::int64_t first = maps.first; first < maps.last; first += rows_at_once) {
    const std::int64_t rows = maps.last - first < rows_at_once ? maps.last - first : rows_at_once;
    const T* const x = maps.x + first * maps.width;
    for (std::int64_t m = 0; m < maps.count; ++m) {
      const LinearMap<T>& map = maps.maps[m];
      product<T, false, false>(rows, map.width, maps.width, x, maps.width, map.transposed, map.width,
                               map.y + first * map.width, map.width, map.bias);
    }
  }
}

template <class T>
void linear_backward(const LinearMaps<T>& maps) {
  for (std::int64_t first = maps.first; first < maps.last; first += rows_at_once) {
    const std::int64_t rows = maps.last - first < rows_at_once ? maps.last - first : rows_at_once;
    const T* const x = maps.x + first * maps.width;
    T* const grad_x = maps.grad_x == nullptr ? nullptr : maps.grad_x + first * maps.width;
    for (std::int64_t m = 0; m < maps.count; ++m) {
      const LinearMap<T>& map = maps.maps[m];
      const T* const grad_y = map.grad_y + first * map.width;
      if (grad_x != nullptr && m == 0)
        product<T, false, false>(rows, maps.width, map.width, grad_y, map.width, map.weight, maps.width, grad_x,
                                 maps.width);
      if (grad_x != nullptr && m > 0)
        product<T, true, false>(rows, maps.width, map.width, grad_y, map.width, map.weight, maps.width, grad_x,
                                maps.width);
      product<T, true, true>(map.width, maps.width, rows, grad_y, map.width, x, maps.width, map.grad_weight,
                             maps.width);
      if (map.grad_bias == nullptr) continue;
      for (std::int64_t i = 0; i < rows; ++i) add_row(grad_y + i * map.width, map.width, T{1}, map.grad_bias);
    }
  }
}
