#include "data/cifar10.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "core/error.h"
#include "data/find_folder.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t pixels = 32 * 32;
constexpr std::size_t record_size = 1 + 3 * pixels;
constexpr const char* address = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";

/// The contribution of each value of each channel. A table, so that no compiler joins the product and the sum into one
/// rounding (FMA), which would give other bytes on some machines.
constexpr auto weighted = [] {
  std::array<std::array<float, 256>, 3> table{};
  constexpr std::array<float, 3> weights{0.2989f, 0.5870f, 0.1140f};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (std::size_t value = 0; value < 256; ++value)
      table[channel][value] = static_cast<float>(value) * (1.0f / 255) * weights[channel];
  }
  return table;
}();

/// Has `from` the version for Python: its folder, or a batch that begins as pickled data does?
bool is_python_version(const fs::path& from) {
  std::error_code unknown;
  return fs::exists(from / "cifar-10-batches-py", unknown) ||
         std::ifstream(from / "data_batch_1", std::ios::binary).get() == 0x80;
}

}  // namespace

fs::path find_cifar10(const fs::path& from) {
  const std::string hint = fmt::format("fetch and unpack {}", address);
  try {
    return find_folder(from,
                       {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                        "data_batch_5.bin", "test_batch.bin"},
                       hint);
  } catch (const Error&) {
    if (is_python_version(from)) {
      throw Error(
          fmt::format("{}: expected CIFAR-10's binary version (cifar-10-binary.tar.gz), found the one for Python",
                      from.string()),
          hint);
    }
    throw;
  }
}

std::uint8_t grey_of(std::uint8_t red, std::uint8_t green, std::uint8_t blue) {
  return static_cast<std::uint8_t>((weighted[0][red] + weighted[1][green] + weighted[2][blue]) * 255.5f);
}

void read_cifar10_batch(const fs::path& file, const ExampleSink& sink) {
  std::ifstream in(file, std::ios::binary);
  std::error_code code;
  const std::uintmax_t size = fs::file_size(file, code);
  if (!in || code)
    throw Error(fmt::format("{}: cannot be read ({})", file.string(), code ? code.message() : std::strerror(errno)));
  if (size == 0 || size % record_size != 0) {
    throw Error(
        fmt::format("{}: expected records of {} bytes, found {} bytes in all", file.string(), record_size, size),
        fmt::format("fetch it again from {}", address));
  }
  std::array<char, record_size> content{};
  std::array<char, pixels> grey{};
  for (std::size_t record = 0; record < size / record_size; ++record) {
    if (!in.read(content.data(), record_size))
      throw Error(fmt::format("{}: record {}: cannot be read", file.string(), record + 1));
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(content.data());
    if (bytes[0] > 9)
      throw Error(
          fmt::format("{}: record {}: expected a label from 0 to 9, found {}", file.string(), record + 1, bytes[0]));
    for (std::size_t i = 0; i < pixels; ++i)
      grey[i] = static_cast<char>(grey_of(bytes[1 + i], bytes[1 + pixels + i], bytes[1 + 2 * pixels + i]));
    sink(bytes[0], {grey.data(), grey.size()}, {});
  }
}

}  // namespace lra
