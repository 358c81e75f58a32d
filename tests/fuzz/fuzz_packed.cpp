#include "data/packed.h"
#include "fuzz_input.h"

/// A file of the cache that `lra-run data prepare` writes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const MemoryFile file(text_of(data, size));
  allow_errors([&] {
    const lra::PackedDataset examples(file.path(), {.seq_len = 20, .first_id = 1, .num_classes = 2, .limit = 0});
    for (std::size_t i = 0; i < examples.size(); ++i) {
      const lra::Example example = examples.get(i);
      if (example.label < 0 || example.label > 1 || example.tokens.empty() ||
          static_cast<std::int64_t>(example.tokens.size()) != examples.length(i))
        std::abort();
      for (const auto token : example.tokens) {
        if (token < 0 || token > 256) std::abort();
      }
    }
  });
  return 0;
}
