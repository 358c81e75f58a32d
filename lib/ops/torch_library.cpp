// The operators for Python: torch.ops.load_library("liblra_ops.so") defines torch.ops.lra.*; lib/python/README.md
// describes them.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <numeric>
#include <tuple>
#include <vector>

#include "ops/block_sparse_attention.h"
#include "ops/fourier_mix.h"
#include "ops/packed_attention.h"

namespace lra::ops {
namespace {

using at::Tensor;
using c10::SymInt;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;
using OptionalTensor = std::optional<Tensor>;
using Two = std::tuple<Tensor, Tensor>;
using Three = std::tuple<Tensor, Tensor, Tensor>;

bool has_kernels(const Tensor& x) {
  return x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble || x.scalar_type() == at::kBFloat16;
}

// --- packed_attention

// What its arguments say beside queries, keys and values. Kernels on data get numbers for what shape functions and
// autograd take as torch.compile gives it: SymInt.
template <class Int>
struct Pattern {
  Tensor offsets;
  OptionalTensor key_mask;
  Tensor key_blocks;
  Int query_block, key_block;
  std::optional<Int> band;
  std::int64_t stride;
  OptionalTensor key_offsets;
};

// The function of a kernel (pattern, tensors ...) whose arguments are flat, as an operator's must be: tensors ..., the
// pattern's fields ...
template <auto kernel>
struct Flat;
template <class Result, class Int, class... Tensors, Result (*kernel)(const Pattern<Int>&, Tensors...)>
struct Flat<kernel> {
  static Result call(Tensors... tensors, const Tensor& offsets, const OptionalTensor& key_mask,
                     const Tensor& key_blocks, Int query_block, Int key_block, std::optional<Int> band,
                     std::int64_t stride, const OptionalTensor& key_offsets) {
    return kernel({offsets, key_mask, key_blocks, std::move(query_block), std::move(key_block), std::move(band), stride,
                   key_offsets},
                  tensors...);
  }
};

// The operator `name` through the dispatcher, with the arguments of `kernel`.
template <auto kernel, class... Tensors>
auto call_operator(const char* name, const Pattern<SymInt>& p, const Tensors&... tensors) {
  static const auto handle =
      c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<decltype(Flat<kernel>::call)>();
  return handle.call(tensors..., p.offsets, p.key_mask, p.key_blocks, p.query_block, p.key_block, p.band, p.stride,
                     p.key_offsets);
}

template <class Int>
void check_shapes(const Pattern<Int>& p, const Tensor& q, const Tensor& k, const Tensor& v) {
  TORCH_CHECK_VALUE(q.dim() == 3 && k.dim() == 3 && k.sym_sizes() == v.sym_sizes() && q.sym_size(1) == k.sym_size(1) &&
                        q.sym_size(2) == k.sym_size(2),
                    "packed_attention: expected q (T, H, d) and k, v (Tk, H, d), found ", q.sym_sizes(), ", ",
                    k.sym_sizes(), " and ", v.sym_sizes());
  TORCH_CHECK_VALUE(has_kernels(q) && k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type(),
                    "packed_attention: expected q, k and v of one type, float32, float64 or bfloat16, found ",
                    q.scalar_type(), ", ", k.scalar_type(), " and ", v.scalar_type());
  TORCH_CHECK_VALUE(p.query_block >= 1 && p.key_block >= 1 && p.stride >= 1 && (!p.band || *p.band >= 0),
                    "packed_attention: query_block ", p.query_block, ", key_block ", p.key_block, " and stride ",
                    p.stride, " must be at least 1, and band at least 0");
  const auto check_offsets = [](const char* name, const Tensor& offsets) {
    TORCH_CHECK_VALUE(offsets.dim() == 1 && offsets.scalar_type() == at::kLong && offsets.sym_size(0) >= 1,
                      "packed_attention: expected ", name, " (B + 1) int64, found ", offsets.sym_sizes(), " ",
                      offsets.scalar_type());
  };
  check_offsets("offsets", p.offsets);
  if (p.key_offsets) {
    check_offsets("key_offsets", *p.key_offsets);
    TORCH_CHECK_VALUE(p.key_offsets->sym_size(0) == p.offsets.sym_size(0), "packed_attention: ", p.offsets.sym_size(0),
                      " offsets, but ", p.key_offsets->sym_size(0), " key_offsets");
  } else {
    TORCH_CHECK_VALUE(k.sym_size(0) == q.sym_size(0), "packed_attention: ", k.sym_size(0), " keys for ", q.sym_size(0),
                      " queries need key_offsets");
  }
  if (p.key_mask) {
    TORCH_CHECK_VALUE(
        p.key_mask->dim() == 1 && p.key_mask->sym_size(0) == k.sym_size(0) && p.key_mask->scalar_type() == at::kBool,
        "packed_attention: expected key_mask (", k.sym_size(0), ") bool, found ", p.key_mask->sym_sizes(), " ",
        p.key_mask->scalar_type());
  }
  const Tensor& lists = p.key_blocks;
  const SymInt batch = p.offsets.sym_size(0) - 1;
  TORCH_CHECK_VALUE(lists.dim() == 4 && lists.scalar_type() == at::kLong &&
                        (lists.sym_size(0) == 1 || lists.sym_size(0) == batch) &&
                        (lists.sym_size(1) == 1 || lists.sym_size(1) == q.sym_size(1)),
                    "packed_attention: expected key_blocks (", batch, " or 1, ", q.sym_size(1),
                    " or 1, query blocks, S) int64, found ", lists.sym_sizes(), " ", lists.scalar_type());
}

std::vector<std::int64_t> read_offsets(const char* name, const Tensor& offsets, std::int64_t tokens) {
  const Tensor line = offsets.contiguous();
  std::vector<std::int64_t> list(line.const_data_ptr<std::int64_t>(),
                                 line.const_data_ptr<std::int64_t>() + line.numel());
  TORCH_CHECK_VALUE(list.front() == 0 && list.back() == tokens && std::is_sorted(list.begin(), list.end()),
                    "packed_attention: ", name, " must rise from 0 to ", tokens, ", found ", c10::IntArrayRef(list));
  return list;
}

struct Arguments {
  std::vector<std::int64_t> offsets;
  KeySource source;
};

Arguments arguments_of(const Pattern<std::int64_t>& p, const Tensor& q, const Tensor& k, const Tensor& v) {
  check_shapes(p, q, k, v);
  Arguments arguments{read_offsets("offsets", p.offsets, q.size(0)), {k, v, {}, p.key_mask.value_or(Tensor()), {}}};
  const auto& offsets = arguments.offsets;
  KeySource& source = arguments.source;
  if (p.key_offsets) source.offsets = read_offsets("key_offsets", *p.key_offsets, k.size(0));
  std::int64_t longest = 0;
  for (std::size_t s = 1; s < offsets.size(); ++s)
    longest = std::max(longest, (offsets[s] - offsets[s - 1] - 1) / p.stride + 1);
  TORCH_CHECK_VALUE(longest == 0 || (longest - 1) / p.query_block < p.key_blocks.size(2),
                    "packed_attention: key_blocks has lists for ", p.key_blocks.size(2), " query blocks of ",
                    p.query_block, " places, but there are ", longest, " places");
  // Nothing is larger than there are places, so that no sum overflows; blocks beyond the keys are none.
  const std::int64_t places = std::max<std::int64_t>(1, std::max(longest, k.size(0))),
                     key_block = std::min(p.key_block, places);
  source.pattern = {std::min(p.query_block, places), key_block, p.key_blocks.clamp_max(places / key_block + 1),
                    p.band ? std::optional(std::min(*p.band, places)) : std::nullopt};
  return arguments;
}

Two forward_cpu(const Pattern<std::int64_t>& p, const Tensor& q, const Tensor& k, const Tensor& v) {
  const at::NoGradGuard no_grad;  // the operator's derivative is below
  const auto [offsets, source] = arguments_of(p, q, k, v);
  const Tensor sorted = std::get<0>(p.key_blocks.sort());
  const Tensor later = sorted.slice(3, 1);
  TORCH_CHECK_VALUE(!later.eq(sorted.slice(3, 0, -1)).logical_and(later.ge(0)).any().item<bool>(),
                    "packed_attention: a list in key_blocks names a block twice");
  const PartialAttention part = packed_attention(q, offsets, {source}, 0, p.stride);
  return {part.out, part.log_sum};
}

Three backward_cpu(const Pattern<std::int64_t>& p, const OptionalTensor& grad_out, const OptionalTensor& grad_log_sum,
                   const Tensor& out, const Tensor& log_sum, const Tensor& q, const Tensor& k, const Tensor& v) {
  const at::NoGradGuard no_grad;
  const auto [offsets, source] = arguments_of(p, q, k, v);
  const auto has_shape = [](const OptionalTensor& x, at::IntArrayRef shape) { return !x || x->sizes() == shape; };
  TORCH_CHECK_VALUE(has_shape(out, q.sizes()) && has_shape(grad_out, q.sizes()) &&
                        has_shape(log_sum, {q.size(0), q.size(1)}) && has_shape(grad_log_sum, {q.size(0), q.size(1)}),
                    "packed_attention_backward: results or their gradients have other shapes than the results of q ",
                    q.sizes());
  const auto gradients = packed_attention_backward({grad_out.value_or(Tensor()), grad_log_sum.value_or(Tensor())},
                                                   {out, log_sum}, q, offsets, source, p.stride);
  return {gradients[0], gradients[1], gradients[2]};
}

Two forward_meta(const Pattern<SymInt>& p, const Tensor& q, const Tensor& k, const Tensor& v) {
  check_shapes(p, q, k, v);
  const auto type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return {at::empty_symint(q.sym_sizes(), q.options()),
          at::empty_symint({q.sym_size(0), q.sym_size(1)}, q.options().dtype(type))};
}

Three backward_meta(const Pattern<SymInt>&, const OptionalTensor&, const OptionalTensor&, const Tensor&, const Tensor&,
                    const Tensor& q, const Tensor& k, const Tensor& v) {
  const auto like = [](const Tensor& x) { return at::empty_symint(x.sym_sizes(), x.options()); };
  return {like(q), like(k), like(v)};
}

Two forward_elsewhere(const Pattern<SymInt>&, const Tensor& q, const Tensor&, const Tensor&) {
  TORCH_CHECK_VALUE(false, "packed_attention: expected dense tensors on the CPU, found ", q.toString(),
                    ": elsewhere pad the sequences and use block_sparse_attention");
}

struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static tensor_list forward(AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Pattern<SymInt>& p) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [out, log_sum] = call_operator<forward_meta>("lra::packed_attention", p, q, k, v);
    context->save_for_backward({out, log_sum, q, k, v, p.offsets, p.key_mask.value_or(Tensor()), p.key_blocks,
                                p.key_offsets.value_or(Tensor())});
    context->saved_data["query_block"] = p.query_block;
    context->saved_data["key_block"] = p.key_block;
    if (p.band) context->saved_data["band"] = *p.band;
    context->saved_data["stride"] = p.stride;
    context->set_materialize_grads(false);
    return {out, log_sum};
  }
  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const auto saved = context->get_saved_variables();
    auto& data = context->saved_data;
    const auto optional = [](const Tensor& x) { return x.defined() ? OptionalTensor(x) : std::nullopt; };
    Pattern<SymInt> p{saved[5],
                      optional(saved[6]),
                      saved[7],
                      data["query_block"].toSymInt(),
                      data["key_block"].toSymInt(),
                      {},
                      data["stride"].toInt(),
                      optional(saved[8])};
    if (data.count("band") > 0) p.band = data["band"].toSymInt();
    const auto [grad_q, grad_k, grad_v] =
        call_operator<backward_meta>("lra::packed_attention_backward", p, optional(gradients[0]),
                                     optional(gradients[1]), saved[0], saved[1], saved[2], saved[3], saved[4]);
    return {grad_q, grad_k, grad_v, {}};
  }
};

