#include "data/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "core/config_files.h"
#include "core/error.h"
#include "core/log.h"
#include "core/sha256.h"
#include "core/temporary_file.h"
#include "core/text.h"
#include "core/thousands.h"
#include "data/file_hash.h"
#include "data/task.h"

namespace lra {
namespace fs = std::filesystem;

Json file_entry(const std::string& name, std::string_view content, std::size_t examples) {
  return {{"file", name}, {"bytes", content.size()}, {"sha256", sha256(content)}, {"examples", examples}};
}

bool size_agrees(const fs::path& folder, const Json& entry) {
  std::error_code missing;
  const auto bytes = fs::file_size(folder / entry.at("file").get<std::string>(), missing);
  return !missing && bytes == entry.at("bytes").get<std::uintmax_t>();
}

namespace {

void check_file_by(const fs::path& folder, const Json& entry, std::string (*hash_of)(const fs::path&)) {
  const fs::path file = folder / entry.at("file").get<std::string>();
  const std::string hint =
      fmt::format("delete {} and prepare the data again; if you put your own files there, delete its manifest.json",
                  folder.string());
  if (!fs::is_regular_file(file))
    throw Error(fmt::format("{}: the manifest names this file but it is not there", file.string()), hint);
  if (!size_agrees(folder, entry)) {
    throw Error(fmt::format("{}: has {} bytes, the manifest says {}", file.string(), fs::file_size(file),
                            entry.at("bytes").dump()),
                hint);
  }
  if (const std::string hash = hash_of(file); hash != entry.at("sha256").get<std::string>()) {
    throw Error(fmt::format("{}: its SHA-256 is {}, the manifest says {}", file.string(), hash,
                            entry.at("sha256").get<std::string>()),
                hint);
  }
}

}  // namespace

void check_file(const fs::path& folder, const Json& entry) { check_file_by(folder, entry, computed_sha256); }

void check_file_at_use(const fs::path& folder, const Json& entry) { check_file_by(folder, entry, known_sha256); }

void check_against_manifest(const fs::path& file) {
  std::error_code code;
  for (const fs::path& place :
       {file, fs::canonical(file, code)}) {  // a link's own folder, then that of what it leads to
    const fs::path manifest_file = place.parent_path() / "manifest.json";
    if (place.empty() || !fs::exists(manifest_file, code)) continue;
    const Json any = read_json(manifest_file);  // other programs have files of this name too
    if (!any.is_object() || !any.contains("task") || !any.contains("files")) continue;
    const Json manifest = read_manifest(place.parent_path());
    for (const Json& entry : manifest.at("files")) {
      if (entry.at("file") == place.filename().string()) return check_file_at_use(place.parent_path(), entry);
    }
  }
  log().warn("{}: no manifest beside it names this file, so nothing tells whether it is undamaged",
             printable(file.string()));
}

std::string difference_from_official(const Json& files, const std::string& task) {
  const Json official = named_config("tasks", task).value("official_examples", Json::object());
  std::string text;
  for (const Split split : all_splits) {
    const std::int64_t expected = official.value(split_name(split), std::int64_t{0});
    const auto entry = files.find(split_name(split));
    const std::int64_t found = entry == files.end() ? 0 : entry->at("examples").get<std::int64_t>();
    if (expected == 0 || found == expected) continue;
    text += fmt::format("{}{} has {} examples, the official task has {}", text.empty() ? "" : "; ", split_name(split),
                        with_commas(found), with_commas(expected));
  }
  return text;
}

Json read_manifest(const fs::path& folder) {
  const fs::path file = folder / "manifest.json";
  std::error_code unknown;
  if (!fs::exists(file, unknown)) return {};
  Json manifest = read_json(file);
  const auto files = manifest.is_object() ? manifest.find("files") : manifest.end();
  const bool good = manifest.is_object() && files != manifest.end() && files->is_object() &&
                    std::all_of(files->begin(), files->end(), [](const Json& entry) {
                      return entry.is_object() && entry.contains("examples") && entry.contains("bytes") &&
                             entry["bytes"].is_number_integer() && entry["examples"].is_number_integer() &&
                             entry.contains("file") && entry["file"].is_string() && entry.contains("sha256") &&
                             entry["sha256"].is_string();
                    });
  if (!good)
    throw Error(
        fmt::format("{}: expected a manifest whose \"files\" have file, bytes, sha256 and examples", file.string()),
        "delete the folder and prepare the data again");
  return manifest;
}

FolderLock lock_data_folder(const fs::path& folder) try {
  for (bool said = false;; said = true) {
    if (auto lock = FolderLock::try_lock(folder)) {
      remove_temporary_files(folder);
      return std::move(*lock);
    }
    if (!said) log().info("{}: another process is preparing these data; waiting for it to end", folder.string());
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
} catch (const Error& error) {
  throw Error(error.what(), "check the permissions, or choose another folder with --data-dir");
}

}  // namespace lra
