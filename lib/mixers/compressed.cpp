#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <torch/nn/modules/conv.h>

#include <cmath>

#include "mixers/attention_mixer.h"
#include "ops/map_places.h"

namespace lra {
namespace {

struct CompressedOptions {
  std::int64_t stride = 4;
  std::int64_t kernel = 0;

  void describe(FieldVisitor& fields) {
    fields.integer("stride", stride, positive, "places between two compressed keys");
    fields.integer("kernel", kernel, not_negative, "places that one compressed key is made of; 0: stride");
  }
};

/// Memory-compressed attention: keys and values shortened by strided convolutions of each head (arXiv 1801.10198). Slot
/// t is made of the places from t * stride on, zero beyond the sequence; there is one for every started stride.
class CompressedAttention : public AttentionMixer {
 public:
  CompressedAttention(const MixerSpec& spec, const CompressedOptions& options)
      : AttentionMixer(spec), stride_(options.stride), kernel_(options.kernel == 0 ? options.stride : options.kernel) {
    const auto make = [&](const char* name) {
      const auto sizes = torch::nn::Conv1dOptions(spec.d_qkv, spec.d_qkv, kernel_)
                             .stride(stride_)
                             .groups(spec.num_heads)
                             .bias(spec.bias);
      return register_module(name, torch::nn::Conv1d(sizes));
    };
    compress_key_ = make("compress_key");
    compress_value_ = make("compress_value");
  }

 private:
  std::int64_t slots(std::int64_t n) const { return (n - 1) / stride_ + 1; }

  // (H, kernel, d, d): of each head and place of a slot, what its input is multiplied by from the right.
  at::Tensor matrices(const torch::nn::Conv1d& convolution) const {
    return convolution->weight.view({spec_.num_heads, spec_.d_head(), spec_.d_head(), kernel_})
        .permute({0, 3, 2, 1})
        .contiguous();
  }

  // (B, H, n, d), zero at padding → (B, H, slots, d). One product for each head.
  at::Tensor compress(const at::Tensor& x, const torch::nn::Conv1d& convolution) const {
    const std::int64_t batch = x.size(0), heads = x.size(1), n = x.size(2), d = x.size(3);
    const std::int64_t missing = (slots(n) - 1) * stride_ + kernel_ - n;
    const at::Tensor whole = missing > 0 ? at::constant_pad_nd(x, {0, 0, 0, missing}) : x;
    const at::Tensor rows =
        whole.unfold(2, kernel_, stride_).permute({1, 0, 2, 4, 3}).reshape({heads, batch * slots(n), kernel_ * d});
    const at::Tensor weight = matrices(convolution).view({heads, kernel_ * d, d});
    const at::Tensor& bias = convolution->bias;
    const at::Tensor compressed =
        bias.defined() ? at::baddbmm(bias.view({heads, 1, d}), rows, weight) : at::bmm(rows, weight);
    return compressed.view({heads, batch, slots(n), d}).transpose(0, 1);
  }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionContext& context) override {
    const double scale = 1.0 / std::sqrt(static_cast<double>(spec_.d_head()));
    at::Tensor logits = at::matmul(q, (compress(k, compress_key_) * scale).transpose(-2, -1));
    if (context.mask.defined()) {  // a slot is there if its first place is
      const at::Tensor empty = context.mask.slice(1, 0, std::nullopt, stride_).logical_not();
      logits.masked_fill_(empty.unsqueeze(1).unsqueeze(2), masked_logit);
    }
    return at::matmul(at::softmax(logits, -1), compress(v, compress_value_));
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const SequenceLayout& layout = context.layout;
    const auto shorter = [&](const at::Tensor& x, const torch::nn::Conv1d& convolution) {
      const at::Tensor slots = ops::compress_places(x, matrices(convolution), layout.lengths(), stride_);
      return convolution->bias.defined() ? slots + convolution->bias.view({x.size(1), x.size(2)}) : slots;
    };
    return ops::attend_slots(q, layout.offsets(), shorter(k, compress_key_), shorter(v, compress_value_),
                             ops::slot_offsets(layout.lengths(), stride_));
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto width = static_cast<double>(spec_.d_qkv);
    const auto compressed = static_cast<double>(slots(n));
    const double unfolded = compressed * static_cast<double>(kernel_) * width;
    return {.flops = 4 * unfolded * static_cast<double>(spec_.d_head()) + 4 * tokens * compressed * width,
            .saved_values = 2 * unfolded + 2 * compressed * width +
                            tokens * compressed * static_cast<double>(spec_.num_heads) + tokens * width};
  }

  // The shorter keys and values, with and without bias, and their gradients.
  MixerCost kernel_memory(std::int64_t n) const override {
    const double shortened = static_cast<double>(slots(n)) * static_cast<double>(spec_.d_qkv);
    return {.saved_values = 4 * shortened, .transient_values = 2 * shortened};
  }

  const std::int64_t stride_, kernel_;
  torch::nn::Conv1d compress_key_{nullptr}, compress_value_{nullptr};
};

const bool registered = register_mixer<CompressedAttention, CompressedOptions>(
    "compressed", {.quadratic_memory = true});  // n²/stride logits

}  // namespace
}  // namespace lra