Two forward_autograd(const Pattern<SymInt>& p, const Tensor& q, const Tensor& k, const Tensor& v) {
  const auto result = PackedAttention::apply(q, k, v, p);
  return {result[0], result[1]};
}

// --- block_sparse_attention: packed_attention on the CPU, ATen's operators elsewhere

Two block_sparse(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& key_mask,
                 const Tensor& key_blocks, SymInt query_block, SymInt key_block,
                 std::optional<SymInt> band) {  // by value: the registration must see that they are SymInts
  TORCH_CHECK_VALUE(q.dim() == 4 && k.dim() == 4 && k.sym_sizes() == v.sym_sizes() && q.sym_size(0) == k.sym_size(0) &&
                        q.sym_size(1) == k.sym_size(1) && q.sym_size(3) == k.sym_size(3),
                    "block_sparse_attention: expected q (B, H, N, d) and k, v (B, H, M, d), found ", q.sym_sizes(),
                    ", ", k.sym_sizes(), " and ", v.sym_sizes());
  const SymInt batch = q.sym_size(0), n = q.sym_size(2), keys = k.sym_size(2);
  TORCH_CHECK_VALUE(
      !key_mask || (key_mask->dim() == 2 && key_mask->sym_size(0) == batch && key_mask->sym_size(1) == keys),
      "block_sparse_attention: expected key_mask (", batch, ", ", keys, ") bool, found ",
      key_mask ? key_mask->sym_sizes() : c10::SymIntArrayRef{});
  TORCH_CHECK_VALUE(query_block >= 1, "block_sparse_attention: query_block is ", query_block, ", not at least 1");
  const SymInt query_blocks = (n + query_block - 1) / query_block;
  TORCH_CHECK_VALUE(key_blocks.dim() == 4 && key_blocks.sym_size(2) == query_blocks,
                    "block_sparse_attention: expected key_blocks (B or 1, H or 1, ", query_blocks, ", S), found ",
                    key_blocks.sym_sizes());
  const auto rows = [](const Tensor& x) { return x.transpose(1, 2).flatten(0, 1); };
  const auto offsets = [&](const SymInt& length) {
    return at::arange(batch + 1, q.options().dtype(at::kLong)) * length;
  };
  const Pattern<SymInt> p{offsets(n), key_mask ? OptionalTensor(key_mask->flatten()) : std::nullopt,
                          key_blocks, query_block,
                          key_block,  band,
                          1,          offsets(keys)};
  if (q.is_cpu()) {
    const auto [out, log_sum] = call_operator<forward_meta>("lra::packed_attention", p, rows(q), rows(k), rows(v));
    const auto rectangle = [&](const Tensor& x) {
      return x.unflatten_symint(0, std::initializer_list<SymInt>{batch, n}).transpose(1, 2);
    };
    return {rectangle(out), rectangle(log_sum)};
  }
  check_shapes(p, rows(q), rows(k), rows(v));
  const auto number = [](const SymInt& x) { return x.guard_int(__FILE__, __LINE__); };
  const auto part = block_sparse_attention(
      q, k, v, key_mask,
      {number(query_block), number(key_block), key_blocks, band ? std::optional(number(*band)) : std::nullopt});
  // As from the kernel: sums of exponentials in float32 at least.
  return {part.out, q.scalar_type() == at::kDouble ? part.log_sum : part.log_sum.to(at::kFloat)};
}

