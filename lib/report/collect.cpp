#include "report/collect.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>

#include "core/error.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

/// Typed access to one object of a record; errors name the file and the JSON path.
struct Reader {
  const fs::path& file;
  const Json& object;
  std::string place;

  [[noreturn]] void fail(const char* key, const char* expected) const {
    throw Error(fmt::format("{}: {}/{}: expected {}", file.string(), place, key, expected));
  }
  const Json* find(const char* key) const {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
  Json object_at(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return Json::object();
    if (!value->is_object()) fail(key, "an object");
    return *value;
  }
  std::string text(const char* key, bool required) const {
    const Json* value = find(key);
    if (value == nullptr && !required) return {};
    if (value == nullptr || !value->is_string()) fail(key, "a text");
    return value->get<std::string>();
  }
  std::optional<double> number(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number() || value->get<double>() < 0) fail(key, "a number that is not negative");
    return value->get<double>();
  }
  std::optional<double> fraction(const char* key) const {
    const auto value = number(key);
    if (value && *value > 1) fail(key, "a fraction of 1");
    return value;
  }
  std::optional<std::int64_t> integer(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_integer() || value->get<std::int64_t>() < 0) fail(key, "an integer that is not negative");
    return value->get<std::int64_t>();
  }
  std::optional<Measured> measured(const char* key) const {
    if (find(key) == nullptr) return std::nullopt;
    const Json inner = object_at(key);
    const Reader reader{file, inner, place + "/" + key};
    const auto median = reader.number("median");
    if (!median) reader.fail("median", "a number");
    return Measured{*median, reader.number("spread").value_or(0), reader.integer("count").value_or(0), {}};
  }
};

}  // namespace

