#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lra {

/// Hands out the lines of a file, without LF or CRLF. A last line without a line end counts as one.
class LineReader {
 public:
  /// Opens `file`; a line of more than `longest_line` bytes will be an Error. Throws Error.
  LineReader(const std::filesystem::path& file, std::size_t longest_line);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  std::size_t file_size() const { return file_size_; }

  /// The next line, valid until the next call; *(line.end()) may be read and is '\n' or '\r'. False at the end of the
  /// file. Throws Error "FILE:LINE: ..." for a line that is too long, without holding the whole of it.
  bool next(std::string_view& line);

  /// Throws Error "FILE:LINE: message" about the line that the last call of next() gave or looked for; the first is
  /// line 1.
  [[noreturn]] void fail(const std::string& message) const;

 private:
  const char* find_newline(std::size_t from) const;
  void fill();
  void check_length(std::size_t length, std::size_t longest) const;
  [[noreturn]] void fail_to_read() const;

  std::filesystem::path file_;
  std::size_t longest_line_;
  int descriptor_;
  std::size_t file_size_ = 0;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  std::size_t line_number_ = 0;
  bool at_end_ = false;
};

}  // namespace lra
