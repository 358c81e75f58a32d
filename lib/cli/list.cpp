#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "cli/commands.h"
#include "core/config_files.h"
#include "core/error.h"
#include "core/text.h"
#include "data/task.h"
#include "mixers/mixer.h"

namespace lra {
namespace {

/// A text of a file under configs, "" where there is none.
std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string padded(const std::string& text, std::size_t width) {
  const auto characters = static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
  return text + std::string(std::max(width, characters) - characters, ' ');
}

bool tied_to_length(const std::string& mixer) {
  const MixerEntry& entry = mixer_registry().at(mixer);
  return entry.traits(entry.resolve(LayeredJson(), "")).fixed_length;
}

/// What follows the name on its line of the list.
std::string line_of(const std::string& kind, const std::string& name, const Json& config) {
  if (kind != "mixers") return text_of(config, "summary");
  const std::string display = text_of(config, "display_name");
  return padded(text_of(config, "family"), 16) + padded(text_of(config, "cost"), 16) +
         (display.empty() ? name : display) + (tied_to_length(name) ? ", tied to the length" : "");
}

/// The options of a task or mixer, by name; no object for other kinds.
Json schema_of(const std::string& kind, const std::string& name) {
  if (kind == "mixers") return mixer_registry().at(name).schema();
  if (kind == "tasks") return task_registry().at(name).schema();
  return {};
}

Json as_json(const std::string& kind, const std::string& name) {
  Json json = {{"name", name}};
  json.update(named_config(kind, name));
  if (kind == "mixers") json["tied_to_length"] = tied_to_length(name);
  if (const Json schema = schema_of(kind, name); schema.is_object()) json["option_schema"] = schema;
  return json;
}

/// A default as it is typed.
std::string typed(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

void print_options(const Json& schema, const Json& defaults, const char* key) {
  if (schema.empty()) return fmt::print("\nno options\n");
  fmt::print("\noptions, given as {}.NAME=VALUE (name, default, meaning)\n", key);
  for (const auto& [name, option] : schema.items()) {
    const Json value = defaults.contains(name) ? defaults[name] : option.value("default", Json());
    std::string choices;
    for (const auto& choice : option.value("enum", Json::array()))
      choices += (choices.empty() ? " (" : ", ") + typed(choice);
    fmt::print("  {}  {}  {}{}\n", padded(name, 18), padded(printable(typed(value)), 10),
               text_of(option, "description"), choices.empty() ? "" : choices + ")");
  }
}

void print_details(const std::string& kind, const std::string& name) {
  const Json config = named_config(kind, name);
  const std::string display = text_of(config, "display_name"), family = text_of(config, "family");
  fmt::print("{}{}\n", printable(display.empty() ? name : display),
             family.empty() ? "" : fmt::format(" ({})", printable(family)));
  const auto line = [&](const char* title, const std::string& text) {
    if (!text.empty()) fmt::print("{}{}\n", padded(title, 10), printable(text));
  };
  line("", text_of(config, "summary"));
  line("formula", text_of(config, "formula"));
  line("cost", text_of(config, "cost"));
  if (config.contains("paper") && config["paper"].is_object()) {
    const std::string arxiv = text_of(config["paper"], "arxiv");
    line("paper", text_of(config["paper"], "title") + (arxiv.empty() ? "" : ", arXiv " + arxiv));
  }
  if (kind == "mixers" && tied_to_length(name))
    line("length", "made for sequences of at most seq_len tokens: with another seq_len it is another model");
  if (kind == "tasks") line("data", task_registry().at(name).make()->how_to_prepare());
  if (kind == "suites") {
    line("data", text_of(config, "prepare"));
    line("run it", "lra-run suite " + name);
  }
  if (const Json schema = schema_of(kind, name); schema.is_object()) {
    print_options(schema, config.value("options", Json::object()), kind == "mixers" ? "mixer_options" : "task_options");
  }
}

}  // namespace

ExitCode list_command(const ListArguments& arguments) {
  const std::string& kind = arguments.kind;
  if (!arguments.name.empty()) {
    if (arguments.json) {
      print_json(as_json(kind, arguments.name));
    } else {
      print_details(kind, arguments.name);
    }
    return exit_ok;
  }
  const auto names = config_names(kind);
  Json list = Json::array();
  std::size_t widest = 0;
  for (const auto& name : names) widest = std::max(widest, name.size());
  for (const auto& name : names) {
    if (arguments.json) {
      list.push_back(as_json(kind, name));
    } else {
      fmt::print("{}  {}\n", padded(printable(name), widest), printable(line_of(kind, name, named_config(kind, name))));
    }
  }
  if (arguments.json) print_json(list);
  return exit_ok;
}

}  // namespace lra
