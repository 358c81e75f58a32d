#include "data/idx.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "data/find_folder.h"
#include "data/gzip_file.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t side = 28, padded_side = 32, margin = (padded_side - side) / 2;
constexpr std::uint32_t images_magic = 0x803, labels_magic = 0x801;  // unsigned bytes in three dimensions, in one

/// One IDX file, read in order.
class IdxFile {
 public:
  explicit IdxFile(const fs::path& file) : file_(file), content_(file) {}

  void read(char* to, std::size_t size, const char* what) {
    const std::size_t found = content_.read(to, size);
    if (found < size)
      fail(position_, fmt::format("expected {}, found the end of the file after {} of {} bytes", what, found, size));
    position_ += size;
  }

  /// A big-endian integer.
  std::uint32_t read_integer(const char* what) {
    std::array<char, 4> bytes{};
    read(bytes.data(), bytes.size(), what);
    std::uint32_t value = 0;
    for (const char byte : bytes) value = value << 8 | static_cast<std::uint8_t>(byte);
    return value;
  }

  void expect_integer(std::uint32_t expected, const char* what) {
    const std::uint32_t found = read_integer(what);
    if (found != expected) fail(position_ - 4, fmt::format("expected {} {}, found {}", what, expected, found));
  }

  void expect_end() {
    char next = 0;
    if (content_.read(&next, 1) != 0) fail(position_, "expected the end of the file, found more bytes");
  }

  std::uint64_t position() const { return position_; }

  [[noreturn]] void fail(std::uint64_t position, const std::string& message) const {
    throw Error(fmt::format("{}: byte {}: {}", file_.string(), position, message));
  }

 private:
  fs::path file_;
  GzipFile content_;
  std::uint64_t position_ = 0;
};

}  // namespace

fs::path find_fashion_mnist(const fs::path& from) {
  const fs::path folder = from.empty() ? "/usr/share/datasets/fashion-mnist" : from;
  const std::vector<std::string> names{"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                                       "t10k-labels-idx1-ubyte"};
  for (const char* ending : {"", ".gz"}) {
    std::vector<std::string> files;
    for (const auto& name : names) files.push_back(name + ending);
    try {
      return find_folder(folder, files, "");
    } catch (const Error&) {  // the last lines say what is missing
    }
  }
  for (const auto& name : names) idx_file(folder, name);
  return folder;
}

fs::path idx_file(const fs::path& folder, const std::string& name) {
  std::error_code unknown;
  for (const fs::path& file : {folder / name, folder / (name + ".gz")}) {
    if (fs::exists(file, unknown)) return file;
  }
  throw Error(fmt::format("{}: expected the file {}.gz or {} in it, found neither", folder.string(), name, name),
              "apt-get install dataset-fashion-mnist");
}

void read_idx(const fs::path& images_file, const fs::path& labels_file, const ExampleSink& sink) {
  IdxFile images(images_file), labels(labels_file);
  images.expect_integer(images_magic, "the magic number");
  const std::uint32_t count = images.read_integer("the number of pictures");
  if (count == 0) images.fail(4, "expected pictures, found none");
  images.expect_integer(side, "the number of rows");
  images.expect_integer(side, "the number of columns");
  labels.expect_integer(labels_magic, "the magic number");
  if (const std::uint32_t found = labels.read_integer("the number of labels"); found != count) {
    labels.fail(
        4, fmt::format("expected {} labels, as many as {} has pictures, found {}", count, images_file.string(), found));
  }
  std::array<char, side * side> picture{};
  std::array<char, padded_side * padded_side> padded{};
  for (std::uint32_t i = 0; i < count; ++i) {
    images.read(picture.data(), picture.size(), "a picture");
    char label = 0;
    labels.read(&label, 1, "a label");
    if (static_cast<std::uint8_t>(label) > 9) {
      labels.fail(labels.position() - 1,
                  fmt::format("expected a label from 0 to 9, found {}", static_cast<std::uint8_t>(label)));
    }
    for (std::size_t row = 0; row < side; ++row)
      std::memcpy(&padded[(row + margin) * padded_side + margin], &picture[row * side], side);
    sink(label, {padded.data(), padded.size()}, {});
  }
  images.expect_end();
  labels.expect_end();
}

}  // namespace lra
