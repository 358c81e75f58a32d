#include "data/gzip_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace lra {

GzipFile::GzipFile(const std::filesystem::path& file) : file_(file), handle_(::gzopen(file.c_str(), "rb")) {
  if (handle_ == nullptr) throw Error(fmt::format("{}: cannot be read ({})", file_.string(), std::strerror(errno)));
  ::gzbuffer(handle_, 1 << 17);
}

GzipFile::~GzipFile() { ::gzclose(handle_); }

std::size_t GzipFile::read(char* to, std::size_t size) {
  const int count = ::gzread(handle_, to, static_cast<unsigned>(size));
  // zlib gives what it has of a file that ends too early, and only notes that it did.
  if (count < 0 || static_cast<std::size_t>(count) < size) {
    int code = Z_OK;
    ::gzerror(handle_, &code);
    if (code != Z_OK) fail();
  }
  return static_cast<std::size_t>(count);
}

void GzipFile::fail() const {
  const int system_error = errno;
  int code = Z_OK;
  ::gzerror(handle_, &code);
  if (code == Z_ERRNO) throw Error(fmt::format("{}: cannot be read ({})", file_.string(), std::strerror(system_error)));
  throw Error(
      fmt::format("{}: the compressed data {}", file_.string(), code == Z_BUF_ERROR ? "ends too early" : "is damaged"),
      "fetch it again");
}

}  // namespace lra
