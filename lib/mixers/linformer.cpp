#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
#include <torch/nn/init.h>

#include <cmath>

#include "mixers/attention_mixer.h"
#include "ops/map_places.h"

namespace lra {
namespace {

struct LinformerOptions {
  std::int64_t k = 256;
  std::string share = "heads";

  void describe(FieldVisitor& fields) {
    fields.integer("k", k, positive, "length to which keys and values are projected");
    fields.choice("share", share, {"none", "heads", "kv", "layers"},
                  "none: E and F for each head; heads: one E and one F; kv: one matrix for keys and values of all "
                  "heads; layers: one for all layers");
  }
};

/// Keys and values projected along the sequence, from n places to k, by learned matrices; a shorter sequence uses their
/// first n rows (arXiv 2006.04768).
class Linformer : public AttentionMixer {
 public:
  Linformer(const MixerSpec& spec, const LinformerOptions& options) : AttentionMixer(spec), options_(options) {
    if (const auto* first = dynamic_cast<const Linformer*>(spec.first.get());
        options.share == "layers" && first != nullptr) {
      key_matrix_ = value_matrix_ = first->key_matrix_;
      return;
    }
    const bool per_head = options.share == "none";
    const auto make = [&](const char* name) {
      const at::Tensor matrix =
          per_head ? at::empty({spec.num_heads, spec.max_length, options.k}) : at::empty({spec.max_length, options.k});
      const double bound =
          std::sqrt(6.0 / static_cast<double>(spec.max_length + options.k));  // Xavier, for each head on its own
      return register_parameter(name, torch::nn::init::uniform_(matrix, -bound, bound));
    };
    key_matrix_ = make("E");
    value_matrix_ = options.share == "kv" || options.share == "layers" ? key_matrix_ : make("F");
  }

 private:
  void check_length(std::int64_t n) const {
    TORCH_CHECK(n <= spec_.max_length, "linformer: a sequence of ", n, " tokens, but its matrices are made for ",
                spec_.max_length);
  }

  // (B, H, n, d) → (B, H, d, k). Keys and values are zero at padding, so that padding adds nothing.
  at::Tensor shorten(const at::Tensor& x, const at::Tensor& matrix) const {
    check_length(x.size(2));
    const at::Tensor columns = x.transpose(-2, -1);
    if (matrix.dim() == 3) return at::matmul(columns, matrix.narrow(1, 0, x.size(2)));
    return at::mm(columns.reshape({-1, x.size(2)}), matrix.narrow(0, 0, x.size(2)))
        .view({x.size(0), x.size(1), x.size(3), options_.k});
  }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionContext&) override {
    const at::Tensor keys = shorten(k, key_matrix_);
    const at::Tensor values = shorten(v, value_matrix_);
    const at::Tensor logits = at::matmul(q, keys * (1.0 / std::sqrt(static_cast<double>(spec_.d_head()))));
    return at::matmul(at::softmax(logits, -1), values.transpose(-2, -1));
  }

  bool has_kernel() const override { return true; }
  at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const PackedContext& context) override {
    const SequenceLayout& layout = context.layout;
    check_length(layout.max_length());
    const auto shorter = [&](const at::Tensor& x, const at::Tensor& matrix) {
      return ops::map_places(x, matrix.transpose(-2, -1), {}, layout.lengths(), {.columns = true})
          .view({-1, spec_.num_heads, spec_.d_head()});
    };
    std::vector<std::int64_t> key_offsets;
    for (std::int64_t b = 0; b <= layout.batch(); ++b) key_offsets.push_back(b * options_.k);
    return ops::attend_slots(q, layout.offsets(), shorter(k, key_matrix_), shorter(v, value_matrix_), key_offsets);
  }

  MixerCost attend_cost(std::int64_t n) const override {
    const auto tokens = static_cast<double>(n);
    const auto k = static_cast<double>(options_.k);
    return {
        .flops = 8 * tokens * k * static_cast<double>(spec_.d_qkv),
        .saved_values = tokens * k * static_cast<double>(spec_.num_heads) + tokens * static_cast<double>(spec_.d_qkv)};
  }

  // The k keys and values, and their gradients.
  MixerCost kernel_memory(std::int64_t) const override {
    const double shortened = static_cast<double>(options_.k) * static_cast<double>(spec_.d_qkv);
    return {.saved_values = 2 * shortened, .transient_values = 2 * shortened};
  }

  const LinformerOptions options_;
  at::Tensor key_matrix_, value_matrix_;
};

const bool registered = register_mixer<Linformer, LinformerOptions>("linformer", {.fixed_length = true});

}  // namespace
}  // namespace lra
