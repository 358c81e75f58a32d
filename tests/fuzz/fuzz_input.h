#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/text.h"

/// A file in memory with this content, for readers that want a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view content) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0 || ::write(descriptor_, content.data(), content.size()) != static_cast<ssize_t>(content.size()))
      std::abort();
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Calls a reader: it may throw lra::Error with one line that a terminal may show, and nothing else.
template <class Call>
void allow_errors(Call call) {
  try {
    call();
  } catch (const lra::Error& error) {
    if (const std::string_view message = error.what(); lra::printable(message) != message) {
      std::cerr << "a message has unprintable bytes: " << message << std::endl;
      std::abort();
    }
  }
}
