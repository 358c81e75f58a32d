#include "data/unpacked_source.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "core/sha256.h"
#include "data/archive.h"

namespace lra {
namespace fs = std::filesystem;

UnpackedSource::UnpackedSource(const fs::path& from, fs::path temporary, const std::function<bool(const std::string& entry)>& wanted)
    : temporary_(std::move(temporary)), folder_(from) {
  if (!fs::exists(from)) throw Error(fmt::format("--from {}: there is no such folder or archive", from.string()));
  const fs::path inside = fs::weakly_canonical(from).lexically_relative(fs::weakly_canonical(temporary_));
  if (!inside.empty() && *inside.begin() != "..") {
    throw Error(fmt::format("--from {}: this folder is emptied whenever data are prepared", from.string()), "move the files out of it");
  }
  fs::remove_all(temporary_);
  if (!is_archive(from)) return;
  log().info("unpacking {}", from.string());
  description_ = {{"archive", from.filename().string()}, {"bytes", fs::file_size(from)}, {"sha256", sha256_file(from)}};
  folder_ = temporary_;
  try {
    if (extract_archive(from, temporary_, wanted) == 0) throw Error(fmt::format("--from {}: the archive holds none of the files of this task", from.string()));
  } catch (...) {
    std::error_code code;
    fs::remove_all(temporary_, code);
    throw;
  }
}

UnpackedSource::~UnpackedSource() {
  std::error_code code;
  fs::remove_all(temporary_, code);
}

}  // namespace lra
