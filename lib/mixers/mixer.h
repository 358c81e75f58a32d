#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/config_reader.h"
#include "core/registry.h"
#include "mixers/sequence_layout.h"

namespace lra {

class Mixer;

/// What the encoder tells a mixer when it is made.
struct MixerSpec {
  std::int64_t d_model = 64;
  std::int64_t d_qkv = 64;  ///< width of all heads together; a multiple of num_heads
  std::int64_t num_heads = 2;
  std::int64_t max_length = 128;  ///< longest sequence, CLS included
  double attention_dropout = 0.0;
  bool bias = false;                       ///< biases in the projections
  std::string layout = "auto";             ///< ModelConfig::mixer_layout
  bool fused = true;                       ///< use our kernels where there are some; false: LibTorch's operators
  std::int64_t vocab_size = 0;             ///< number of token ids; CLS has the next id; 0: not known
  std::int64_t layer = 0;                  ///< 0-based
  std::shared_ptr<Mixer> first = nullptr;  ///< the mixer of layer 0, to share its parameters; null in layer 0
  std::uint64_t seed = 0;                  ///< for the mixer's own generator; differs between layers

  std::int64_t d_head() const { return d_qkv / num_heads; }
};

/// Cost of the forward pass on one sequence of n tokens.
struct MixerCost {
  double flops = 0;         ///< matrix products, projections included, 2 per multiply-add; whole blocks
  double masked_flops = 0;  ///< the part of `flops` whose result a mask hides
  // For the estimate of memory; with the mixer's kernel, if it has one:
  double saved_values = 0;      ///< numbers kept for the backward pass
  double transient_values = 0;  ///< most further numbers at one time: gradients, scratch memory

  MixerCost& operator+=(const MixerCost& other) {
    flops += other.flops;
    masked_flops += other.masked_flops;
    saved_values += other.saved_values;
    transient_values = transient_values > other.transient_values ? transient_values : other.transient_values;
    return *this;
  }
};

/// Mixes the tokens of every sequence of a packed batch, non-causally. The eight rules that hold for every mixer are
/// tested over the registry in tests/test_mixers.cpp.
class Mixer : public torch::nn::Module {
 public:
  using torch::nn::Module::Module;

  /// x (T, d_model) packed → (T, d_model). No sequence's output depends on another's content or on the batch it is in.
  virtual at::Tensor forward(const at::Tensor& x, const SequenceLayout& layout) = 0;

  /// As `forward`, but values are computed from value_x, and the weights that mix them from x. So the derivative with
  /// respect to value_x shows the weights. A mixer that makes no such difference (no attention) computes everything
  /// from value_x.
  virtual at::Tensor mix_values(const at::Tensor& /*x*/, const at::Tensor& value_x, const SequenceLayout& layout) {
    return forward(value_x, layout);
  }

  virtual MixerCost cost(std::int64_t n) const = 0;

  /// The trainer calls this before each training step (0-based). Mixers that draw anew from step to step (random
  /// features) do it here, from a generator of their own.
  virtual void begin_training_step(std::int64_t /*step*/) {}
  /// The trainer calls this after the optimiser. Mixers with a state that follows the tokens (centroids) update it
  /// here, from all micro-batches of the step.
  virtual void end_training_step() {}
};

/// What is known of a mixer from its options alone, before it is made.
struct MixerTraits {
  bool rows_sum_to_one = false;    ///< V = 1 everywhere gives 1 everywhere
  bool quadratic_memory = false;   ///< may make tensors that grow with n²
  bool fixed_length = false;       ///< has parameters or a transform tied to max_length
  bool hides_keys = false;         ///< never reads the tokens that SequenceLayout::visible() hides
  bool attention_dropout = false;  ///< computes attention weights (perhaps tile by tile), so dropout applies
};

struct MixerEntry {
  std::function<MixerTraits(const Json& options)> traits;
  /// Options with every default filled in; unknown keys and values out of range are Errors that name `origin`.
  std::function<Json(const LayeredJson& source, const std::string& pointer)> resolve;
  /// JSON Schema `properties` of the options.
  std::function<Json()> schema;
  /// `options` as returned by `resolve`.
  std::function<std::shared_ptr<Mixer>(const MixerSpec& spec, const Json& options)> make;
};

Registry<MixerEntry>& mixer_registry();

/// Registers `MixerType(const MixerSpec&, const Options&)`; `Options` has `describe(FieldVisitor&)`. For the last line
/// of a mixer's file:
///   const bool registered = register_mixer<Foo, FooOptions>("foo", {.rows_sum_to_one = true});
template <class MixerType, class Options>
bool register_mixer(const std::string& name, std::function<MixerTraits(const Json& options)> traits) {
  MixerEntry entry;
  entry.traits = std::move(traits);
  entry.resolve = resolve_options<Options>;
  entry.schema = options_schema<Options>;
  entry.make = [](const MixerSpec& spec, const Json& options) -> std::shared_ptr<Mixer> {
    return std::make_shared<MixerType>(spec, from_json_object<Options>(options, "mixer_options"));
  };
  return mixer_registry().add(name, std::move(entry));
}

template <class MixerType, class Options>
bool register_mixer(const std::string& name, MixerTraits traits) {
  return register_mixer<MixerType, Options>(name, [traits](const Json&) { return traits; });
}

}  // namespace lra
