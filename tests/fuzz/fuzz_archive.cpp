#include "data/archive.h"
#include "fuzz_input.h"

/// An archive; nothing may be written outside of its folder.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path outside =
      std::filesystem::temp_directory_path() / ("fuzz_archive" + std::to_string(::getpid()));
  const MemoryFile file(text_of(data, size));
  allow_errors([&] {
    lra::extract_archive(file.path(), outside / "into", [](const std::string& entry) { return entry.size() < 100; });
  });
  if (std::filesystem::exists(outside)) {
    for (const auto& entry : std::filesystem::directory_iterator(outside)) {
      if (entry.path().filename() != "into") std::abort();
    }
    std::filesystem::remove_all(outside);
  }
  return 0;
}
