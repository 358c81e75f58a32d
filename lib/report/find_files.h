#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace lra::report {

struct FoundFiles {
  std::map<std::filesystem::path, std::filesystem::path>
      files;                          ///< each once: its canonical path, and one below the folder as the user named it
  std::vector<std::string> problems;  ///< a sentence for each folder that cannot be read
};

/// Regular files with one of these names in and below the folders. Symbolic links are followed; a folder that is
/// reached again (a link to its own parent, say) is read once.
FoundFiles find_files(const std::vector<std::filesystem::path>& folders, const std::set<std::string>& names);

/// A path for people: without bytes that no text has.
std::string shown(const std::filesystem::path& file);

/// read_file for files of others: also throws Error where the file is larger than 64 MiB, which no file of ours is.
std::string read_bounded(const std::filesystem::path& file);

}  // namespace lra::report
