#pragma once

#include <cstddef>
#include <filesystem>

struct gzFile_s;

namespace lra {

/// Reads a file from its start to its end, decompressed if it is gzip'ed (several members in a row too), as it is if
/// not.
class GzipFile {
 public:
  /// Throws Error.
  explicit GzipFile(const std::filesystem::path& file);
  ~GzipFile();
  GzipFile(const GzipFile&) = delete;
  GzipFile& operator=(const GzipFile&) = delete;

  /// Reads up to `size` bytes (at most 1 GiB) and returns their number, less than `size` only at the end. Throws Error
  /// "FILE: ..." for data that is damaged, also if only its checksum tells, or that ends too early.
  std::size_t read(char* to, std::size_t size);

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path file_;
  gzFile_s* handle_;
};

}  // namespace lra
