// The mixers in Python, as the class torch.classes.lra.Mixer:
//   torch.classes.load_library("build/release/bin/liblra_mixers.so")
//   mixer = torch.classes.lra.Mixer("linformer", '{"k": 128}', 256, 4, 1024, False, 0)
//   y = mixer.forward(x, [1024, 700])  # x (1724, 256): the tokens of all sequences one after another

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/custom_class.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/build_info.h"
#include "core/error.h"
#include "core/json_file.h"
#include "mixers/mixer.h"

namespace lra {
namespace {

/// Python shows the sentence of an Error as that of a ValueError.
template <class Function>
auto translated(Function&& function) {
  try {
    return function();
  } catch (const Error& error) {
    TORCH_CHECK_VALUE(false, error.what(), error.hint().empty() ? "" : "; ", error.hint());
  }
}

std::shared_ptr<Mixer> make(const std::string& name, const std::string& options_json, const MixerSpec& spec) {
  for (const auto& [what, value] :
       {std::pair{"d_model", spec.d_model}, {"num_heads", spec.num_heads}, {"max_length", spec.max_length}}) {
    if (value < 1) throw Error(fmt::format("{} is {}, not a positive number", what, value));
  }
  if (spec.d_model % spec.num_heads != 0)
    throw Error(fmt::format("d_model {} is no multiple of num_heads {}", spec.d_model, spec.num_heads));
  const MixerEntry& entry = mixer_registry().at(name);
  const Json options = parse_json(options_json, "options_json");
  if (!options.is_object()) throw Error("options_json: expected a JSON object, as {\"k\": 128}");
  LayeredJson source;
  source.merge(options, "options_json");
  return entry.make(spec, entry.resolve(source, ""));
}

/// Weights are drawn from torch's generator, as those of a torch.nn.Module; `seed` is for what the mixer draws beside
/// them.
class MixerClass : public torch::CustomClassHolder {
 public:
  MixerClass(const std::string& name, const std::string& options_json, std::int64_t d_model, std::int64_t num_heads,
             std::int64_t max_length, bool bias, std::int64_t seed)
      : d_model_(d_model), mixer_(translated([&] {
          return make(name, options_json,
                      {.d_model = d_model,
                       .d_qkv = d_model,
                       .num_heads = num_heads,
                       .max_length = max_length,
                       .bias = bias,
                       .seed = static_cast<std::uint64_t>(seed)});
        })) {}

  at::Tensor forward(const at::Tensor& x, const std::vector<std::int64_t>& lengths) {
    const SequenceLayout layout(lengths);
    TORCH_CHECK_VALUE(x.dim() == 2 && x.size(0) == layout.tokens() && x.size(1) == d_model_, "x has the shape ",
                      x.sizes(), ", but the lengths add up to ", layout.tokens(), " tokens and d_model is ", d_model_,
                      ": expected (", layout.tokens(), ", ", d_model_, ")");
    return translated([&] { return mixer_->forward(x, layout); });
  }

  c10::Dict<std::string, at::Tensor> parameters() const {
    c10::Dict<std::string, at::Tensor> parameters;
    for (const auto& item : mixer_->named_parameters()) parameters.insert(item.key(), item.value());
    return parameters;
  }

  void train(bool on) { mixer_->train(on); }
  void begin_training_step(std::int64_t step) { mixer_->begin_training_step(step); }
  void end_training_step() { mixer_->end_training_step(); }

 private:
  std::int64_t d_model_;
  std::shared_ptr<Mixer> mixer_;
};

TORCH_LIBRARY_FRAGMENT(lra, library) {
  library.class_<MixerClass>("Mixer")
      .def(torch::init<const std::string&, const std::string&, std::int64_t, std::int64_t, std::int64_t, bool,
                       std::int64_t>())
      .def("forward", &MixerClass::forward)
      .def("parameters", &MixerClass::parameters)
      .def("train", &MixerClass::train)
      .def("begin_training_step", &MixerClass::begin_training_step)
      .def("end_training_step", &MixerClass::end_training_step)
      .def_static("names", [] { return mixer_registry().names(); })
      .def_static("build", [] { return build_facts().dump(); });
}

}  // namespace
}  // namespace lra
