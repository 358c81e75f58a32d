#include "core/text.h"

#include <fmt/format.h>

#include <cstddef>

namespace lra {
namespace {

/// Bytes of the UTF-8 character at the front of `text`; 0 if it is none (cut short, overlong, a surrogate, above
/// U+10FFFF).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0), second = byte(1);
  const auto continues = [&](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool valid =
        continues(1) && continues(2) && !(first == 0xE0 && second < 0xA0) && !(first == 0xED && second > 0x9F);
    return valid ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool valid = continues(1) && continues(2) && continues(3) && !(first == 0xF0 && second < 0x90) &&
                       !(first == 0xF4 && second > 0x8F);
    return valid ? 4 : 0;
  }
  return 0;
}

/// U+0080 to U+009F are control characters too, and U+202A to U+202E and U+2066 to U+2069 turn the direction of
/// writing.
bool is_control(std::string_view character) {
  if (character.size() == 1) return static_cast<unsigned char>(character[0]) < 0x20 || character[0] == 0x7F;
  if (character.size() == 2) return character[0] == '\xC2' && static_cast<unsigned char>(character[1]) < 0xA0;
  if (character.size() != 3 || character[0] != '\xE2') return false;
  const auto third = static_cast<unsigned char>(character[2]);
  return (character[1] == '\x80' && third >= 0xAA && third <= 0xAE) ||
         (character[1] == '\x81' && third >= 0xA6 && third <= 0xA9);
}

/// `text` with every byte as \xNN that is part of no UTF-8, or of a control character if they are to be escaped.
std::string escaped(std::string_view text, bool controls_too) {
  std::string shown;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const std::string_view character = text.substr(0, length == 0 ? 1 : length);
    if (controls_too && character == "\n") {
      shown += "\\n";
    } else if (controls_too && character == "\t") {
      shown += "\\t";
    } else if (length == 0 || (controls_too && is_control(character))) {
      for (const char byte : character) shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    } else {
      shown += character;
    }
    text.remove_prefix(character.size());
  }
  return shown;
}

}  // namespace

std::string printable(std::string_view text) { return escaped(text, true); }

std::string valid_utf8(std::string_view text) { return escaped(text, false); }

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string shell_word(const std::string& text) {
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:";
  if (!text.empty() && text.find_first_not_of(plain) == std::string::npos) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

}  // namespace lra
