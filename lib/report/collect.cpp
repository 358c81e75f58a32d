#include "report/collect.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>

#include "core/config.h"
#include "core/error.h"
#include "core/load.h"
#include "core/text.h"
#include "report/find_files.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

constexpr double largest_number = 1e15;  // of bytes, tokens, seconds, examples a second: more is no measurement

/// Typed access to one object of a record; errors name the file and the JSON path.
struct Reader {
  const fs::path& file;
  const Json& object;
  std::string place;

  [[noreturn]] void fail(const char* key, const char* expected) const {
    throw Error(fmt::format("{}: {}/{}: expected {}", shown(file), place, printable(key), expected));
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
  std::string name(const char* key, bool required) const {
    const std::string value = text(key, required);
    if (value.size() > 500) fail(key, "a name of at most 500 bytes");
    return value;
  }
  std::optional<double> number(const char* key, double most = largest_number) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number() || value->get<double>() < 0) fail(key, "a number that is not negative");
    if (value->get<double>() > most) fail(key, fmt::format("a number of at most {:g}", most).c_str());
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
    const Json whole = canonical(*value);
    if (!whole.is_number_integer() || whole.is_number_unsigned() || whole.get<std::int64_t>() < 0)
      fail(key, "an integer that is not negative");
    if (whole.get<double>() > largest_number)
      fail(key, fmt::format("an integer of at most {:g}", largest_number).c_str());
    return whole.get<std::int64_t>();
  }
  std::optional<Measured> measured(const char* key) const {
    if (find(key) == nullptr) return std::nullopt;
    const Json inner = object_at(key);
    const Reader reader{file, inner, place + "/" + key};
    const auto median = reader.number("median");
    if (!median) reader.fail("median", "a number");
    if (*median > 0 && *median < 1e-9) reader.fail("median", "0 or a number of at least 1e-9");
    return Measured{*median, reader.number("spread").value_or(0), reader.integer("count").value_or(0), {}};
  }
};

/// What is shown many times must not be megabytes.
void check_sizes(const Reader& top, const char* key) {
  constexpr std::size_t most = 10000;
  const Json* value = top.find(key);
  if (value == nullptr) return;
  const auto size = [](const Json& part) { return part.dump(-1, ' ', false, Json::error_handler_t::replace).size(); };
  for (const Json& part : *value) {
    if (size(part) > most) top.fail(key, fmt::format("values of at most {} bytes", most).c_str());
  }
  if (size(*value) > 10 * most) top.fail(key, fmt::format("at most {} bytes", 10 * most).c_str());
}

/// Numbers that are equal get one text; the keys keep their order.
Json with_plain_numbers(Json config) {
  for (auto& [key, value] : config.items()) value = canonical(value);
  return config;
}

/// With the defaults of the keys that are not there, in alphabetical order.
Json settings_of(const Json& config) {
  static const Json defaults = RunConfig().to_json();
  Json settings = defaults;
  settings.update(config);
  return canonical(settings);
}

}  // namespace

