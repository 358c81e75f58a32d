#include "cli/columns.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/text.h"

namespace lra {
namespace {

/// Characters, not bytes.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
}

}  // namespace

std::string columns(std::vector<std::vector<std::string>> rows, std::size_t left) {
  std::vector<std::size_t> widths;
  for (auto& row : rows) {
    widths.resize(row.size(), 0);
    for (std::size_t i = 0; i < row.size(); ++i) {
      row[i] = printable(row[i]);
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool last = i + 1 == row.size(), to_the_left = i < left || last;
      const std::size_t space = widths[i] - width_of(row[i]);
      text += fmt::format("{}{:{}}{}{:{}}", i == 0 ? "" : "  ", "", to_the_left ? 0 : space, row[i], "",
                          to_the_left && !last ? space : 0);
    }
    text.push_back('\n');
  }
  return text;
}

}  // namespace lra
