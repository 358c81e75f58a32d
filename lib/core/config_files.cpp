#include "core/config_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "core/config.h"
#include "core/error.h"
#include "core/suggest.h"

namespace lra {
namespace fs = std::filesystem;

fs::path config_root() {
  if (const char* given = std::getenv("LRA_CONFIGS")) {
    if (!fs::is_directory(fs::path(given) / "mixers"))
      throw Error(fmt::format("LRA_CONFIGS={}: expected a folder with mixers/ in it", given));
    return given;
  }
  std::error_code code;
  for (fs::path start : {fs::read_symlink("/proc/self/exe", code), fs::current_path(code) / "x"}) {
    while (start.has_relative_path()) {
      start = start.parent_path();
      if (fs::is_directory(start / "configs" / "mixers", code)) return start / "configs";
    }
  }
  throw Error("the folder configs was not found above the program or the working directory", "set LRA_CONFIGS to it");
}

std::vector<std::string> config_names(const std::string& kind) {
  std::vector<std::string> names;
  const fs::path folder = config_root() / kind;
  if (!fs::is_directory(folder)) return names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Json named_config(const std::string& kind, const std::string& name) {
  const auto names = config_names(kind);
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    throw Error(fmt::format("unknown {} '{}'", kind.substr(0, kind.size() - 1), name), suggestion(name, names));
  }
  const fs::path file = config_root() / kind / (name + ".json");
  Json config = read_json(file);
  if (!config.is_object())
    throw Error(fmt::format("{}: expected an object, found {}", file.string(), shortened(config)));
  return config;
}

namespace {

/// Collects the keys whose values are texts.
class TextKeys : public FieldVisitor {
 public:
  void integer(const char*, std::int64_t&, Range<std::int64_t>, const char*) override {}
  void number(const char*, double&, Range<double>, const char*) override {}
  void boolean(const char*, bool&, const char*) override {}
  void text(const char* key, std::string&, const char*) override { keys.insert(key); }
  void integers(const char*, std::vector<std::int64_t>&, Range<std::int64_t>, const char*) override {}
  void choice(const char* key, std::string&, const std::vector<std::string>&, const char*) override {
    keys.insert(key);
  }

  std::set<std::string> keys{"kind", "profile", "suite", "variant", "display_name", "mixer"};
};

bool is_text_key(const std::string& key) {
  static const TextKeys texts = [] {
    TextKeys found;
    RunConfig config;
    config.task.describe(found);
    config.model.describe(found);
    config.train.describe(found);
    config.measure.describe(found);
    return found;
  }();
  return texts.keys.contains(key);
}

Json override_value(const std::string& key, const std::string& value) {
  const bool is_text = is_text_key(key);
  if (!is_text && (value.starts_with('{') || value.starts_with('[')))
    return parse_json(value, fmt::format("{}: {}", command_line_origin, key));
  if (is_text && !value.starts_with('"')) return value;
  Json parsed = Json::parse(value, nullptr, false);
  return parsed.is_discarded() || (is_text && !parsed.is_string()) ? Json(value) : parsed;
}

}  // namespace

Json parse_overrides(const std::vector<std::string>& arguments) {
  Json overrides = Json::object();
  std::set<std::string> given;
  for (const auto& argument : arguments) {
    const auto equals = argument.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw Error(fmt::format("{}: '{}': expected KEY=VALUE or --KEY VALUE", command_line_origin, argument),
                  "for example seed=3");
    }
    const std::string key = argument.substr(0, equals);
    if (!given.insert(key).second) throw Error(fmt::format("{}: the key {} is given twice", command_line_origin, key));
    Json* place = &overrides;
    for (std::size_t start = 0; start <= key.size();) {
      const auto end = std::min(key.find('.', start), key.size());
      if (end == start || !(place->is_object() || place->is_null())) {
        throw Error(fmt::format("{}: '{}': expected a key of letters, joined by dots", command_line_origin, argument));
      }
      place = &(*place)[key.substr(start, end - start)];
      start = end + 1;
    }
    if (!place->is_null()) throw Error(fmt::format("{}: the key {} is given twice", command_line_origin, key));
    *place = override_value(key, argument.substr(equals + 1));
  }
  return overrides;
}

namespace {

std::string required_name(const Json& run, const std::string& origin, const Json& overrides, const std::string& key) {
  const bool overridden = overrides.contains(key);
  const Json& source = overridden ? overrides : run;
  const std::string place = overridden ? command_line_origin : origin;
  if (!source.contains(key)) {
    throw Error(fmt::format("{}: the key \"{}\" is missing", place, key),
                fmt::format("known: {}", fmt::join(config_names(key + "s"), ", ")));
  }
  if (!source[key].is_string())
    throw Error(fmt::format("{}: /{}: expected a name, found {}", place, key, shortened(source[key])));
  return source[key].get<std::string>();
}

/// Rejects keys of a config file outside `known`.
void check_keys(const Json& object, const std::string& origin, const std::string& pointer,
                const std::vector<std::string>& known) {
  if (!object.is_object())
    throw Error(fmt::format("{}: {}: expected an object, found {}", origin, pointer.empty() ? "/" : pointer,
                            shortened(object)));
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw Error(fmt::format("{}: {}/{}: unknown key", origin, pointer, key), suggestion(key, known));
    }
  }
}