// --- fourier_mix

void check_fourier(const Tensor& x, at::IntArrayRef lengths, std::int64_t length) {
  const std::int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  TORCH_CHECK_VALUE(x.dim() == 2 && x.sym_size(0) == tokens && has_kernels(x), "fourier_mix: expected x (", tokens,
                    ", D), float32, float64 or bfloat16, as the lengths ", lengths, " say, found ", x.sym_sizes(), " ",
                    x.scalar_type());
  TORCH_CHECK_VALUE(std::all_of(lengths.begin(), lengths.end(), [&](std::int64_t n) { return n >= 1 && n <= length; }),
                    "fourier_mix: every length of ", lengths, " must be from 1 to ", length);
}

Tensor fourier_forward(const Tensor& x, at::IntArrayRef lengths, std::int64_t length) {
  const at::NoGradGuard no_grad;
  check_fourier(x, lengths, length);
  return fourier_mix(x.contiguous(), lengths, length, true);
}

Tensor fourier_meta(const Tensor& x, at::IntArrayRef lengths, std::int64_t length) {
  check_fourier(x, lengths, length);
  return at::empty_symint(x.sym_sizes(), x.options());
}

Tensor call_fourier(const Tensor& x, at::IntArrayRef lengths, std::int64_t length) {
  static const auto handle =
      c10::Dispatcher::singleton().findSchemaOrThrow("lra::fourier_mix", "").typed<decltype(fourier_meta)>();
  return handle.call(x, lengths, length);
}