const std::set<std::string>& bookkeeping_keys() {
  static const std::set<std::string> keys = {"seed", "suite", "variant", "display_name", "data_dir", "out", "checkpoint_every", "memory_limit_gb", "time_limit_minutes", "eval_batch_size"};
  return keys;
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

Result parse_result(const Json& json, const fs::path& file) {
  if (!json.is_object()) throw Error(fmt::format("{}: expected a JSON object", file.string()));
  const Reader top{file, json, ""};
  const auto version = top.integer("schema_version");
  if (!version || *version != record_schema_version) {
    throw Error(fmt::format("{}: /schema_version: expected {}, found {}", file.string(), record_schema_version, version ? fmt::to_string(*version) : "none"),
                "use the lra-report of the version that wrote this record, or leave that folder out");
  }
  Result result;
  result.file = file;
  result.kind = top.text("kind", true);
  if (result.kind != "train" && result.kind != "bench") top.fail("kind", "train or bench");
  result.status = top.text("status", true);
  const std::set<std::string> statuses = {"ok", "oom", "timeout", "nan", "failed", "interrupted", "skipped"};
  if (statuses.count(result.status) == 0) top.fail("status", "ok, oom, timeout, nan, failed, interrupted or skipped");
  result.message = top.text("message", false);
  result.suite = top.text("suite", false);
  result.task = top.text("task", true);
  result.mixer = top.text("mixer", true);
  result.variant = top.text("variant", false);
  if (result.variant.empty()) result.variant = result.mixer;
  result.display_name = top.text("display_name", false);
  result.profile = top.text("profile", true);
  result.seed = top.integer("seed").value_or(0);
  result.sequence_length = top.integer("sequence_length");
  result.parameters = top.integer("parameters");
  result.config = top.object_at("config");
  result.host = top.object_at("host");
  result.build = top.object_at("build");
  result.data = top.object_at("data");
  if (const Json* notes = top.find("notes")) result.notes = *notes;

  const Json metrics_json = top.object_at("metrics"), speed_json = top.object_at("speed"), memory_json = top.object_at("memory");
  const Reader metrics{file, metrics_json, "/metrics"}, speed{file, speed_json, "/speed"}, memory{file, memory_json, "/memory"};
  result.train_accuracy = metrics.fraction("train_accuracy");
  result.valid_accuracy = metrics.fraction("valid_accuracy");
  result.test_accuracy = metrics.fraction("test_accuracy");
  result.test_examples = metrics.integer("test_examples");
  result.reference_levels = Json::object();
  const Json levels_json = metrics.object_at("reference_levels");
  for (const auto& [name, value] : levels_json.items()) {
    if (!value.is_null()) result.reference_levels[name] = value;
  }
  const Reader levels{file, result.reference_levels, "/metrics/reference_levels"};
  for (const auto& [name, value] : result.reference_levels.items()) levels.fraction(name.c_str());
  result.train_steps_per_second = speed.measured("train_steps_per_second");
  result.train_examples_per_second = speed.measured("train_examples_per_second");
  result.inference_examples_per_second = speed.measured("inference_examples_per_second");
  result.peak_tensor_bytes = memory.integer("peak_tensor_bytes");
  result.peak_rss_bytes = memory.integer("peak_rss_bytes");
  result.steps_done = metrics.integer("steps_done");
  const Json cost_json = top.object_at("cost");
  result.flops_per_step = Reader{file, cost_json, "/cost"}.number("flops_per_step");
  result.wall_seconds = top.number("wall_seconds");
  std::map<std::string, std::string> kept;
  for (const auto& [key, value] : result.config.items()) {
    const bool own_field = key == "seq_len" && result.sequence_length.has_value();
    if (bookkeeping_keys().count(key) == 0 && !own_field) kept[key] = value.dump();
  }
  for (const auto& [key, value] : kept) result.signature += key + "=" + value + ";";
  return result;
}

Collection collect(const std::vector<fs::path>& folders) {
  std::map<fs::path, fs::path> files;  // each once; shown as the user named its folder
  for (const fs::path& folder : folders) {
    if (!fs::is_directory(folder)) throw Error(fmt::format("{}: no such folder", folder.string()));
    std::error_code code;
    auto entries = fs::recursive_directory_iterator(folder, code);
    for (; !code && entries != fs::recursive_directory_iterator(); entries.increment(code)) {
      if (entries->path().filename() == "result.json" && entries->is_regular_file()) files.emplace(fs::canonical(entries->path()), entries->path().lexically_normal());
    }
    if (code) throw Error(fmt::format("{}: cannot be read ({})", folder.string(), code.message()));
  }
  if (files.empty()) {
    throw Error(fmt::format("{}: no result.json in or below {}", folders.front().string(), folders.size() == 1 ? "this folder" : "the given folders"),
                "give the folder that lra-run wrote with --out");
  }
  Collection collection;
  std::map<std::string, fs::path> seen;  // contents: a folder that was copied must not count twice
  for (const auto& [canonical, file] : files) {
    try {
      const std::string text = read_file(file);
      const auto [first, is_new] = seen.emplace(text, file);
      if (is_new) collection.results.push_back(parse_result(parse_json(text, file.string()), file));
      else collection.broken.push_back(fmt::format("{}: a copy of {}, not counted", file.string(), first->second.string()));
    } catch (const Error& error) {
      collection.broken.push_back(error.what());
    } catch (const Json::exception& error) {
      collection.broken.push_back(fmt::format("{}: {}", file.string(), error.what()));
    }
  }
  if (collection.results.empty()) throw Error(fmt::format("no record could be read; the first: {}", collection.broken.front()));
  return collection;
}

std::vector<CurvePoint> read_curve(const fs::path& run_folder) {
  std::vector<CurvePoint> curve;
  std::ifstream in(run_folder / "metrics.jsonl");
  for (std::string text; std::getline(in, text);) {
    const Json line = Json::parse(text, nullptr, false);
    const auto number = [&](const char* key) { return line.contains(key) && line[key].is_number() ? line[key].get<double>() : std::nan(""); };
    if (!line.contains("split") || !line["split"].is_string() || std::isnan(number("step")) || std::isnan(number("accuracy"))) continue;
    curve.push_back({static_cast<std::int64_t>(number("step")), line["split"].get<std::string>(), number("loss"), 100 * number("accuracy")});
  }
  return curve;
}

}  // namespace lra::report
