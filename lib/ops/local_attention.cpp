#include "ops/local_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

#include "ops/masked_logit.h"

namespace lra::ops {
namespace {

// Rows of zeros before and after, along dimension `dim` counted from the end.
at::Tensor with_zeros(const at::Tensor& x, std::int64_t before, std::int64_t after, bool rows_of_vectors) {
  if (before == 0 && after == 0) return x;
  return rows_of_vectors ? at::constant_pad_nd(x, {0, 0, before, after}) : at::constant_pad_nd(x, {before, after});
}

// Query block i, places [i * rows, (i + 1) * rows), sees the keys at places [i * rows - reach, (i + 1) * rows + reach) whose distance is at
// most `band`.
at::Tensor attention_in_blocks(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>& mask,
                               std::int64_t rows, std::int64_t reach, std::int64_t band) {
  const std::int64_t n = q.size(2);
  const std::int64_t blocks = (n + rows - 1) / rows;
  const std::int64_t tail = blocks * rows - n;
  const std::int64_t columns = rows + 2 * reach;
  const at::Tensor queries = with_zeros(q * (1.0 / std::sqrt(static_cast<double>(q.size(3)))), 0, tail, true).unflatten(2, {blocks, rows});
  const at::Tensor keys = with_zeros(k, reach, reach + tail, true).unfold(2, columns, rows);  // (B, H, blocks, d, columns)
  const at::Tensor values = with_zeros(v, reach, reach + tail, true).unfold(2, columns, rows).transpose(-2, -1);
  at::Tensor logits = at::matmul(queries, keys);  // (B, H, blocks, rows, columns)

  at::Tensor hidden;
  const bool has_mask = mask.has_value() && mask->defined();
  if (has_mask || tail > 0 || reach > 0) {
    const at::Tensor real = has_mask ? *mask : at::ones({1, n}, q.options().dtype(at::kBool));
    hidden = with_zeros(real, reach, reach + tail, false).unfold(1, columns, rows).logical_not().unsqueeze(1).unsqueeze(3);
  }
  if (band < columns - reach - 1 || band < rows + reach - 1) {
    const at::Tensor row = at::arange(rows, q.options().dtype(at::kLong)).unsqueeze(1);
    const at::Tensor column = at::arange(columns, q.options().dtype(at::kLong)) - reach;
    const at::Tensor outside = (row - column).abs().gt(band);
    hidden = hidden.defined() ? hidden.logical_or(outside) : outside;
  }
  if (hidden.defined()) logits.masked_fill_(hidden, masked_logit);
  return at::matmul(at::softmax(logits, -1), values).flatten(2, 3).narrow(2, 0, n);
}

}  // namespace

WindowBlocks window_blocks(std::int64_t n, std::int64_t window) {
  const std::int64_t rows = std::max<std::int64_t>(16, window);
  const std::int64_t columns = rows + 2 * window;
  return columns < n ? WindowBlocks{rows, columns} : WindowBlocks{n, n};
}

at::Tensor window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>& mask,
                            std::int64_t window) {
  const auto [rows, columns] = window_blocks(q.size(2), window);
  return attention_in_blocks(q, k, v, mask, rows, (columns - rows) / 2, window);
}

at::Tensor block_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>& mask,
                           std::int64_t block) {
  const std::int64_t rows = std::min(block, q.size(2));
  return attention_in_blocks(q, k, v, mask, rows, 0, rows);
}

TORCH_LIBRARY_FRAGMENT(lra, library) {
  library.def("window_attention(Tensor q, Tensor k, Tensor v, Tensor? mask, int window) -> Tensor", &window_attention);
  library.def("block_attention(Tensor q, Tensor k, Tensor v, Tensor? mask, int block) -> Tensor", &block_attention);
}

}  // namespace lra::ops
