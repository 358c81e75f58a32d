#include <fmt/format.h>

#include "core/error.h"
#include "mixers/attention_mixer.h"
#include "mixers/seed.h"

namespace lra {
namespace {

/// Heads with mixers of their own: each part has its own projections and its share of the heads, and the outputs are
/// added, which is what concatenated heads before one output projection are.
class MixedHeads : public Mixer {
 public:
  /// `options` as `resolve_mixed` returns them.
  MixedHeads(const MixerSpec& spec, const Json& options) {
    std::int64_t rest = spec.num_heads;
    bool open = false;
    for (const Json& part : options.at("parts")) {
      rest -= part.at("heads").get<std::int64_t>();
      open = open || part.at("heads") == 0;
    }
    if (open && rest < 1)
      throw Error(fmt::format("mixed: nothing of {} heads is left for the part that has 0", spec.num_heads),
                  "give every part its heads");
    if (!open && rest != 0) {
      throw Error(fmt::format("mixed: the parts' heads add up to {}, but num_heads is {}", spec.num_heads - rest,
                              spec.num_heads),
                  "give every part its heads; one part may have 0, which takes what is left");
    }
    for (const Json& part : options.at("parts")) {
      const auto heads = part.at("heads").get<std::int64_t>();
      MixerSpec share = spec;
      share.num_heads = heads == 0 ? rest : heads;
      share.d_qkv = spec.d_head() * share.num_heads;
      share.seed = mixed_seed(spec.seed, parts_.size());
      const MixerEntry& entry = mixer_registry().at(part.at("mixer").get<std::string>());
      share.first = nullptr;
      auto mixer = entry.make(share, part.at("mixer_options"));
      if (std::dynamic_pointer_cast<AttentionMixer>(mixer) == nullptr) {
        throw Error(
            fmt::format("mixed: {} has no heads to share a layer with others", part.at("mixer").get<std::string>()),
            "use \"by\": \"layers\"");
      }
      parts_.push_back(register_module(fmt::format("part{}", parts_.size()), std::move(mixer)));
    }
  }

  at::Tensor forward(const at::Tensor& x, const SequenceLayout& layout) override { return mix_values(x, x, layout); }

  at::Tensor mix_values(const at::Tensor& x, const at::Tensor& value_x, const SequenceLayout& layout) override {
    at::Tensor sum = parts_[0]->mix_values(x, value_x, layout);
    for (std::size_t p = 1; p < parts_.size(); ++p) sum = sum + parts_[p]->mix_values(x, value_x, layout);
    return sum;
  }

  MixerCost cost(std::int64_t n) const override {
    MixerCost sum;
    for (const auto& part : parts_) sum += part->cost(n);
    return sum;
  }

  void begin_training_step(std::int64_t step) override {
    for (const auto& part : parts_) part->begin_training_step(step);
  }
  void end_training_step() override {
    for (const auto& part : parts_) part->end_training_step();
  }

 private:
  std::vector<std::shared_ptr<Mixer>> parts_;
};

// {"by": "heads" | "layers", "parts": [{"mixer": NAME, "heads": COUNT (by heads only), "mixer_options": {...}}, ...]}
Json resolve_mixed(const LayeredJson& source, const std::string& pointer) {
  ConfigReader reader(source, pointer);
  std::string by = "heads";
  reader.choice("by", by, {"heads", "layers"}, "");
  Json given = reader.raw("parts");
  reader.finish();
  LayeredJson defaults;
  if (given.is_null()) {
    given = Json::array({{{"mixer", "local"}, {"heads", 0}}, {{"mixer", "global"}, {"heads", 1}}});
    if (by == "layers") reader.fail("parts", "expected a list with a mixer for each layer");
    defaults.merge({{"parts", given}}, "mixed");
  }
  if (!given.is_array() || given.empty())
    reader.fail("parts", "expected a list of objects with \"mixer\", and \"mixer_options\"" +
                             std::string(by == "heads" ? ", and \"heads\"" : ""));
  const LayeredJson& from = defaults.json().empty() ? source : defaults;
  const std::string place = (defaults.json().empty() ? pointer : "") + "/parts/";
  Json parts = Json::array();
  int open = 0;
  for (std::size_t p = 0; p < given.size(); ++p) {
    ConfigReader part(from, place + std::to_string(p));
    std::string mixer;
    std::int64_t heads = 0;
    part.text("mixer", mixer, "");
    if (by == "heads") part.integer("heads", heads, not_negative, "");
    part.raw("mixer_options");
    part.finish();
    if (mixer.empty()) part.fail("mixer", "expected the name of a mixer");
    open += heads == 0 ? 1 : 0;
    Json item = {{"mixer", mixer}};
    if (by == "heads") item["heads"] = heads;
    item["mixer_options"] = mixer_registry().at(mixer).resolve(from, place + std::to_string(p) + "/mixer_options");
    parts.push_back(item);
  }
  if (by == "heads" && open > 1) reader.fail("parts", "expected \"heads\" in every part but one");
  return {{"by", by}, {"parts", parts}};
}

MixerEntry mixed_entry() {
  MixerEntry entry;
  entry.traits = [](const Json& options) {
    MixerTraits all{.rows_sum_to_one = true};
    for (const Json& part : options.at("parts")) {
      const MixerTraits traits =
          mixer_registry().at(part.at("mixer").get<std::string>()).traits(part.at("mixer_options"));
      all.rows_sum_to_one = all.rows_sum_to_one && traits.rows_sum_to_one;
      all.quadratic_memory = all.quadratic_memory || traits.quadratic_memory;
      all.fixed_length = all.fixed_length || traits.fixed_length;
      all.attention_dropout = all.attention_dropout || traits.attention_dropout;
    }
    return all;
  };
  entry.resolve = resolve_mixed;
  entry.schema = [] {
    const Json part = {{"type", "object"},
                       {"properties",
                        {{"mixer", {{"type", "string"}}},
                         {"heads", {{"type", "integer"}, {"minimum", 0}}},
                         {"mixer_options", {{"type", "object"}}}}},
                       {"required", {"mixer"}},
                       {"additionalProperties", false}};
    return Json{{"by",
                 {{"enum", {"heads", "layers"}},
                  {"description", "parts share the heads of every layer, or take turns layer by layer"}}},
                {"parts", {{"type", "array"}, {"items", part}}}};
  };
  entry.make = [](const MixerSpec& spec, const Json& options) -> std::shared_ptr<Mixer> {
    if (options.at("by") == "heads") return std::make_shared<MixedHeads>(spec, options);
    const Json& parts = options.at("parts");
    const Json& part = parts.at(static_cast<std::size_t>(spec.layer) % parts.size());
    return mixer_registry().at(part.at("mixer").get<std::string>()).make(spec, part.at("mixer_options"));
  };
  return entry;
}

const bool registered = mixer_registry().add("mixed", mixed_entry());

}  // namespace
}  // namespace lra