/// The object under `key`, empty if there is none.
Json section(const Json& object, const std::string& origin, const std::string& key) {
  const auto found = object.find(key);
  if (found == object.end()) return Json::object();
  if (!found->is_object())
    throw Error(fmt::format("{}: /{}: expected an object, found {}", origin, key, shortened(*found)));
  return *found;
}

/// The files under configs, each read once.
class ConfigFiles {
 public:
  fs::path path(const std::string& kind, const std::string& name) const { return root_ / kind / (name + ".json"); }

  const Json& get(const std::string& kind, const std::string& name) {
    const auto found = read_.find({kind, name});
    return found != read_.end() ? found->second
                                : read_.emplace(std::pair(kind, name), named_config(kind, name)).first->second;
  }

 private:
  fs::path root_ = config_root();
  std::map<std::pair<std::string, std::string>, Json> read_;
};

LayeredJson layer_run(const Json& run, const std::string& origin, const Json& overrides, ConfigFiles& files) {
  if (!run.is_object())
    throw Error(fmt::format("{}: expected an object with \"task\", \"mixer\" and \"profile\", found {}", origin,
                            shortened(run)));
  const auto task = required_name(run, origin, overrides, "task");
  const auto mixer = required_name(run, origin, overrides, "mixer");
  const auto profile = required_name(run, origin, overrides, "profile");
  const Json& task_config = files.get("tasks", task);
  const Json& mixer_config = files.get("mixers", mixer);
  const Json& profile_config = files.get("profiles", profile);
  const auto task_file = files.path("tasks", task).string();
  const auto mixer_file = files.path("mixers", mixer).string();
  const auto profile_file = files.path("profiles", profile).string();
  check_keys(task_config, task_file, "",
             {"task", "display_name", "stand_in_for", "summary", "paper", "official_examples", "defaults"});
  check_keys(mixer_config, mixer_file, "",
             {"mixer", "display_name", "family", "paper", "formula", "cost", "growth", "official", "summary", "options",
              "atlas", "atlas_variants", "test"});
  check_keys(profile_config, profile_file, "", {"profile", "summary", "source", "defaults", "tasks"});
  const Json tasks = section(profile_config, profile_file, "tasks");
  // A stand-in has the settings of its task, unless a profile says otherwise.
  const std::string settings = tasks.contains(task) ? task : task_config.value("stand_in_for", task);
  if (!tasks.contains(settings)) {
    std::vector<std::string> known;
    for (const auto& [name, value] : tasks.items()) known.push_back(name);
    throw Error(
        fmt::format("{}: /tasks: the profile '{}' has no settings for the task '{}'", profile_file, profile, task),
        suggestion(task, known));
  }
  Json profile_task = section(tasks, profile_file, settings);
  const Json profile_mixers = section(profile_task, profile_file, "mixers");
  profile_task.erase("mixers");

  LayeredJson layers;
  layers.merge(section(task_config, task_file, "defaults"), task_file);
  layers.merge(section(profile_config, profile_file, "defaults"), profile_file);
  layers.merge(profile_task, profile_file);
  layers.merge({{"variant", mixer},
                {"display_name", mixer_config.contains("display_name") ? mixer_config["display_name"] : Json(mixer)},
                {"mixer_options", section(mixer_config, mixer_file, "options")}},
               mixer_file);
  layers.merge(section(profile_mixers, profile_file, mixer), profile_file);
  layers.merge(run, origin);
  layers.merge(overrides, command_line_origin);
  return layers;
}

const std::vector<std::string> suite_keys = {"suite", "summary", "prepare", "tasks", "mixers", "seeds", "bench"};

/// A list, "a,b" from the command line, or a single value, as a list. Throws Error for an empty one.
Json as_list(const Json& value, const std::string& origin, const char* key) {
  Json list = Json::array();
  if (value.is_array()) {
    list = value;
  } else if (value.is_string()) {
    const auto text = value.get<std::string>();
    for (std::size_t start = 0; start <= text.size();) {
      const auto end = std::min(text.find(',', start), text.size());
      const std::string piece = text.substr(start, end - start);
      const Json parsed = Json::parse(piece, nullptr, false);
      if (!piece.empty()) list.push_back(parsed.is_number() ? parsed : Json(piece));
      start = end + 1;
    }
  } else {
    list.push_back(value);
  }
  if (list.empty()) throw Error(fmt::format("{}: /{}: expected at least one, found {}", origin, key, shortened(value)));
  return list;
}

/// A task or mixer of a suite: a name, or an object with the name under `key` and keys of its own.
Json entry_object(const Json& entry, const std::string& origin, const std::string& key) {
  if (entry.is_string()) return {{key, entry}};
  if (entry.is_object() && entry.contains(key)) return entry;
  throw Error(
      fmt::format("{}: /{}s: expected a name or an object with \"{}\", found {}", origin, key, key, shortened(entry)));
}

