#include "data/find_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr int deepest = 10;

struct Search {
  const std::vector<std::string>& needed;
  std::vector<fs::path> complete = {};
  fs::path nearest = {};  ///< has more of the needed than any folder before it
  std::vector<std::string> missing_there;
  std::string unreadable = {};  ///< the first link or folder that could not be followed, and why
  std::set<std::pair<dev_t, ino_t>> visited = {};

  void look_into(const fs::path& folder, int depth) {
    struct stat facts{};
    if (depth > deepest || ::stat(folder.c_str(), &facts) != 0 || !visited.emplace(facts.st_dev, facts.st_ino).second)
      return;
    std::vector<std::string> missing;
    std::error_code code;
    for (const std::string& name : needed) {
      if (!fs::exists(folder / name, code)) missing.push_back(name);
    }
    if (missing.empty()) complete.push_back(folder);
    if (missing.size() < missing_there.size()) {
      nearest = folder;
      missing_there = missing;
    }
    std::vector<fs::path> below;
    const auto cannot = [&](const fs::path& path) {
      if (unreadable.empty())
        unreadable = fmt::format("{} cannot be read ({})", printable(path.string()), code.message());
    };
    fs::directory_iterator entry(folder, code), end;
    if (code) return cannot(folder);
    for (; entry != end; entry.increment(code)) {
      if (code) return cannot(folder);
      const bool is_folder = entry->is_directory(code);
      if (code && code != std::errc::no_such_file_or_directory) cannot(entry->path());
      if (is_folder && entry->path().filename() != "imgs")
        below.push_back(entry->path());  // Pathfinder's, with a million files
    }
    std::sort(below.begin(), below.end());
    for (const fs::path& inner : below) look_into(inner, depth + 1);
  }
};

/// `path` without the folders named lra_release, and their number.
std::pair<fs::path, int> without_release(const fs::path& path) {
  std::pair<fs::path, int> rest;
  for (const fs::path& part : path) {
    if (part == "lra_release") {
      ++rest.second;
    } else if (part != ".") {
      rest.first /= part;
    }
  }
  return rest;
}

}  // namespace

fs::path find_folder(const fs::path& from, const std::vector<std::string>& needed, const std::string& hint) {
  std::error_code code;
  const std::string name = printable(from.string());
  const fs::file_status status = fs::status(from, code);
  if (status.type() == fs::file_type::not_found) throw Error(fmt::format("{}: there is no such folder", name), hint);
  if (code) throw Error(fmt::format("{}: cannot be read ({})", name, code.message()), hint);
  if (!fs::is_directory(status)) throw Error(fmt::format("{}: expected a folder, found a file", name), hint);
  Search search{.needed = needed, .missing_there = needed};
  search.look_into(from, 0);
  if (!search.complete.empty()) {
    const auto copies = [&](const fs::path& folder) { return without_release(folder.lexically_relative(from)); };
    const fs::path* inner = &search.complete.front();
    for (const fs::path& folder : search.complete) {
      if (copies(folder).first != copies(*inner).first) {
        if (search.complete.front() == from) continue;  // the one that was named
        throw Error(fmt::format("--from {}: the files of this task are in {} and in {}", name,
                                printable(inner->string()), printable(folder.string())),
                    "name the one that you mean with --from");
      }
      if (copies(folder).second > copies(*inner).second) inner = &folder;
    }
    return *inner;
  }
  const std::string also = search.unreadable.empty() ? "" : "; " + search.unreadable;
  const std::string expected = fmt::format("expected {} in it", fmt::join(needed, ", "));
  if (search.nearest.empty())
    throw Error(fmt::format("{}: {} or in a folder below, found none of them{}", name, expected, also), hint);
  throw Error(fmt::format("{}: {}, {} missing{}", printable(search.nearest.string()), expected,
                          fmt::join(search.missing_there, ", "), also),
              hint);
}

bool of_another_release_task(const std::string& path, const std::string& own) {
  static const std::set<std::string> folders = {"listops-1000", "tsv_data",      "pathfinder32",
                                                "pathfinder64", "pathfinder128", "pathfinder256"};
  const fs::path parts(path);
  return std::any_of(parts.begin(), parts.end(),
                     [&](const fs::path& part) { return part != own && folders.count(part.string()) != 0; });
}

}  // namespace lra
