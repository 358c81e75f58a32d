#include "data/listops.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const MemoryFile file("Source\tTarget\n" + std::string(text_of(data, size)));
  allow_errors([&] {
    const auto examples = lra::read_listops(file.path(), 100, 0);
    for (std::size_t i = 0; i < examples->size(); ++i)
      allow_errors([&] { lra::evaluate_listops(examples->tokens(i)); });
  });
  const MemoryFile without_header(text_of(data, size));
  allow_errors([&] { lra::read_listops(without_header.path(), 100, 1); });
  return 0;
}
