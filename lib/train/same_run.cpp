#include "train/same_run.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "core/error.h"
#include "data/manifest.h"
#include "data/task.h"
#include "mixers/mixer.h"

namespace lra {
namespace {

/// `config` with a default for each key that it lacks, its options' included.
Json with_defaults(const Json& config) {
  Json full = RunConfig().to_json();
  full.update(config);
  LayeredJson source;
  source.merge(full, "");
  const auto fill = [&](const auto& registry, const char* name, const char* options) {
    try {
      full[options] =
          registry.at(full.at(name).template get<std::string>()).resolve(source, std::string("/") + options);
    } catch (const std::exception&) {
      // A name or an option that this version does not have: it differs as it stands.
    }
  };
  fill(task_registry(), "task", "task_options");
  fill(mixer_registry(), "mixer", "mixer_options");
  return full;
}

bool rate_depends_on_train_steps(const TrainConfig& train) {
  return train.schedule == "one_cycle" || (train.schedule == "cosine" && train.steps_per_cycle == 0);
}

bool matters(const std::string& key, const std::string& kind) {
  if (key == "threads") return kind == "bench";
  if (key == "train_steps") return kind == "train";
  return keys_without_effect().count(key) == 0;
}

}  // namespace

std::optional<ConfigDifference> config_difference(const Json& saved, const RunConfig& wanted) {
  if (saved == wanted.to_json()) return {};  // as nearly always, and suites ask thousands of times
  const Json before = canonical(with_defaults(saved)), now = canonical(with_defaults(wanted.to_json()));
  std::set<std::string> keys;
  for (const auto* json : {&before, &now}) {
    for (const auto& [key, value] : json->items()) keys.insert(key);
  }
  for (const auto& key : keys) {
    const Json was = before.value(key, Json()), is = now.value(key, Json());
    if (was == is || !matters(key, wanted.kind)) continue;
    ConfigDifference difference{key, was.dump(), is.dump(), ""};
    if (is.is_null()) difference.reason = "; this version of lra-run does not know that key";
    if (key == "train_steps" && was.is_number() && was < is) {
      if (!rate_depends_on_train_steps(wanted.train)) continue;
      difference.reason =
          fmt::format("; it cannot be lengthened, for the learning rate of its {} schedule depends on train_steps",
                      wanted.train.schedule);
    }
    return difference;
  }
  return {};
}

Json split_hashes(const Json& files) {
  Json hashes = Json::object();
  if (!files.is_object()) return hashes;
  for (const Split split : all_splits) {
    const Json entry = files.value(split_name(split), Json());
    if (entry.is_object() && entry.contains("sha256") && entry["sha256"].is_string())
      hashes[split_name(split)] = entry["sha256"];
  }
  return hashes;
}

std::string data_difference(const Json& saved_hashes, const Json& hashes) {
  for (const auto& [split, hash] : saved_hashes.items()) {
    if (!hashes.contains(split) || hashes[split] == hash) continue;
    const auto start = [](const Json& text) {
      return text.is_string() ? text.get<std::string>().substr(0, 12) + "..." : text.dump();
    };
    return fmt::format("its {} split had the SHA-256 {}, now it has {}", split, start(hash), start(hashes[split]));
  }
  return "";
}

const Json& hashes_in_data_dir(const TaskConfig& task) {
  static std::map<std::pair<std::string, std::string>, Json> known;
  const auto [entry, is_new] = known.try_emplace({task.task, task.data_dir});
  if (!is_new) return entry->second;
  try {
    const Json manifest = read_manifest(std::filesystem::path(task.data_dir) / task.task);
    entry->second = split_hashes(manifest.is_object() ? manifest.at("files")
                                                      : task_registry().at(task.task).make()->data_info(task));
  } catch (const Error&) {
    // Whoever opens these data is told what is wrong with them.
  }
  return entry->second;
}

}  // namespace lra
