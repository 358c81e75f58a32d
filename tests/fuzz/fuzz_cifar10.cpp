#include "data/cifar10.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // As it is, and as whole records, which few inputs are.
  std::string records(text_of(data, size));
  records.resize((size / 3073 + 1) * 3073);
  for (const std::string_view content : {text_of(data, size), std::string_view(records)}) {
    const MemoryFile file(content);
    allow_errors([&] {
      lra::read_cifar10_batch(file.path(), [](std::int32_t label, std::string_view grey, std::string_view second) {
        if (label < 0 || label > 9 || std::string(grey).size() != 1024 || !second.empty()) std::abort();
      });
    });
  }
  return 0;
}
