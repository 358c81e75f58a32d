#include "ops/pad.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "ops/autograd.h"

namespace lra::ops {
namespace {

at::Tensor pad(const at::Tensor& packed, at::IntArrayRef lengths, std::int64_t heads, const at::Tensor& places) {
  const auto batch = static_cast<std::int64_t>(lengths.size());
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  const std::int64_t width = packed.size(1) / heads;
  if (!packed.is_cpu()) {
    const at::Tensor rows =
        at::zeros({batch * longest, packed.size(1)}, packed.options()).index_copy_(0, places, packed);
    return rows.view({batch, longest, heads, width}).transpose(1, 2).contiguous();
  }
  at::Tensor padded = at::empty({batch, heads, longest, width}, packed.options());
  const at::Tensor tokens = packed.view({packed.size(0), heads, width}).transpose(0, 1);
  std::int64_t offset = 0;
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t length = lengths[static_cast<std::size_t>(b)];
    const at::Tensor rectangle = padded.select(0, b);
    rectangle.narrow(1, 0, length).copy_(tokens.narrow(1, offset, length));
    if (length < longest) rectangle.narrow(1, length, longest - length).zero_();
    offset += length;
  }
  return padded;
}

at::Tensor pack(const at::Tensor& padded, at::IntArrayRef lengths, const at::Tensor& places) {
  const std::int64_t heads = padded.size(1);
  const std::int64_t width = padded.size(3);
  if (!padded.is_cpu()) return padded.transpose(1, 2).reshape({-1, heads * width}).index_select(0, places);
  std::int64_t total = 0;
  for (const std::int64_t length : lengths) total += length;
  at::Tensor packed = at::empty({total, heads * width}, padded.options());
  const at::Tensor tokens = packed.view({total, heads, width}).transpose(0, 1);
  std::int64_t offset = 0;
  for (std::size_t b = 0; b < lengths.size(); ++b) {
    tokens.narrow(1, offset, lengths[b]).copy_(padded.select(0, static_cast<std::int64_t>(b)).narrow(1, 0, lengths[b]));
    offset += lengths[b];
  }
  return packed;
}

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// Each is the other's derivative: padding adds zeros, packing drops what was there.
struct Pad : torch::autograd::Function<Pad> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& packed, std::vector<std::int64_t> lengths,
                            std::int64_t heads, const std::optional<at::Tensor>& places) {
    const at::Tensor indices = places.value_or(at::Tensor());
    context->saved_data["places"] = indices;
    context->saved_data["lengths"] = lengths;
    return pad(packed.contiguous(), lengths, heads, indices);
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    return {pack(gradients[0], context->saved_data["lengths"].toIntVector(), context->saved_data["places"].toTensor()),
            {},
            {},
            {}};
  }
};

struct Pack : torch::autograd::Function<Pack> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& padded, std::vector<std::int64_t> lengths,
                            const std::optional<at::Tensor>& places) {
    const at::Tensor indices = places.value_or(at::Tensor());
    context->saved_data["places"] = indices;
    context->saved_data["lengths"] = lengths;
    context->saved_data["heads"] = padded.size(1);
    return pack(padded, lengths, indices);
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    return {pad(gradients[0].contiguous(), context->saved_data["lengths"].toIntVector(),
                context->saved_data["heads"].toInt(), context->saved_data["places"].toTensor()),
            {},
            {}};
  }
};

}  // namespace

at::Tensor pad_sequences(const at::Tensor& packed, at::IntArrayRef lengths, std::int64_t heads,
                         const at::Tensor& places) {
  return Pad::apply(packed, lengths.vec(), heads, if_defined(places));
}

at::Tensor pack_sequences(const at::Tensor& padded, at::IntArrayRef lengths, const at::Tensor& places) {
  return Pack::apply(padded, lengths.vec(), if_defined(places));
}

}  // namespace lra::ops
