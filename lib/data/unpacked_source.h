#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "core/json_file.h"

namespace lra {

/// What `data prepare --from` names, as a folder: itself, or what an archive holds, unpacked for as long as this object lives.
class UnpackedSource {
 public:
  /// `wanted` chooses an archive's entries, which go to `temporary`. Throws Error.
  UnpackedSource(const std::filesystem::path& from, std::filesystem::path temporary, const std::function<bool(const std::string& entry)>& wanted);
  ~UnpackedSource();
  UnpackedSource(const UnpackedSource&) = delete;
  UnpackedSource& operator=(const UnpackedSource&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  /// For a manifest: of an archive {"archive", "bytes", "sha256"}, else {}.
  const Json& description() const { return description_; }

 private:
  const std::filesystem::path temporary_;
  std::filesystem::path folder_;
  Json description_ = Json::object();
};

}  // namespace lra
