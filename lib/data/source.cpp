#include "data/source.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/json_file.h"
#include "core/text.h"

namespace lra {
namespace fs = std::filesystem;

std::string read_source_file(const fs::path& file, std::uintmax_t largest) {
  std::error_code code;
  if (const auto size = fs::file_size(file, code); !code && size > largest) {
    throw Error(fmt::format("{}: expected at most {} bytes, found {}", printable(file.string()), largest, size));
  }
  return read_file(file);
}

}  // namespace lra
