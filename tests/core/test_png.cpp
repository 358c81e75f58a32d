#include <unistd.h>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json_file.h"
#include "data/png.h"

using namespace lra;

namespace {

std::string fixture(const std::string& name) {
  return read_file(std::filesystem::path(LRA_SOURCE_DIR) / "tests/fixtures/png" / name);
}

std::string error_of(const std::string& bytes, int width, int height) {
  try {
    read_png_grey(bytes, "x.png", width, height);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("PNG: grey pixels of another program, with all its filters", "[png]") {
  const std::vector<std::uint8_t> pixels = read_png_grey(fixture("grey.png"), "grey.png", 6, 10);
  REQUIRE(pixels.size() == 60);
  for (std::size_t y = 0; y < 10; ++y) {
    for (std::size_t x = 0; x < 6; ++x) CHECK(pixels[y * 6 + x] == (7 * y + 13 * x) % 256);
  }
}

TEST_CASE("PNG: what is written is read again, and the same pixels give the same bytes", "[png]") {
  for (const auto& [width, height] : {std::pair(1, 1), {7, 3}, {128, 128}}) {
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width * height));
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * i * 31 >> 3);
    const std::string file = png_grey(pixels.data(), width, height);
    CHECK(read_png_grey(file, "x", width, height) == pixels);
    CHECK(png_grey(pixels.data(), width, height) == file);
  }
}

TEST_CASE("PNG: other kinds of pictures are refused in one sentence", "[png]") {
  const std::string expected = "x.png: expected a PNG of 4 x 3 pixels, 8-bit grey, not interlaced, found ";
  CHECK(error_of(fixture("grey.png"), 4, 3) == expected + "6 x 10 pixels, 8-bit grey, not interlaced");
  CHECK(error_of(fixture("colour.png"), 4, 3) == expected + "4 x 3 pixels, 8-bit colour, not interlaced");
  CHECK(error_of(fixture("grey_alpha.png"), 4, 3) == expected + "4 x 3 pixels, 8-bit grey with alpha, not interlaced");
  CHECK(error_of(fixture("grey16.png"), 4, 3) == expected + "4 x 3 pixels, 16-bit grey, not interlaced");
  CHECK(error_of(fixture("grey1.png"), 4, 3) == expected + "8 x 3 pixels, 1-bit grey, not interlaced");
  CHECK(error_of(fixture("palette.png"), 4, 3) == expected + "4 x 3 pixels, 8-bit palette, not interlaced");
  CHECK(error_of(fixture("interlaced.png"), 4, 3) == expected + "1 x 1 pixels, 8-bit grey, interlaced");
}

TEST_CASE("PNG: a file that is cut short anywhere or damaged anywhere is an error, and nothing is printed", "[png]") {
  // libpng would print to standard error.
  std::FILE* printed = std::tmpfile();
  const int kept = ::dup(2);
  std::fflush(stderr);
  ::dup2(::fileno(printed), 2);
  const std::string file = fixture("grey.png");
  std::vector<std::string> read;
  for (std::size_t size = 0; size < file.size(); ++size) {
    const std::string error = error_of(file.substr(0, size), 6, 10);
    if (!error.starts_with("x.png: not a sound PNG file ("))
      read.push_back("cut to " + std::to_string(size) + ": " + error);
  }
  for (std::size_t i = 0; i < file.size(); ++i) {
    std::string damaged = file;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    const std::string error = error_of(damaged, 6, 10);
    if (error.find('\n') != std::string::npos || !error.starts_with("x.png: "))
      read.push_back("byte " + std::to_string(i) + ": " + error);
  }
  std::fflush(stderr);
  ::dup2(kept, 2);
  ::close(kept);
  const long length = (std::fseek(printed, 0, SEEK_END), std::ftell(printed));
  std::fclose(printed);
  CHECK(read == std::vector<std::string>{});
  CHECK(length == 0);
  CHECK(error_of("no picture at all", 6, 10) == "x.png: not a sound PNG file (Not a PNG file)");
}
