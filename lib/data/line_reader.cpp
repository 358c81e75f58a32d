#include "data/line_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace lra {

LineReader::LineReader(const std::filesystem::path& file, std::size_t longest_line)
    : file_(file), longest_line_(longest_line), descriptor_(::open(file.c_str(), O_RDONLY | O_CLOEXEC)) {
  struct stat facts{};
  if (descriptor_ < 0 || ::fstat(descriptor_, &facts) != 0) fail_to_read();
  file_size_ = static_cast<std::size_t>(facts.st_size);
  buffer_.resize(std::clamp<std::size_t>(file_size_ + 2, 1 << 16, 4 << 20));
}

LineReader::~LineReader() { ::close(descriptor_); }

bool LineReader::next(std::string_view& line) {
  ++line_number_;
  const char* end = find_newline(begin_);
  while (end == nullptr && !at_end_) {
    const std::size_t searched = end_ - begin_;
    check_length(searched, longest_line_ + 1);  // the last byte may be the CR of a CRLF
    fill();
    end = find_newline(begin_ + searched);
  }
  if (end == nullptr) {
    if (begin_ == end_) return false;
    buffer_[end_++] = '\n';  // fill() leaves room for it
    end = &buffer_[end_ - 1];
  }
  const char* start = &buffer_[begin_];
  begin_ = static_cast<std::size_t>(end - buffer_.data()) + 1;
  line = {start, static_cast<std::size_t>(end - start)};
  if (line.ends_with('\r')) line.remove_suffix(1);
  check_length(line.size(), longest_line_);
  return true;
}

void LineReader::fail(const std::string& message) const {
  throw Error(fmt::format("{}:{}: {}", file_.string(), line_number_, message));
}

const char* LineReader::find_newline(std::size_t from) const {
  return from == end_ ? nullptr : static_cast<const char*>(std::memchr(&buffer_[from], '\n', end_ - from));
}

void LineReader::fill() {
  std::memmove(buffer_.data(), &buffer_[begin_], end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  if (end_ >= buffer_.size() / 2) buffer_.resize(2 * buffer_.size());
  ssize_t count = 0;
  do count = ::read(descriptor_, &buffer_[end_], buffer_.size() - end_ - 1);
  while (count < 0 && errno == EINTR);
  if (count < 0) fail_to_read();
  end_ += static_cast<std::size_t>(count);
  at_end_ = count == 0;
}

void LineReader::check_length(std::size_t length, std::size_t longest) const {
  if (length > longest) fail(fmt::format("expected a line of at most {} bytes, found a longer one", longest_line_));
}

void LineReader::fail_to_read() const {
  throw Error(fmt::format("{}: cannot be read ({})", file_.string(), std::strerror(errno)));
}

}  // namespace lra
