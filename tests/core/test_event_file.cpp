#include "core/event_file.h"

#include <sys/resource.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <string>
#include <vector>

#include "core/data_files.h"

namespace fs = std::filesystem;
using namespace lra;

namespace {

const std::vector<std::string> metrics{
    R"({"step": 3, "split": "train", "loss": 2.25, "accuracy": 0.125, "peak_tensor_bytes": 467000000})"
    "\n",
    R"({"step": 3, "split": "valid", "loss": 2.5, "accuracy": 0.25, "peak_tensor_bytes": 1000})"
    "\n",
    R"({"step": 300, "split": "train", "loss": 1.75, "accuracy": 0.5, "peak_tensor_bytes": 467000000})"
    "\n",
    R"({"step": 300, "split": "valid", "loss": 0.5})"
    "\n"};

std::string first(std::size_t lines) {
  std::string text;
  for (std::size_t i = 0; i < lines; ++i) text += metrics[i];
  return text;
}

/// The records' data without the first field, the time.
std::vector<std::string> events_of(const fs::path& file) {
  const std::string bytes = read_file(file);
  std::vector<std::string> events;
  std::size_t at = 0;
  while (at < bytes.size()) {
    const auto length = static_cast<unsigned char>(bytes[at]) + 256u * static_cast<unsigned char>(bytes[at + 1]);
    REQUIRE(at + length + 16 <= bytes.size());
    CHECK(bytes[at + 12] == '\x09');
    events.push_back(bytes.substr(at + 21, length - 9));
    at += length + 16;
  }
  return events;
}

}  // namespace

TEST_CASE("CRC-32C gives the published check values", "[event_file]") {
  CHECK(crc32c("123456789") == 0xe3069283);
  // RFC 3720, B.4.
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aa);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43);
  std::string ascending;
  for (char byte = 0; byte < 32; ++byte) ascending += byte;
  CHECK(crc32c(ascending) == 0x46dd794e);
  CHECK(crc32c(std::string(ascending.rbegin(), ascending.rend())) == 0x113fdb5c);
}

TEST_CASE("an event file has a version and an event for each line", "[event_file]") {
  const TestFolder folder("event_file");
  const fs::path file = folder.path / "events.out.tfevents.lra";
  EventFile events(file, "");
  for (const std::string& line : metrics) events.add(parse_json(line, "a line"));
  // Every event file of TensorFlow begins so.
  CHECK(read_file(file).substr(0, 12) == std::string("\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22", 12));
  const auto written = events_of(file);
  REQUIRE(written.size() == 1 + metrics.size());
  CHECK(written.front() ==
        "\x1a\x0d"
        "brain.Event:2");
  CHECK(written.back() == std::string("\x10\xac\x02"
                                      "\x2a\x13"
                                      "\x0a\x11"
                                      "\x0a\x0avalid/loss"
                                      "\x15\0\0\0\x3f",
                                      24));
  CHECK(written[1].find("train/accuracy") != std::string::npos);
  CHECK(written[1].find("train/peak_tensor_bytes") != std::string::npos);
  CHECK(written[1].find("train/step") == std::string::npos);
}

TEST_CASE("a resumed run's event file is cut to the retained lines, byte for byte", "[event_file]") {
  const TestFolder folder("event_file");
  const fs::path file = folder.path / "events.out.tfevents.lra";
  std::vector<std::string> after;  // so many lines
  {
    EventFile events(file, "");
    for (const std::string& line : metrics) {
      after.push_back(read_file(file));
      events.add(parse_json(line, "a line"));
    }
  }
  const std::string whole = read_file(file);
  for (std::size_t kept = 1; kept < metrics.size(); ++kept) {
    write_file_atomically(file, whole);
    EventFile events(file, first(kept));
    CHECK((read_file(file) == after[kept]));  // not shown: it is binary
    for (std::size_t line = kept; line < metrics.size(); ++line) events.add(parse_json(metrics[line], "a line"));
    CHECK(read_file(file).size() == whole.size());
  }
  // A run that starts anew keeps nothing, not even the old version's time.
  EventFile(file, "");
  CHECK(events_of(file).size() == 1);
  CHECK((read_file(file) != after[0]));
}

TEST_CASE("events that are missing or damaged are made anew of the retained lines", "[event_file]") {
  const TestFolder folder("event_file");
  const fs::path file = folder.path / "events.out.tfevents.lra";
  EventFile(file, first(4));  // there is no file
  const std::string whole = read_file(file);
  const auto expected = events_of(file);
  REQUIRE(expected.size() == 5);
  const std::size_t version_and_one = 16 + 24 + 16 + static_cast<unsigned char>(whole[40]);
  for (std::size_t place = 0; place < whole.size(); ++place) {
    std::string flipped = whole;
    flipped[place] = static_cast<char>(flipped[place] ^ 0x10);
    for (const std::string& damaged : {whole.substr(0, place), flipped}) {
      write_file_atomically(file, damaged);
      EventFile(file, first(4));
      REQUIRE((events_of(file) == expected));
      REQUIRE((place < version_and_one || read_file(file).starts_with(whole.substr(0, version_and_one))));
    }
  }
}

TEST_CASE("an event file that cannot be written is an error that names it", "[event_file]") {
  const TestFolder folder("event_file");
  CHECK(error_of([&] { EventFile(folder.path / "none" / "events.out.tfevents.lra", ""); }) ==
        folder.path.string() + "/none/events.out.tfevents.lra: cannot be written (No such file or directory)");
  CHECK(error_of([&] { EventFile(folder.path, ""); }) == folder.path.string() + ": cannot be written (Is a directory)");
  // A full disk, as a limit on the size of files.
  const fs::path file = folder.path / "events.out.tfevents.lra";
  EventFile events(file, "");
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{60, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  const std::string message = error_of([&] { events.add(parse_json(metrics[0], "a line")); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(message == file.string() + ": writing failed (File too large)");
}
