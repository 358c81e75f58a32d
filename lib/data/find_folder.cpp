#include "data/find_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"

namespace lra {
namespace fs = std::filesystem;

fs::path find_folder(const fs::path& from, const std::vector<std::string>& nestings, const std::vector<std::string>& needed,
                     const std::string& hint) {
  std::error_code unknown;
  if (!fs::exists(from, unknown)) throw Error(fmt::format("{}: there is no such folder", from.string()), hint);
  if (!fs::is_directory(from, unknown)) throw Error(fmt::format("{}: expected a folder, found a file", from.string()), hint);
  fs::path nearest;
  std::vector<std::string> missing_there = needed;
  for (const std::string& nesting : nestings) {
    const fs::path folder = nesting.empty() ? from : from / nesting;
    std::vector<std::string> missing;
    for (const std::string& name : needed) {
      if (!fs::exists(folder / name, unknown)) missing.push_back(name);
    }
    if (missing.empty()) return folder;
    if (missing.size() < missing_there.size()) {
      nearest = folder;
      missing_there = missing;
    }
  }
  if (nearest.empty()) throw Error(fmt::format("{}: expected {} in it, found none of them", from.string(), fmt::join(needed, ", ")), hint);
  throw Error(fmt::format("{}: expected {} in it, {} missing", nearest.string(), fmt::join(needed, ", "), fmt::join(missing_there, ", ")), hint);
}

}  // namespace lra
