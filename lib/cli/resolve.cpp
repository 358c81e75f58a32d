#include "cli/resolve.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/config_files.h"
#include "core/error.h"
#include "core/text.h"
#include "data/task.h"
#include "mixers/mixer.h"

namespace lra {

RunConfig resolve(const LayeredJson& layers) {
  ConfigReader reader(layers);
  RunConfig config;
  reader.choice("kind", config.kind, {"train", "bench"}, "");
  reader.text("profile", config.profile, "");
  reader.text("suite", config.suite, "");
  reader.text("variant", config.variant, "");
  reader.text("display_name", config.display_name, "");
  reader.text("mixer", config.model.mixer, "");
  config.task.describe(reader);
  config.model.describe(reader);
  config.train.describe(reader);
  config.measure.describe(reader);
  reader.raw("task_options");
  reader.raw("mixer_options");
  reader.raw("summary");
  reader.finish();

  const TaskEntry& task = task_registry().at(config.task.task);
  config.task.task_options = task.resolve(layers, "/task_options");
  config.model.mixer_options = mixer_registry().at(config.model.mixer).resolve(layers, "/mixer_options");

  const auto require = [&](bool good, const char* key, const std::string& message) {
    if (!good) reader.fail(key, message);
  };
  const bool hides_keys = mixer_registry().at(config.model.mixer).traits(config.model.mixer_options).hides_keys;
  if (config.model.black_pixels == "official") config.model.black_pixels = hides_keys ? "padding" : "tokens";
  const auto made = task.make();
  const bool pixels = made->picture_side() > 0;
  const ModelConfig& model = config.model;
  const TrainConfig& train = config.train;
  require(model.qkv_width() % model.num_heads == 0, "num_heads",
          fmt::format("{} heads do not divide the width {} of queries and keys; choose a divisor of it",
                      model.num_heads, model.qkv_width()));
  require(model.black_pixels == "tokens" || (pixels && hides_keys), "black_pixels",
          fmt::format("{}; use tokens",
                      pixels ? fmt::format("the mixer '{}' cannot hide tokens", model.mixer)
                             : fmt::format("the tokens of the task '{}' are no pixels", config.task.task)));
  require((model.pair_head != "none") == made->pairs(), "pair_head",
          fmt::format("the examples of the task '{}' are {}", config.task.task,
                      made->pairs() ? "pairs: expected concat or nli, found none"
                                    : "single sequences: expected none, found " + model.pair_head));
  require(model.pixels == "discrete" || pixels, "pixels",
          fmt::format("the tokens of the task '{}' are no pixels; use discrete", config.task.task));
  require(train.micro_batch_size <= train.batch_size, "micro_batch_size",
          fmt::format("expected at most batch_size, which is {}, found {}", train.batch_size, train.micro_batch_size));
  require(train.schedule != "one_cycle" || train.warmup_steps < train.train_steps, "warmup_steps",
          fmt::format("expected fewer than train_steps, which is {}, for a one_cycle schedule, found {}",
                      train.train_steps, train.warmup_steps));
  require(train.schedule != "rsqrt" || train.warmup_steps > 0, "warmup_steps",
          "expected at least 1 for an rsqrt schedule, found 0");
  for (const char* key : {"variant", "suite"}) {
    const std::string& name = key == std::string("variant") ? config.variant : config.suite;
    const bool missing = name.empty() && key == std::string("variant");
    const bool good = !missing && name.find_first_of("/\\ ") == std::string::npos && name != "." && name != ".." &&
                      printable(name) == name;
    require(good, key,
            fmt::format("expected a name that can be a folder's, without slashes and spaces, found \"{}\"", name));
  }
  return config;
}

std::filesystem::path run_folder(const std::filesystem::path& out, const RunConfig& config) {
  const auto rest = std::filesystem::path(config.task.task) / config.profile / config.variant;
  if (config.kind == "bench")
    return out / "bench" / rest / fmt::format("n{}b{}", config.task.seq_len, config.train.batch_size);
  return out / rest / fmt::format("n{}", config.task.seq_len) / fmt::format("seed{}", config.train.seed);
}

Json config_schema() {
  Json properties = Json::object();
  SchemaWriter writer(properties);
  RunConfig config;
  config.task.describe(writer);
  config.model.describe(writer);
  config.train.describe(writer);
  config.measure.describe(writer);
  // Defaults come from the task, mixer and profile, not from the structs.
  for (auto& [key, property] : properties.items()) property.erase("default");
  properties["kind"] = {{"enum", {"train", "bench"}},
                        {"description", "train, select and test; or time full-length batches only"}};
  properties["variant"] = {{"type", "string"}, {"description", "the mixer with these options, a folder's name"}};
  properties["display_name"] = {{"type", "string"}, {"description", "name in tables and charts"}};
  properties["task"] = {{"enum", task_registry().names()}};
  properties["mixer"] = {{"enum", mixer_registry().names()}};
  properties["profile"] = {{"enum", config_names("profiles")}};
  properties["task_options"] = {{"type", "object"}, {"description", "options of the task"}};
  properties["mixer_options"] = {{"type", "object"}, {"description", "options of the mixer"}};
  Json conditions = Json::array();
  const auto options_of = [&](const char* kind, const std::string& name, const char* key, const Json& schema) {
    conditions.push_back(
        {{"if", {{"properties", {{kind, {{"const", name}}}}}, {"required", {kind}}}},
         {"then", {{"properties", {{key, {{"properties", schema}, {"additionalProperties", false}}}}}}}});
  };
  for (const auto& name : task_registry().names())
    options_of("task", name, "task_options", task_registry().at(name).schema());
  for (const auto& name : mixer_registry().names())
    options_of("mixer", name, "mixer_options", mixer_registry().at(name).schema());
  const auto list_of = [](const Json& names, const char* key) {
    return Json{{"type", "array"},
                {"items", {{"anyOf", {{{"enum", names}}, {{"type", "object"}, {"required", {key}}}}}}}};
  };
  Json lists = {{"suite", {{"type", "string"}, {"description", "name of a suite of runs"}}},
                {"summary", {{"type", "string"}, {"description", "one line about the suite"}}},
                {"prepare", {{"type", "string"}, {"description", "the command that makes the suite's data"}}},
                {"tasks", list_of(task_registry().names(), "task")},
                {"mixers", list_of(mixer_registry().names(), "mixer")},
                {"seeds", {{"type", "array"}, {"items", {{"type", "integer"}, {"minimum", 0}}}}},
                {"bench",
                 {{"type", "object"},
                  {"properties",
                   {{"lengths", {{"type", "array"}, {"items", {{"type", "integer"}, {"minimum", 1}}}}},
                    {"batch_sizes", {{"type", "array"}, {"items", {{"type", "integer"}, {"minimum", 1}}}}}}},
                  {"additionalProperties", false}}}};
  for (const auto& [key, value] : lists.items()) properties[key] = value;
  return {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
          {"title", "lra-run configuration"},
          {"type", "object"},
          {"properties", properties},
          {"allOf", conditions},
          {"additionalProperties", false}};
}

}  // namespace lra
