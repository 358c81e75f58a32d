#include <sys/resource.h>

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "core/data_files.h"
#include "core/json_file.h"
#include "data/line_reader.h"
#include "data/listops.h"
#include "data/random.h"

using namespace lra;

namespace {

std::vector<std::string> lines_of(const std::filesystem::path& file, std::size_t longest = 1 << 30) {
  LineReader reader(file, longest);
  std::vector<std::string> lines;
  for (std::string_view line; reader.next(line);) {
    const char behind = *(line.data() + line.size());
    CHECK((behind == '\n' || behind == '\r'));
    lines.emplace_back(line);
  }
  std::string_view line;
  CHECK_FALSE(reader.next(line));
  return lines;
}

}  // namespace

TEST_CASE("LineReader: LF, CRLF, empty lines, a last line without an end, NUL bytes", "[line_reader]") {
  const TestFolder folder("lines");
  const auto file = folder.path / "x.txt";
  const auto lines = [&](std::string_view text) {
    write_file_atomically(file, text);
    return lines_of(file);
  };
  CHECK(lines("").empty());
  CHECK(lines("\n") == std::vector<std::string>{""});
  CHECK(lines("a\nb") == std::vector<std::string>{"a", "b"});
  CHECK(lines("a\r\n\r\nb\r\n") == std::vector<std::string>{"a", "", "b"});
  CHECK(lines("a\rb\n\nc\r") == std::vector<std::string>{"a\rb", "", "c"});
  CHECK(lines({"a\0b\n", 4}) == std::vector<std::string>{std::string("a\0b", 3)});
}

TEST_CASE("LineReader: lines of any length, across the ends of its buffer", "[line_reader]") {
  const TestFolder folder("long_lines");
  Random random(3, 0);
  std::vector<std::string> expected;
  std::string text;
  const auto add = [&](std::size_t length) {
    std::string line(length, ' ');
    for (char& c : line) c = static_cast<char>('a' + random.below(26));
    text += line + (random.below(2) == 0 ? "\r\n" : "\n");
    expected.push_back(std::move(line));
  };
  for (int i = 0; i < 2000; ++i) add(random.below(8000));
  for (const std::size_t length : {9'000'000, 0, 4 << 20, 1, (4 << 20) - 2}) add(length);
  for (int i = 0; i < 200; ++i) add(random.below(8000));
  write_file_atomically(folder.path / "x.txt", text);
  CHECK((lines_of(folder.path / "x.txt") == expected));
}

TEST_CASE("LineReader: a line may have the longest length and not one byte more", "[line_reader]") {
  const TestFolder folder("longest_line");
  const auto file = folder.path / "x.txt";
  for (const std::size_t longest : {std::size_t{1}, std::size_t{100}, std::size_t{70'000}, std::size_t{1} << 20}) {
    CAPTURE(longest);
    const std::string line(longest, 'x');
    for (const char* end : {"\n", "\r\n", ""}) {
      write_file_atomically(file, "y\n" + line + end);
      CHECK((lines_of(file, longest) == std::vector<std::string>{"y", line}));
      write_file_atomically(file, "y\n" + line + "x" + end);
      CHECK(error_of([&] { lines_of(file, longest); }) ==
            file.string() + ":2: expected a line of at most " + std::to_string(longest) + " bytes, found a longer one");
    }
  }
}

TEST_CASE("LineReader: the longest line with its CR at the end of the buffer", "[line_reader]") {
  const TestFolder folder("buffer_end");
  const std::string line((4 << 20) - 2, 'x');  // the first read takes 4 MiB less one byte
  write_file_atomically(folder.path / "x.txt", line + "\r\nz");
  CHECK((lines_of(folder.path / "x.txt", line.size()) == std::vector<std::string>{line, "z"}));
}

TEST_CASE("LineReader: a line that is far too long is not held in memory", "[line_reader]") {
  const TestFolder folder("huge_line");
  write_file_atomically(folder.path / "x.txt", "");
  std::filesystem::resize_file(folder.path / "x.txt", std::uintmax_t{512} << 20);  // all zeros, no blocks on the disk
  struct rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  CHECK(error_of([&] {
          lines_of(folder.path / "x.txt", 1 << 20);
        }).ends_with(":1: expected a line of at most 1048576 bytes, found a longer one"));
  ::getrusage(RUSAGE_SELF, &after);
  CHECK(after.ru_maxrss - before.ru_maxrss < 64 << 10);  // KiB
}

TEST_CASE("LineReader: a file that is missing or a folder is an error that names it", "[line_reader]") {
  const TestFolder folder("no_lines");
  CHECK(error_of([&] { lines_of(folder.path / "none"); }) ==
        (folder.path / "none").string() + ": cannot be read (No such file or directory)");
  CHECK(error_of([&] { lines_of(folder.path); }) == folder.path.string() + ": cannot be read (Is a directory)");
}

TEST_CASE("ListOps: ten megabytes without a newline are refused after the longest line, other bytes are shown as \\xNN",
          "[listops][line_reader]") {
  const TestFolder folder("listops_lines");
  const auto file = folder.path / "x.tsv";
  const auto error = [&](const std::string& text) {
    write_file_atomically(file, "Source\tTarget\n1\t1\n" + text);
    return error_of([&] { read_listops(file, 2000, 0); });
  };
  CHECK(error(std::string(10'000'000, '1')) ==
        file.string() + ":3: expected a line of at most 8388608 bytes, found a longer one");
  CHECK(error("\xff\xc3 \t1\n") == file.string() +
                                       ":3: expected ( ) ] [MIN [MAX [MED [SM or a digit, separated by single spaces, "
                                       "found '\\xff\\xc3' in column 1");
}
