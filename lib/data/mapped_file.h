#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

#include "core/error.h"

namespace lra {

/// A data file changed or was cut short while it was read. A run ends with the status `failed`: its user did nothing
/// wrong.
class DataLost : public Error {
 public:
  using Error::Error;
};

/// A file mapped into memory for reading. If it is cut short, the missing part reads as zeros, not as a SIGBUS that
/// ends the process; check() tells.
class MappedFile {
 public:
  /// Throws Error.
  explicit MappedFile(std::filesystem::path file);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Empty for an empty file.
  std::string_view bytes() const { return {data_, size_}; }

  /// Throws DataLost if the file's content changed since it was opened: what was read before this call may be wrong.
  /// Thread-safe.
  void check() const;

 private:
  struct Watched;  ///< what the signal handler knows of a mapping

  std::filesystem::path file_;
  int descriptor_;
  std::size_t size_ = 0;
  std::int64_t modified_ = 0;  ///< nanoseconds
  const char* data_ = nullptr;
  Watched* watched_ = nullptr;
};

}  // namespace lra
