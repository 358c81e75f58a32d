#pragma once

#include <string>
#include <string_view>

namespace lra {

/// `text` for a terminal: what would move its cursor, change its colours or begin a new line is written as \n, \t or
/// \xNN; so are bytes that are not UTF-8. Text from files and from the command line passes through here before it is
/// shown.
std::string printable(std::string_view text);

/// `text` with bytes that are not UTF-8 written as \xNN, for JSON, which can hold nothing else.
std::string valid_utf8(std::string_view text);

/// Up to the first line break. LibTorch's messages go on with where in its code they come from.
std::string first_line(const std::string& text);

/// `text` as one word of a POSIX shell, quoted where it needs it.
std::string shell_word(const std::string& text);

}  // namespace lra
