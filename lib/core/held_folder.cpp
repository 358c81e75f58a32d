#include "core/held_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace lra {

HeldFolder::HeldFolder(std::filesystem::path path) : path_(std::move(path)), descriptor_(-1) {
  std::error_code code;
  std::filesystem::create_directories(path_, code);
  descriptor_ = ::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0)
    throw Error(fmt::format("{}: is no folder that can be opened ({})", path_.string(), std::strerror(errno)));
}

HeldFolder::HeldFolder(HeldFolder&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

HeldFolder::~HeldFolder() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool HeldFolder::in_place() const {
  struct stat held{}, found{};
  return ::fstat(descriptor_, &held) == 0 && ::stat(path_.c_str(), &found) == 0 && held.st_dev == found.st_dev &&
         held.st_ino == found.st_ino;
}

void HeldFolder::check() const {
  if (in_place()) return;
  throw Error(fmt::format("{}: the folder was moved, removed or replaced while a run worked in it", path_.string()),
              "put it back and run the same command again: it goes on from the last checkpoint");
}

}  // namespace lra
