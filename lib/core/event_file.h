#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "core/json_file.h"

namespace lra {

/// CRC-32C (Castagnoli, RFC 3720).
std::uint32_t crc32c(std::string_view bytes);

/// A TensorBoard event file of a training run: TFRecords of Event messages, first the format's version, then one for
/// each line of metrics.jsonl, with the time it was written and every number of the line but `step` as a scalar
/// "<split>/<key>" in float32.
class EventFile {
 public:
  /// Keeps the events of `lines`, whole lines of metrics.jsonl, and cuts the rest. From the first one that is missing
  /// or damaged on they are made anew. Throws Error if the file cannot be written.
  EventFile(const std::filesystem::path& file, std::string_view lines);

  /// Appends the event of a line and flushes. Throws Error.
  void add(const Json& line);

 private:
  void write(std::string_view event);

  const std::filesystem::path file_;
  std::ofstream out_;
};

}  // namespace lra
