#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>

namespace lra {

/// Is it a file, which may be an archive, rather than a folder?
bool is_archive(const std::filesystem::path& path);

/// Files that a reader left out: how many, and the first of them.
struct LeftOut {
  std::size_t count = 0;
  std::string first;

  void add(const std::string& name) {
    if (count++ == 0) first = name;
  }
};

struct Extracted {
  std::size_t files = 0;
  LeftOut unwanted;    ///< of no use to the task
  LeftOut unreadable;  ///< links that lead nowhere within the archive, devices, members without a name; with the reason
                       ///< in brackets
};

/// Unpacks those files of a .tar.gz (also with another ending, as LRA's lra_release.gz), .tar or .zip that `wanted`
/// says yes to into the folder `into`, with the folders of their names. A hard or symbolic link to a member that was
/// unpacked becomes that file. `wanted` is asked with the path in the archive, without a leading "./"; of the others,
/// those that are a `companion` are not counted as left out. Throws Error for an archive that is damaged, cut short or
/// of another kind, that has a file whose path leads out of `into`, that claims more bytes than it can hold or than the
/// disk has free, and for what cannot be written; files written before that stay.
Extracted extract_archive(const std::filesystem::path& archive, const std::filesystem::path& into,
                          const std::function<bool(const std::string& entry_path)>& wanted,
                          const std::function<bool(const std::string& entry_path)>& companion = {});

}  // namespace lra