// Its own derivative: see lib/ops/fourier_mix.cpp.
struct FourierMix : torch::autograd::Function<FourierMix> {
  static Tensor forward(AutogradContext* context, const Tensor& x, std::vector<std::int64_t> lengths,
                        std::int64_t length) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->saved_data["lengths"] = lengths;
    context->saved_data["length"] = length;
    return call_fourier(x, lengths, length);
  }
  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    return {
        call_fourier(gradients[0], context->saved_data["lengths"].toIntVector(), context->saved_data["length"].toInt()),
        {},
        {}};
  }
};

Tensor fourier_autograd(const Tensor& x, at::IntArrayRef lengths, std::int64_t length) {
  return FourierMix::apply(x, lengths.vec(), length);
}

// --- registration

TORCH_LIBRARY_FRAGMENT(lra, library) {
  const std::vector<at::Tag> tags{at::Tag::pt2_compliant_tag};
  library.def(
      "block_sparse_attention(Tensor q, Tensor k, Tensor v, Tensor? key_mask, Tensor key_blocks, SymInt query_block, "
      "SymInt key_block, SymInt? band=None)"
      " -> (Tensor out, Tensor log_sum)",
      tags);
  library.def(
      "packed_attention(Tensor q, Tensor k, Tensor v, Tensor offsets, Tensor? key_mask, Tensor key_blocks, SymInt "
      "query_block, SymInt key_block, SymInt? band=None,"
      " int stride=1, Tensor? key_offsets=None) -> (Tensor out, Tensor log_sum)",
      tags);
  library.def(
      "packed_attention_backward(Tensor? grad_out, Tensor? grad_log_sum, Tensor out, Tensor log_sum, Tensor q, Tensor "
      "k, Tensor v, Tensor offsets, Tensor? key_mask,"
      " Tensor key_blocks, SymInt query_block, SymInt key_block, SymInt? band, int stride, Tensor? key_offsets) -> "
      "(Tensor, Tensor, Tensor)",
      tags);
  library.def("fourier_mix(Tensor x, int[] lengths, int length) -> Tensor", tags);
}

TORCH_LIBRARY_IMPL(lra, CompositeImplicitAutograd, library) { library.impl("block_sparse_attention", block_sparse); }

TORCH_LIBRARY_IMPL(lra, CPU, library) {
  library.impl("packed_attention", Flat<forward_cpu>::call);
  library.impl("packed_attention_backward", Flat<backward_cpu>::call);
}

TORCH_LIBRARY_IMPL(lra, Meta, library) {
  library.impl("packed_attention", Flat<forward_meta>::call);
  library.impl("packed_attention_backward", Flat<backward_meta>::call);
  library.impl("fourier_mix", fourier_meta);
}

TORCH_LIBRARY_IMPL(lra, CompositeExplicitAutograd, library) {
  library.impl("packed_attention", Flat<forward_elsewhere>::call);
  library.impl("fourier_mix", fourier_forward);
}

TORCH_LIBRARY_IMPL(lra, Autograd, library) {
  library.impl("packed_attention", Flat<forward_autograd>::call);
  library.impl("packed_attention_backward", torch::autograd::autogradNotImplementedFallback());
  library.impl("fourier_mix", fourier_autograd);
}

}  // namespace
}  // namespace lra::ops
