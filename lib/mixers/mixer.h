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
  bool bias = false;            ///< biases in the projections
  std::string layout = "auto";  ///< ModelConfig::mixer_layout
  bool fused = true;  ///< kernels of our own where there are some; false: LibTorch's operators (ModelConfig::kernels)
  std::int64_t vocab_size = 0;             ///< token ids are below it, CLS is equal to it; 0: not known
  std::int64_t layer = 0;                  ///< 0-based
  std::shared_ptr<Mixer> first = nullptr;  ///< that of layer 0, for parameters that all layers share; null in layer 0
  std::uint64_t seed = 0;                  ///< for the mixer's own generator; differs between layers

  std::int64_t d_head() const { return d_qkv / num_heads; }
};

/// Cost of the forward pass on one sequence of n tokens.
struct MixerCost {
  double flops = 0;  ///< matrix multiplications of the mathematics, projections included, 2 per multiply-add; blocks
                     ///< are counted whole
  double masked_flops = 0;  ///< those of `flops` whose result a mask hides: the rest of partly masked blocks
  // For the memory estimate, where the mixer runs with its kernel if it has one:
  double saved_values = 0;  ///< numbers kept for the backward pass
  double transient_values =
      0;  ///< the most that there are beside these at one time: gradients on their way, and scratch of either pass

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

  /// As `forward`, with the values that are mixed made from value_x and their weights from x: the derivative with
  /// respect to value_x alone shows the weights. A mixer that does not tell one from the other (no attention) makes
  /// everything from value_x.
  virtual at::Tensor mix_values(const at::Tensor& /*x*/, const at::Tensor& value_x, const SequenceLayout& layout) {
    return forward(value_x, layout);
  }

  virtual MixerCost cost(std::int64_t n) const = 0;

  /// Draws whatever is redrawn from step to step (random features) from the mixer's own generator; called by the
  /// trainer before each training step with the 0-based step.
  virtual void begin_training_step(std::int64_t /*step*/) {}
  /// Updates what follows the tokens of the step (centroids), after the optimiser, when all its micro-batches were
  /// seen.
  virtual void end_training_step() {}
};

/// What is known of a mixer with given options before one is made.
struct MixerTraits {
  bool rows_sum_to_one = false;   ///< V = 1 everywhere gives 1 everywhere
  bool quadratic_memory = false;  ///< may make tensors that grow with n²
  bool fixed_length = false;      ///< has parameters or a transform tied to max_length
  bool hides_keys = false;  ///< follows SequenceLayout::visible(), as the mixers for which LRA's code uses its padding
                            ///< mask (but Sinkhorn, which sorts by all)
  bool attention_dropout = false;  ///< weights exist, if only a tile of them at a time, so that some can be dropped
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
