#include "data/file_hash.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "core/json_file.h"
#include "core/sha256.h"
#include "core/text.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t second = 1'000'000'000;

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * second + time.tv_nsec; }

/// What tells one content of a file from another without reading it. No program can set the time of change (ctime).
Json identity_of(const fs::path& file) {
  struct stat facts{};
  if (::stat(file.c_str(), &facts) != 0)
    throw Error(fmt::format("{}: cannot be read ({})", printable(file.string()), std::strerror(errno)));
  return {{"bytes", facts.st_size},
          {"inode", facts.st_ino},
          {"modified", nanoseconds(facts.st_mtim)},
          {"changed", nanoseconds(facts.st_ctim)}};
}

bool settled(const Json& identity) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return nanoseconds(now) -
             std::max(identity.at("modified").get<std::int64_t>(), identity.at("changed").get<std::int64_t>()) >
         2 * second;
}

/// {"bytes", ..., "sha256"} with a checksum, so that a damaged memory is none.
Json sealed(Json entry) {
  entry.erase("check");
  entry["check"] = sha256(entry.dump());
  return entry;
}

fs::path memory_of(const fs::path& file) { return file.parent_path() / "hashes.json"; }

Json read_memory(const fs::path& file) {
  try {
    Json memory = fs::exists(memory_of(file)) ? read_json(memory_of(file)) : Json::object();
    if (memory.is_object()) return memory;
  } catch (const std::exception&) {  // a memory that cannot be read is none
  }
  return Json::object();
}

std::mutex mutex;
std::map<fs::path, Json> known_here;  // absolute path → sealed entry

}  // namespace

std::string computed_sha256(const fs::path& file) {
  Json entry = identity_of(file);
  const std::string hash = sha256_file(file);
  if (!settled(entry) || identity_of(file) != entry) return hash;
  entry["sha256"] = hash;
  entry = sealed(entry);
  {
    const std::lock_guard guard(mutex);
    known_here[fs::absolute(file)] = entry;
  }
  Json memory = read_memory(file);
  memory[file.filename().string()] = entry;
  try {
    write_json(memory_of(file), memory);
  } catch (const std::exception&) {  // data may be read-only
  }
  return hash;
}

std::string known_sha256(const fs::path& file) {
  const Json identity = identity_of(file);
  const auto remembered = [&](const Json& entry) {
    return entry.is_object() && entry.contains("sha256") && entry["sha256"].is_string() && sealed(entry) == entry &&
           std::all_of(identity.items().begin(), identity.items().end(), [&](const auto& item) {
             return entry.contains(item.key()) && entry[item.key()] == item.value();
           });
  };
  {
    const std::lock_guard guard(mutex);
    if (const auto here = known_here.find(fs::absolute(file)); here != known_here.end() && remembered(here->second))
      return here->second.at("sha256").get<std::string>();
  }
  const Json memory = read_memory(file);
  const auto there = memory.find(file.filename().string());
  if (there != memory.end() && remembered(*there)) return there->at("sha256").get<std::string>();
  return computed_sha256(file);
}

}  // namespace lra
