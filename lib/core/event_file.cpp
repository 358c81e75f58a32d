#include "core/event_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>

#include "core/error.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr auto crc_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = rest >> 1 ^ ((rest & 1) != 0 ? 0x82f63b78 : 0);
    table[byte] = rest;
  }
  return table;
}();

/// The lowest `count` bytes, the lowest first.
std::string fixed(std::uint64_t value, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(value >> 8 * i & 0xff);
  return bytes;
}

// Protocol buffers: a field is a key (its number << 3 | its wire type) and a value. All numbers here are below 16, so a
// key is one byte.
std::string key(int number, int wire_type) { return {static_cast<char>(number << 3 | wire_type)}; }

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string int64_field(int number, std::int64_t value) {
  return key(number, 0) + varint(static_cast<std::uint64_t>(value));
}
std::string double_field(int number, double value) {
  return key(number, 1) + fixed(std::bit_cast<std::uint64_t>(value), 8);
}
std::string float_field(int number, float value) {
  return key(number, 5) + fixed(std::bit_cast<std::uint32_t>(value), 4);
}
std::string bytes_field(int number, std::string_view bytes) {
  return key(number, 2) + varint(bytes.size()).append(bytes);
}

// Field numbers of tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.
std::string wall_time() {
  return double_field(1, std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count());
}
std::string version_event() { return wall_time() + bytes_field(3, "brain.Event:2"); }

std::string event_of(const Json& line) {
  const auto split = line.at("split").get<std::string>();
  std::string summary;
  for (const auto& [name, value] : line.items()) {
    if (name == "step" || !value.is_number()) continue;
    summary += bytes_field(1, bytes_field(1, split + "/" + name) + float_field(2, value.get<float>()));
  }
  return wall_time() + int64_field(2, line.at("step").get<std::int64_t>()) + bytes_field(5, summary);
}

/// A TFRecord: the length, its checksum, the data, its checksum. Checksums are masked as TFRecords have them.
std::string record(std::string_view data) {
  const auto checksum = [](std::string_view bytes) { return fixed(std::rotr(crc32c(bytes), 15) + 0xa282ead8, 4); };
  const std::string length = fixed(data.size(), 8);
  return (length + checksum(length)).append(data) + checksum(data);
}

/// Of the record at the beginning of `bytes`; 0 if there is no whole and sound one.
std::size_t record_size(std::string_view bytes) {
  constexpr std::size_t frame = 16;
  if (bytes.size() < frame) return 0;
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(bytes[i]);
  if (length > bytes.size() - frame || bytes.substr(0, frame + length) != record(bytes.substr(12, length))) return 0;
  return frame + length;
}

std::string_view take_line(std::string_view& lines) {
  const std::string_view line = lines.substr(0, lines.find('\n'));
  lines.remove_prefix(std::min(line.size() + 1, lines.size()));
  return line;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t rest = 0xffffffff;
  for (const char byte : bytes) rest = rest >> 8 ^ crc_table[(rest ^ static_cast<unsigned char>(byte)) & 0xff];
  return ~rest;
}

EventFile::EventFile(const fs::path& file, std::string_view lines) : file_(file) {
  const std::string bytes = !lines.empty() && fs::exists(file) ? read_file(file) : "";
  std::size_t kept = record_size(bytes);  // the version
  while (kept > 0 && !lines.empty()) {
    const std::size_t size = record_size(std::string_view(bytes).substr(kept));
    if (size == 0) break;
    kept += size;
    take_line(lines);
  }
  // In place: a resumed run writes the same lengths again, so a TensorBoard that has the file open reads on.
  std::error_code code;
  if (fs::exists(file)) fs::resize_file(file, kept, code);
  out_.open(file, std::ios::app | std::ios::binary);
  if (code || !out_)
    throw Error(fmt::format("{}: cannot be written ({})", file.string(), code ? code.message() : std::strerror(errno)));
  if (kept == 0) write(version_event());
  while (!lines.empty()) add(parse_json(take_line(lines), (file.parent_path() / "metrics.jsonl").string()));
}

void EventFile::add(const Json& line) { write(event_of(line)); }

void EventFile::write(std::string_view event) {
  out_ << record(event) << std::flush;
  if (!out_)
    throw Error(fmt::format("{}: writing failed ({})", file_.string(), std::strerror(errno)),
                "check the free space there");
}

}  // namespace lra
