#include <fstream>

#include "data/pathfinder.h"
#include "fuzz_input.h"

namespace {

/// A folder as the release has it, in memory.
struct Folder {
  Folder() { std::filesystem::create_directories(path / "metadata"); }
  ~Folder() { std::filesystem::remove_all(path); }
  const std::filesystem::path path = "/dev/shm/lra_fuzz_pathfinder_" + std::to_string(::getpid());
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  std::ofstream(folder.path / "metadata/1.npy", std::ios::binary) << text_of(data, size);
  allow_errors([&] {
    for (const auto& entry : lra::list_pathfinder(folder.path)) {
      if (entry.label != 0 && entry.label != 1) std::abort();
      const auto inside = entry.file.lexically_normal().lexically_relative(folder.path);
      if (inside.empty() || *inside.begin() == "..") std::abort();
    }
  });
  return 0;
}
