#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lra {

/// The pixels, row by row, of a PNG file with 8-bit grey pixels and no interlacing. Throws Error beginning with `name`
/// for any other PNG, for another size and for a file that is cut short or damaged (every checksum counts).
std::vector<std::uint8_t> read_png_grey(std::string_view file_bytes, const std::string& name, int width, int height);

/// width x height pixels, row by row, as a PNG file, compressed for speed. The same pixels give the same bytes with the
/// same zlib; another zlib may pack them differently.
std::string png_grey(const std::uint8_t* pixels, int width, int height);

}  // namespace lra
