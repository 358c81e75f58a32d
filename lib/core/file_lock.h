#pragma once

#include <filesystem>
#include <optional>

namespace lra {

/// An exclusive lock on a folder among processes (flock on `<folder>/.lock`), released when this object or the process
/// ends.
class FolderLock {
 public:
  /// Nothing if another process holds it. Makes the folder. Throws Error when the folder cannot be written.
  static std::optional<FolderLock> try_lock(const std::filesystem::path& folder);

  FolderLock(FolderLock&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock();

  /// A child that inherits this descriptor holds the lock too, until it ends.
  int descriptor() const { return descriptor_; }

 private:
  explicit FolderLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace lra
