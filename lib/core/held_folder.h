#pragma once

#include <filesystem>

namespace lra {

/// A folder that a process works in for a while. Its path may come to lead elsewhere: the folder was moved, removed or
/// replaced.
class HeldFolder {
 public:
  /// Makes the folder. Throws Error when that fails.
  explicit HeldFolder(std::filesystem::path path);
  HeldFolder(HeldFolder&& other) noexcept;
  HeldFolder& operator=(HeldFolder&&) = delete;
  ~HeldFolder();

  /// Whether the path still leads to this folder.
  bool in_place() const;

  /// Throws Error if it does not.
  void check() const;

 private:
  std::filesystem::path path_;
  int descriptor_;  ///< keeps the inode from being given to another folder
};

}  // namespace lra
