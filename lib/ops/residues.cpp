#include "ops/residues.h"

#include <ATen/ops/constant_pad_nd.h>

#include <algorithm>

namespace lra::ops {

at::Tensor split_residues(const at::Tensor& x, std::int64_t stride) {
  const std::int64_t rows = (x.size(2) + stride - 1) / stride;
  const at::Tensor whole = at::constant_pad_nd(x, {0, 0, 0, rows * stride - x.size(2)});
  return whole.reshape({x.size(0), x.size(1), rows, stride, x.size(3)}).permute({0, 3, 1, 2, 4}).flatten(0, 1);
}

at::Tensor join_residues(const at::Tensor& classes, std::int64_t stride, std::int64_t n) {
  return classes.unflatten(0, {classes.size(0) / stride, stride}).movedim(1, 3).flatten(2, 3).narrow(2, 0, n);
}

at::Tensor split_mask(const at::Tensor& mask, std::int64_t stride) {
  return split_residues(mask.unsqueeze(1).unsqueeze(3), stride).squeeze(3).squeeze(1);
}

PartialAttention strided_window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                          const at::Tensor& key_mask, std::int64_t stride, std::int64_t window,
                                          double dropout) {
  const std::int64_t n = q.size(2);
  stride = std::min(stride, n);
  if (stride == 1) return block_sparse_attention(q, k, v, key_mask, window_pattern(n, window, q.device()), dropout);
  const at::Tensor queries = split_residues(q, stride);
  const PartialAttention part = block_sparse_attention(queries, split_residues(k, stride), split_residues(v, stride),
                                                       split_mask(key_mask, stride),
                                                       window_pattern(queries.size(2), window, q.device()), dropout);
  return {join_residues(part.out, stride, n), join_residues(part.log_sum, stride, n)};
}

}  // namespace lra::ops
