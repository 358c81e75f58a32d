#include "core/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace lra {

std::optional<FolderLock> FolderLock::try_lock(const std::filesystem::path& folder) {
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  const auto fail = [&](int number) {
    throw Error(fmt::format("{}: cannot be written ({})", folder.string(), std::strerror(number)),
                "choose another folder with --out");
  };
  if (code) fail(code.value());
  const int descriptor = ::open((folder / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) fail(errno);
  while (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    const int number = errno;
    if (number == EINTR) continue;
    ::close(descriptor);
    if (number == EWOULDBLOCK) return std::nullopt;
    fail(number);
  }
  return FolderLock(descriptor);
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace lra