/// The command line's tasks or mixers: a name that the suite has entries of (by name or variant) stands for these, with
/// their settings.
Json chosen_entries(const Json& chosen, const Json& own, const std::string& key) {
  Json entries = Json::array();
  for (const auto& entry : as_list(chosen, command_line_origin, (key + "s").c_str())) {
    const std::size_t before = entries.size();
    for (const auto& known : own) {
      if (known == entry ||
          (known.is_object() && (known.value(key, Json()) == entry || known.value("variant", Json()) == entry)))
        entries.push_back(known);
    }
    if (entries.size() == before) entries.push_back(entry);
  }
  return entries;
}

}  // namespace

LayeredJson layer_run(const Json& run, const std::string& origin, const Json& overrides) {
  ConfigFiles files;
  return layer_run(run, origin, overrides, files);
}

void for_each_run(const Json& config, const std::string& origin, const Json& overrides,
                  const std::function<void(const LayeredJson&)>& visit) {
  if (!config.is_object()) throw Error(fmt::format("{}: expected an object, found {}", origin, shortened(config)));
  const bool resolved_run = config.contains("task") && config.contains("mixer");
  if (!config.contains("suite") || resolved_run) return visit(layer_run(config, origin, overrides));

  Json suite = config;
  Json run_overrides = overrides;
  for (const auto& key : suite_keys) {
    if (!overrides.contains(key)) continue;
    if (key == "bench" && suite.contains(key)) {
      suite[key].merge_patch(overrides[key]);
    } else if ((key == "tasks" || key == "mixers") && suite.contains(key) && suite[key].is_array()) {
      suite[key] = chosen_entries(overrides[key], suite[key], key == "tasks" ? "task" : "mixer");
    } else {
      suite[key] = overrides[key];
    }
    if (key != "suite") run_overrides.erase(key);
  }
  const auto origin_of = [&](const char* key) {
    return overrides.contains(key) ? std::string(command_line_origin) : origin;
  };
  if (!suite.contains("mixers")) throw Error(fmt::format("{}: the key \"mixers\" is missing in the suite", origin));
  if (!suite.contains("tasks") && !suite.contains("bench"))
    throw Error(fmt::format("{}: the suite has neither \"tasks\" nor \"bench\"", origin));
  Json common = suite;
  for (const auto& key : suite_keys) common.erase(key);
  common["suite"] = suite["suite"];

  ConfigFiles files;
  const Json seeds = as_list(suite.value("seeds", Json::array({0})), origin_of("seeds"), "seeds");
  for (const auto& entry :
       suite.contains("tasks") ? as_list(suite["tasks"], origin_of("tasks"), "tasks") : Json::array()) {
    Json task = entry_object(entry, origin_of("tasks"), "task");
    // A task of the suite may have a list of mixers for itself; one from the command line holds for all.
    const bool own = task.contains("mixers") && !overrides.contains("mixers");
    const Json mixers = as_list(own ? task["mixers"] : suite["mixers"], origin_of("mixers"), "mixers");
    task.erase("mixers");
    for (const auto& mixer : mixers) {
      Json run = common;
      run.merge_patch(task);
      run.merge_patch(entry_object(mixer, origin_of("mixers"), "mixer"));
      LayeredJson layers = layer_run(run, origin, run_overrides, files);
      for (const auto& seed : seeds) {  // there may be thousands, which differ in nothing else
        if (!run_overrides.contains("seed")) layers.merge({{"seed", seed}}, origin_of("seeds"));
        visit(layers);
      }
    }
  }
  if (suite.contains("bench")) {
    const Json& bench = suite["bench"];
    check_keys(bench, origin_of("bench"), "/bench", {"lengths", "batch_sizes"});
    Json bench_overrides = run_overrides;
    for (const char* key : {"task", "kind", "seq_len", "batch_size", "seed"}) bench_overrides.erase(key);
    for (const auto& length :
         as_list(bench.value("lengths", Json::array({1024, 2048, 3072, 4096})), origin_of("bench"), "bench/lengths")) {
      for (const auto& batch :
           as_list(bench.value("batch_sizes", Json::array({1})), origin_of("bench"), "bench/batch_sizes")) {
        for (const auto& mixer : as_list(suite["mixers"], origin_of("mixers"), "mixers")) {
          Json run = common;
          run.merge_patch(entry_object(mixer, origin_of("mixers"), "mixer"));
          run.merge_patch(
              {{"kind", "bench"}, {"task", "bytes"}, {"seq_len", length}, {"batch_size", batch}, {"seed", 0}});
          LayeredJson layers = layer_run(run, origin, bench_overrides, files);
          if (overrides.contains("bench"))
            layers.merge({{"seq_len", length}, {"batch_size", batch}}, command_line_origin);
          visit(layers);
        }
      }
    }
  }
}

std::vector<LayeredJson> expand_config(const Json& config, const std::string& origin, const Json& overrides) {
  std::vector<LayeredJson> runs;
  for_each_run(config, origin, overrides, [&](const LayeredJson& layers) { runs.push_back(layers); });
  return runs;
}

}  // namespace lra
