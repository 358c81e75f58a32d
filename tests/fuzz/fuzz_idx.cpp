#include <algorithm>

#include "data/idx.h"
#include "fuzz_input.h"

/// Two bytes that say how long the file of pictures is, that file, the file of labels.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return -1;
  const std::string_view rest = text_of(data + 2, size - 2);
  const std::size_t cut = std::min<std::size_t>(data[0] * 256u + data[1], rest.size());
  const MemoryFile images(rest.substr(0, cut)), labels(rest.substr(cut));
  allow_errors([&] {
    lra::read_idx(images.path(), labels.path(),
                  [](std::int32_t label, std::string_view picture, std::string_view second) {
                    if (label < 0 || label > 9 || std::string(picture).size() != 1024 || !second.empty()) std::abort();
                  });
  });
  return 0;
}
