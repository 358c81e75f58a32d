#pragma once

#include <torch/nn/modules/linear.h>

#include "mixers/mixer.h"
#include "ops/block_sparse_attention.h"
#include "ops/masked_logit.h"

namespace lra {

/// What a mixer may need besides Q, K and V. The rectangle (B', N) is one sequence, several sequences of equal length,
/// or a padded batch. Only the padded batch has a mask.
struct AttentionContext {
  at::Tensor mask;                    ///< (B', N) bool, true at the tokens that may be seen; undefined where all may
  std::vector<std::int64_t> lengths;  ///< B' real lengths
  at::Tensor x;                       ///< (B', N, d_model): the layer's input, zero at padding; only if reads_input()
  at::Tensor value_x;                 ///< compute values from it; x, except in Mixer::mix_values
  at::Tensor token_ids;               ///< (B', N) int64, -1 at padding; only if reads_token_ids()
};

/// The same for a kernel on packed tokens.
struct PackedContext {
  const SequenceLayout& layout;
  at::Tensor x, value_x;  ///< (T, d_model), as in AttentionContext
  at::Tensor visible;     ///< (T) bool, false at tokens that no query may see; undefined: all may be seen

  bool same_input() const { return x.is_same(value_x); }
};

/// Whether a mixer has a query and a key projection.
struct Projections {
  bool query = true, key = true;
};

/// A mixer with query, key, value and output projections, which run on packed tokens. The hook `attend` mixes the
/// heads. It is called once for each sequence, without padding, or once for a padded rectangle with its mask, whichever
/// is cheaper (see MixerSpec::layout). A mixer may have a second hook, `attend_packed`, which mixes packed tokens on
/// the CPU with a fast kernel. Tests compare it with the first.
class AttentionMixer : public Mixer {
 public:
  explicit AttentionMixer(const MixerSpec& spec, Projections projections = {});

  at::Tensor forward(const at::Tensor& x, const SequenceLayout& layout) final { return mix_values(x, x, layout); }
  at::Tensor mix_values(const at::Tensor& x, const at::Tensor& value_x, const SequenceLayout& layout) final;
  MixerCost cost(std::int64_t n) const final;

  torch::nn::Linear query{nullptr}, key{nullptr}, value{nullptr}, output{nullptr};  ///< null if the mixer has none

 protected:
  /// q, k, v (B', H, N, d_head) → (B', H, N, d_head). They are zero at padding and not always contiguous; q and k are
  /// undefined in a mixer without their projection. The output at padding is ignored, but must be finite: a NaN there
  /// would reach the gradients of real tokens.
  virtual at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const AttentionContext& context) = 0;
  /// The same on packed tokens, on the CPU: q, k, v (T, H, d_head) → (T, H, d_head) or (T, d_qkv). Only if
  /// has_kernel(). ops::packed_attention attends by blocks over a pattern without storing weights,
  /// ops::feature_attention by feature maps.
  virtual at::Tensor attend_packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const PackedContext& context);
  virtual bool has_kernel() const { return false; }
  /// Whether tensors on the CPU go to attend_packed.
  bool runs_on_kernel() const { return has_kernel() && spec_.fused && spec_.layout == "auto"; }
  /// Cost of `attend` on one sequence, all heads.
  virtual MixerCost attend_cost(std::int64_t n) const = 0;
  /// What `attend_packed` holds in memory besides queries, keys, values, outputs, one number for each query and head,
  /// and the gradients of these. `flops` is not used.
  virtual MixerCost kernel_memory(std::int64_t /*n*/) const { return {}; }

  /// Cost of attention over these pairs of one sequence, in `heads` heads. `gathered`: keys that are copied, and as
  /// many values.
  MixerCost pair_cost(const ops::PairCount& pairs, std::int64_t heads, double gathered = 0) const;
  /// Cost of ops::block_sparse_attention with a pattern of these pairs.
  MixerCost pattern_cost(const ops::PairCount& pairs, std::int64_t heads) const {
    return pair_cost(pairs, heads, pairs.computed / pairs.query_block);
  }

  /// Memory of ops::feature_attention with so many features, besides its inputs and outputs: directions, sums of
  /// values, and one block of features.
  MixerCost feature_memory(std::int64_t features) const;

  /// The same for a window in each class of places mod stride, in `heads` of the heads (see ops::split_residues).
  MixerCost residue_cost(std::int64_t n, std::int64_t stride, std::int64_t window, std::int64_t heads) const;

  /// The probability that a weight is dropped; 0 in evaluation.
  double attention_dropout() const { return is_training() ? spec_.attention_dropout : 0.0; }

  /// (B, n, d_qkv) → (B, H, n, d_head), a view.
  at::Tensor split_heads(const at::Tensor& rows) const {
    return rows.unflatten(-1, {spec_.num_heads, spec_.d_head()}).transpose(1, 2);
  }

  /// (B', N) bool, true at real tokens: the mask, or ones where there is none.
  static at::Tensor real_places(const AttentionContext& context, const at::Tensor& q);
  /// (B', 1, 1, N) bool, true at padding; undefined where there is none.
  static at::Tensor hidden_keys(const AttentionContext& context);

  /// Some tokens of every sequence of a packed batch, packed again.
  struct SomeTokens {
    at::Tensor places;                  ///< (T') int64, in the batch
    std::vector<std::int64_t> offsets;  ///< (B + 1)
  };
  /// Those where `chosen` (T) bool is true, on the CPU.
  static SomeTokens some_tokens(const SequenceLayout& layout, const at::Tensor& chosen);

  /// True for mixers whose `attend` needs AttentionContext::x or value_x.
  virtual bool reads_input() const { return false; }
  /// True for mixers whose `attend` needs AttentionContext::token_ids.
  virtual bool reads_token_ids() const { return false; }

  const MixerSpec spec_;

 private:
  at::Tensor project_output(const at::Tensor& mixed);
  bool one_call_per_sequence(const at::Tensor& x, const SequenceLayout& layout) const;
};

}  // namespace lra
