#include <fmt/format.h>

#include <vector>

#include "cli/columns.h"
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

bool tied_to_length(const std::string& mixer) {
  const MixerEntry& entry = mixer_registry().at(mixer);
  return entry.traits(entry.resolve(LayeredJson(), "")).fixed_length;
}

/// The name and what is said of it in the list.
std::vector<std::string> row_of(const std::string& kind, const std::string& name) {
  const Json config = named_config(kind, name);
  if (kind != "mixers") return {name, text_of(config, "summary")};
  const std::string display = text_of(config, "display_name");
  return {name, text_of(config, "family"), text_of(config, "cost"),
          (display.empty() ? name : display) + (tied_to_length(name) ? ", tied to the length" : "")};
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
  fmt::print("\noptions, given as {}.NAME=VALUE\n", key);
  std::vector<std::vector<std::string>> rows{{"  name", "default", "meaning"}};
  for (const auto& [name, option] : schema.items()) {
    const Json value = defaults.contains(name) ? defaults[name] : option.value("default", Json());
    std::string meaning = text_of(option, "description"), choices;
    bool told = true;  // by the meaning
    for (const auto& choice : option.value("enum", Json::array())) {
      choices += (choices.empty() ? "" : ", ") + typed(choice);
      told = told && meaning.find(typed(choice)) != std::string::npos;
    }
    if (!told) meaning += fmt::format(" ({})", choices);
    rows.push_back({"  " + name, typed(value), meaning});
  }
  fmt::print("{}", columns(rows, 2));
}

void print_details(const std::string& kind, const std::string& name) {
  const Json config = named_config(kind, name);
  const std::string display = text_of(config, "display_name"), family = text_of(config, "family");
  fmt::print("{}{}\n", printable(display.empty() ? name : display),
             family.empty() ? "" : fmt::format(" ({})", printable(family)));
  const auto line = [&](const char* title, const std::string& text) {
    if (!text.empty()) fmt::print("{:<10}{}\n", title, printable(text));
  };
  if (const std::string summary = text_of(config, "summary"); !summary.empty()) fmt::print("{}\n", printable(summary));
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
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows;
  for (const auto& name : config_names(kind)) {
    if (arguments.json) {
      list.push_back(as_json(kind, name));
    } else {
      rows.push_back(row_of(kind, name));
    }
  }
  if (arguments.json) {
    print_json(list);
  } else {
    fmt::print("{}", columns(rows, rows.empty() ? 0 : rows[0].size()));
  }
  return exit_ok;
}

}  // namespace lra
