#include "data/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/temporary_file.h"
#include "core/sha256.h"

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

void check_file(const fs::path& folder, const Json& entry) {
  const fs::path file = folder / entry.at("file").get<std::string>();
  const std::string hint = "delete the folder and prepare the data again";
  if (!fs::is_regular_file(file)) throw Error(fmt::format("{}: the manifest names this file but it is not there", file.string()), hint);
  if (!size_agrees(folder, entry)) {
    throw Error(fmt::format("{}: has {} bytes, the manifest says {}", file.string(), fs::file_size(file), entry.at("bytes").dump()), hint);
  }
  if (const std::string hash = sha256_file(file); hash != entry.at("sha256").get<std::string>()) {
    throw Error(fmt::format("{}: its SHA-256 is {}, the manifest says {}", file.string(), hash, entry.at("sha256").get<std::string>()), hint);
  }
}

Json read_manifest(const fs::path& folder) {
  const fs::path file = folder / "manifest.json";
  std::error_code unknown;
  if (!fs::exists(file, unknown)) return {};
  Json manifest = read_json(file);
  const auto files = manifest.is_object() ? manifest.find("files") : manifest.end();
  const bool good = manifest.is_object() && files != manifest.end() && files->is_object() && std::all_of(files->begin(), files->end(), [](const Json& entry) {
    return entry.is_object() && entry.contains("examples") && entry.contains("bytes") && entry["bytes"].is_number() && entry.contains("file") &&
           entry["file"].is_string() && entry.contains("sha256") && entry["sha256"].is_string();
  });
  if (!good) throw Error(fmt::format("{}: expected a manifest whose \"files\" have file, bytes, sha256 and examples", file.string()), "delete the folder and prepare the data again");
  return manifest;
}

FolderLock lock_data_folder(const fs::path& folder) try {
  for (;;) {
    if (auto lock = FolderLock::try_lock(folder)) {
      remove_temporary_files(folder);
      return std::move(*lock);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
} catch (const Error& error) {
  throw Error(error.what(), "check the permissions, or choose another folder with --data-dir");
}

}  // namespace lra
