#include "data/png.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const int side : {2, 32}) {
    allow_errors([&] {
      const auto pixels = lra::read_png_grey(text_of(data, size), "a file", side, side);
      if (pixels.size() != static_cast<std::size_t>(side * side)) std::abort();
      const auto again = lra::read_png_grey(lra::png_grey(pixels.data(), side, side), "ours", side, side);
      if (again != pixels) std::abort();
    });
  }
  return 0;
}
