#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/json_file.h"
#include "data/archive.h"

namespace lra {

/// The folder that `data prepare --from` names. If it names an archive: a folder with its content, which exists while
/// this object lives.
class UnpackedSource {
 public:
  /// `wanted` chooses an archive's entries, which go to `temporary`; `companion` those that every copy has and nobody
  /// misses; `sha256`: the archive's, empty where it is not known yet. Says on the console which others were left out.
  /// Throws Error.
  UnpackedSource(const std::filesystem::path& from, std::filesystem::path temporary,
                 const std::function<bool(const std::string& entry)>& wanted,
                 const std::function<bool(const std::string& entry)>& companion, const std::string& sha256 = {});
  ~UnpackedSource();
  UnpackedSource(const UnpackedSource&) = delete;
  UnpackedSource& operator=(const UnpackedSource&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  /// For a manifest: of an archive {"archive", "bytes", "sha256"}, and {"left_out"} if members were; else {}.
  const Json& description() const { return description_; }

 private:
  const std::filesystem::path temporary_;
  std::filesystem::path folder_;
  Json description_ = Json::object();
};

/// Throws Error where `--from` names nothing that can be read.
void check_source(const std::filesystem::path& from);

/// The files that lie in the same folders as the files that are read, but are not read themselves. Paths are relative
/// to `folder`.
LeftOut files_beside(const std::vector<std::filesystem::path>& read, const std::filesystem::path& folder);

/// Says on the console that files beside or among those of a source were left out, and adds {"files", "first"} to
/// `description`["left_out"]. No file is dropped without a word.
void say_left_out(const std::string& source, const LeftOut& files, bool unreadable, Json& description);

}  // namespace lra
