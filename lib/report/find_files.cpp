#include "report/find_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "core/json_file.h"
#include "core/text.h"

namespace lra::report {
namespace fs = std::filesystem;

std::string shown(const fs::path& file) { return printable(file.string()); }

std::string read_bounded(const fs::path& file) {
  constexpr std::uintmax_t most = std::uintmax_t{64} << 20;
  std::error_code code;
  const auto size = fs::file_size(file, code);
  if (!code && size > most)
    throw Error(fmt::format("{}: {} bytes, expected at most {}", shown(file), size, most), "leave this file out");
  return read_file(file);
}

FoundFiles find_files(const std::vector<fs::path>& folders, const std::set<std::string>& names) {
  FoundFiles found;
  std::set<fs::path> read;  // canonical
  // Folders behind links come last, so that a file is shown by its own path where it has one.
  std::vector<fs::path> waiting(folders.rbegin(), folders.rend()), links;
  while (!waiting.empty() || !links.empty()) {
    auto& next = waiting.empty() ? links : waiting;
    const fs::path folder = next.back();
    next.pop_back();
    std::error_code code;
    const fs::path real = fs::canonical(folder, code);
    if (!code && !read.insert(real).second) continue;
    std::vector<fs::directory_entry> entries;
    if (!code) {
      for (auto entry = fs::directory_iterator(folder, code); !code && entry != fs::directory_iterator();
           entry.increment(code))
        entries.push_back(*entry);
    }
    if (code) found.problems.push_back(fmt::format("{}: cannot be read ({})", shown(folder), code.message()));
    std::sort(entries.rbegin(), entries.rend());
    for (const fs::directory_entry& entry : entries) {
      std::error_code none;
      if (entry.is_directory(none)) {
        (entry.is_symlink(none) ? links : waiting).push_back(entry.path());
      } else if (names.count(entry.path().filename().string()) != 0 && entry.is_regular_file(none)) {
        const fs::path file = fs::canonical(entry.path(), none);
        if (!none) found.files.emplace(file, entry.path().lexically_normal());
      }
    }
  }
  return found;
}

}  // namespace lra::report
