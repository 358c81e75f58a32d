#include "data/aan.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const MemoryFile file(text_of(data, size));
  allow_errors([&] {
    lra::read_aan(file.path(), [](std::int32_t label, std::string_view first, std::string_view second) {
      const std::string copy = std::string(first) + std::string(second);
      if ((label != 0 && label != 1) || copy.size() > 20'000 || copy.find('\n') != std::string::npos) std::abort();
    });
  });
  return 0;
}