const std::set<std::string>& bookkeeping_keys() {
  static const std::set<std::string> keys = {"seed",
                                             "suite",
                                             "variant",
                                             "display_name",
                                             "data_dir",
                                             "out",
                                             "checkpoint_every",
                                             "memory_limit_gb",
                                             "time_limit_minutes",
                                             "eval_batch_size"};
  return keys;
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

Result parse_result(const Json& json, const fs::path& file) {
  if (!json.is_object()) throw Error(fmt::format("{}: expected a JSON object", shown(file)));
  const Reader top{file, json, ""};
  const auto version = top.integer("schema_version");
  if (!version || *version != record_schema_version) {
    throw Error(fmt::format("{}: /schema_version: expected {}, found {}", shown(file), record_schema_version,
                            version ? fmt::to_string(*version) : "none"),
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
  result.suite = top.name("suite", false);
  result.task = top.name("task", true);
  result.mixer = top.name("mixer", true);
  result.variant = top.name("variant", false);
  if (result.variant.empty()) result.variant = result.mixer;
  result.display_name = top.name("display_name", false);
  result.profile = top.name("profile", true);
  result.seed = top.integer("seed").value_or(0);
  result.sequence_length = top.integer("sequence_length");
  result.parameters = top.integer("parameters");
  result.config = with_plain_numbers(top.object_at("config"));
  result.host = top.object_at("host");
  result.build = top.object_at("build");
  result.data = top.object_at("data");
  if (const Json* notes = top.find("notes")) result.notes = *notes;
  for (const char* key : {"config", "host", "build", "data", "notes", "message"}) check_sizes(top, key);

  const Json metrics_json = top.object_at("metrics"), speed_json = top.object_at("speed"),
             memory_json = top.object_at("memory");
  const Reader metrics{file, metrics_json, "/metrics"}, speed{file, speed_json, "/speed"},
      memory{file, memory_json, "/memory"};
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
  result.flops_per_step = Reader{file, cost_json, "/cost"}.number("flops_per_step", 1e24);
  result.wall_seconds = top.number("wall_seconds");
  result.disturbed = speed.text("disturbed", false);
  if (result.disturbed.empty()) result.disturbed = wide_spread(result.train_examples_per_second);
  const Json data_json = result.data;
  result.incomplete = Reader{file, data_json, "/data"}.text("incomplete", false);
  result.settings = settings_of(result.config);
  for (const auto& [key, value] : result.settings.items()) {
    const bool own_field = key == "seq_len" && result.sequence_length.has_value();
    if (bookkeeping_keys().count(key) == 0 && !own_field) result.signature += key + "=" + value.dump() + ";";
  }
  return result;
}

std::string wide_spread(const std::optional<Measured>& speed) {
  if (!speed || speed->median <= 0 || speed->spread <= speed->median / 4) return {};
  return fmt::format("spread is {:.0f} % of the median", 100 * speed->spread / speed->median);
}

bool trained_beside_another(const Result& result) {
  return result.disturbed.find(beside_another_run) != std::string::npos;
}

std::string data_identity(const Result& result) {
  std::string hashes;
  for (const char* split : {"train", "valid", "test"}) {
    const auto entry = result.data.find(split);
    if (entry != result.data.end() && entry->is_object()) hashes += text_at(*entry, "sha256") + " ";
  }
  if (hashes.find_first_not_of(' ') != std::string::npos) return hashes;
  return canonical(result.data).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::map<std::string, double> cut_shares(const Result& result) {
  std::map<std::string, double> shares;
  for (const auto& [split, entry] : result.data.items()) {
    if (!entry.is_object() || !entry.contains("cut_share") || !entry["cut_share"].is_number()) continue;
    const double share = entry["cut_share"].get<double>();
    if (share > 0 && share <= 1) shares[split] = share;
  }
  return shares;
}

Collection collect(const std::vector<fs::path>& folders) {
  for (const fs::path& folder : folders) {
    if (!fs::is_directory(folder)) throw Error(fmt::format("{}: no such folder", shown(folder)));
  }
  const auto [files, problems] = find_files(folders, {"result.json"});
  if (files.empty()) {
    if (!problems.empty()) throw Error(problems.front());
    throw Error(fmt::format("{}: no result.json in or below {}", shown(folders.front()),
                            folders.size() == 1 ? "this folder" : "the given folders"),
                "give the folder that lra-run wrote with --out");
  }
  Collection collection;
  collection.broken = problems;
  std::map<std::string, fs::path> seen;  // contents: a folder that was copied must not count twice
  for (const auto& [canonical, file] : files) {
    try {
      const std::string text = read_bounded(file);
      const auto [first, is_new] = seen.emplace(text, file);
      if (is_new)
        collection.results.push_back(parse_result(parse_json(text, shown(file)), file));
      else
        collection.broken.push_back(fmt::format("{}: a copy of {}, not counted", shown(file), shown(first->second)));
    } catch (const Error& error) {
      collection.broken.push_back(error.what());
    } catch (const Json::exception& error) {
      collection.broken.push_back(fmt::format("{}: {}", shown(file), error.what()));
    }
  }
  if (collection.results.empty())
    throw Error(fmt::format("no record could be read; the first: {}", collection.broken.front()));
  return collection;
}

std::vector<CurvePoint> read_curve(const fs::path& run_folder) {
  std::vector<CurvePoint> curve;
  std::error_code code;
  if (!fs::is_regular_file(run_folder / "metrics.jsonl", code)) return curve;
  std::ifstream in(run_folder / "metrics.jsonl");
  for (std::string text; std::getline(in, text);) {
    const Json line = Json::parse(text, nullptr, false);
    const auto number = [&](const char* key) {
      return line.contains(key) && line[key].is_number() ? line[key].get<double>() : std::nan("");
    };
    const double step = number("step"), accuracy = number("accuracy"), loss = number("loss");
    if (!line.contains("split") || !line["split"].is_string() || !(step >= 0 && step <= largest_number) ||
        !(accuracy >= 0 && accuracy <= 1))
      continue;
    curve.push_back({static_cast<std::int64_t>(step), line["split"].get<std::string>(),
                     std::abs(loss) <= largest_number ? loss : std::nan(""), 100 * accuracy});
  }
  return curve;
}

}  // namespace lra::report
