#include "data/png.h"

#include <fmt/format.h>
#include <png.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "core/error.h"

namespace lra {
namespace {

// libpng reports an error by longjmp. The functions that it may leave so (decode, encode) have no local variables: all
// they need is in these structs, which live in their callers and clean up there.

struct Problem {
  std::array<char, 160> text{};
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto& problem = *static_cast<Problem*>(png_get_error_ptr(png));
  std::snprintf(problem.text.data(), problem.text.size(), "%s", message);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

struct Decoder {
  std::string_view rest;
  std::uint8_t* pixels = nullptr;
  std::uint32_t width = 0, height = 0, row = 0;  // row: the next one to be read
  std::uint32_t found_width = 0, found_height = 0;
  int depth = 0, colour = 0, interlacing = 0;
  bool fits = true;
  Problem problem;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &problem, on_error, on_warning);
  png_infop info = png_create_info_struct(png);

  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }
};

void take(png_structp png, png_bytep bytes, std::size_t count) {
  auto& decoder = *static_cast<Decoder*>(png_get_io_ptr(png));
  if (count > decoder.rest.size()) png_error(png, "the file ends too early");
  std::memcpy(bytes, decoder.rest.data(), count);
  decoder.rest.remove_prefix(count);
}

bool decode(Decoder& d) {
  if (setjmp(png_jmpbuf(d.png)) != 0) return false;
  png_set_crc_action(d.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_benign_errors(d.png, 0);
  png_set_read_fn(d.png, &d, take);
  png_read_info(d.png, d.info);
  png_get_IHDR(d.png, d.info, &d.found_width, &d.found_height, &d.depth, &d.colour, &d.interlacing, nullptr, nullptr);
  d.fits = d.found_width == d.width && d.found_height == d.height && d.depth == 8 && d.colour == PNG_COLOR_TYPE_GRAY &&
           d.interlacing == PNG_INTERLACE_NONE;
  if (!d.fits) return true;
  for (; d.row < d.height; ++d.row) png_read_row(d.png, d.pixels + std::size_t{d.row} * d.width, nullptr);
  png_read_end(d.png, nullptr);
  return true;
}

struct Encoder {
  std::string file;
  const std::uint8_t* pixels = nullptr;
  std::uint32_t width = 0, height = 0, row = 0;
  Problem problem;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &problem, on_error, on_warning);
  png_infop info = png_create_info_struct(png);

  ~Encoder() { png_destroy_write_struct(&png, &info); }
};

void give(png_structp png, png_bytep bytes, std::size_t count) {
  static_cast<Encoder*>(png_get_io_ptr(png))->file.append(reinterpret_cast<const char*>(bytes), count);
}

bool encode(Encoder& e) {
  if (setjmp(png_jmpbuf(e.png)) != 0) return false;
  png_set_write_fn(e.png, &e, give, nullptr);
  png_set_compression_level(e.png, 1);
  png_set_filter(e.png, PNG_FILTER_TYPE_BASE,
                 PNG_FILTER_NONE);  // these pictures are mostly zeros: filters make them larger
  png_set_IHDR(e.png, e.info, e.width, e.height, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(e.png, e.info);
  for (; e.row < e.height; ++e.row) png_write_row(e.png, e.pixels + std::size_t{e.row} * e.width);
  png_write_end(e.png, nullptr);
  return true;
}

const char* colour_name(int colour) {
  switch (colour) {
    case PNG_COLOR_TYPE_GRAY:
      return "grey";
    case PNG_COLOR_TYPE_GRAY_ALPHA:
      return "grey with alpha";
    case PNG_COLOR_TYPE_PALETTE:
      return "palette";
    case PNG_COLOR_TYPE_RGB:
      return "colour";
    default:
      return "colour with alpha";
  }
}

}  // namespace

std::vector<std::uint8_t> read_png_grey(std::string_view file_bytes, const std::string& name, int width, int height) {
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
  Decoder decoder;
  if (decoder.info == nullptr) throw std::bad_alloc();
  decoder.rest = file_bytes;
  decoder.pixels = pixels.data();
  decoder.width = static_cast<std::uint32_t>(width);
  decoder.height = static_cast<std::uint32_t>(height);
  if (!decode(decoder)) throw Error(fmt::format("{}: not a sound PNG file ({})", name, decoder.problem.text.data()));
  if (!decoder.fits) {
    throw Error(fmt::format(
        "{}: expected a PNG of {} x {} pixels, 8-bit grey, not interlaced, found {} x {} pixels, {}-bit {}, {}", name,
        width, height, decoder.found_width, decoder.found_height, decoder.depth, colour_name(decoder.colour),
        decoder.interlacing == PNG_INTERLACE_NONE ? "not interlaced" : "interlaced"));
  }
  return pixels;
}

std::string png_grey(const std::uint8_t* pixels, int width, int height) {
  Encoder encoder;
  if (encoder.info == nullptr) throw std::bad_alloc();
  encoder.pixels = pixels;
  encoder.width = static_cast<std::uint32_t>(width);
  encoder.height = static_cast<std::uint32_t>(height);
  if (!encode(encoder))
    throw Error(fmt::format("a PNG of {} x {} pixels cannot be made ({})", width, height, encoder.problem.text.data()));
  return std::move(encoder.file);
}

}  // namespace lra
