#include "data/packed.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "core/error.h"
#include "core/json_file.h"
#include "core/temporary_file.h"
#include "core/text.h"
#include "data/random.h"

static_assert(std::endian::native == std::endian::little, "packed files are read as they lie in memory");

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view magic = "LRAPACK1";
constexpr std::size_t footer_bytes = 4 * sizeof(std::uint64_t);
constexpr const char* prepare_again = "delete the folder and prepare the data again";

constexpr std::uint64_t round_up(std::uint64_t bytes) { return (bytes + 7) / 8 * 8; }

}  // namespace

PackedWriter::PackedWriter(fs::path file, std::size_t sequences) : file_(std::move(file)), sequences_(sequences) {
  std::error_code code;
  fs::create_directories(file_.parent_path(), code);
  out_.open(temporary_name(file_), std::ios::binary | std::ios::trunc);
  if (!out_)
    throw Error(fmt::format("{}: cannot be written ({})", temporary_name(file_).string(), std::strerror(errno)));
  write(magic.data(), magic.size());
}

PackedWriter::~PackedWriter() {
  if (!out_.is_open()) return;
  out_.close();
  std::error_code code;
  fs::remove(temporary_name(file_), code);
}

void PackedWriter::write(const void* data, std::size_t bytes) {
  if (bytes == 0) return;
  const std::string_view view(static_cast<const char*>(data), bytes);
  hash_.update(view);
  if (!out_.write(view.data(), static_cast<std::streamsize>(bytes))) {
    throw Error(fmt::format("{}: writing failed ({})", temporary_name(file_).string(), std::strerror(errno)),
                "is the disk full?");
  }
  written_ += bytes;
}

void PackedWriter::append(std::string_view sequence) {
  places_.push_back({written_, sequence.size()});
  write(sequence.data(), sequence.size());
}

void PackedWriter::add(std::int32_t label, std::string_view first, std::string_view second) {
  append(first);
  if (sequences_ == 2) append(second);
  labels_.push_back(label);
}

Json PackedWriter::finish(std::uint64_t seed) {
  std::vector<Place> places(places_.size());
  std::vector<std::int32_t> labels(labels_.size());
  const auto order = shuffled(labels_.size(), seed, 0);
  for (std::size_t i = 0; i < order.size(); ++i) {
    labels[i] = labels_[order[i]];
    for (std::size_t s = 0; s < sequences_; ++s) places[i * sequences_ + s] = places_[order[i] * sequences_ + s];
  }
  const std::uint64_t bytes = written_, zero = 0;
  write(&zero, round_up(written_) - written_);
  write(places.data(), places.size() * sizeof(Place));
  write(labels.data(), labels.size() * sizeof(std::int32_t));
  write(&zero, round_up(written_) - written_);
  for (const std::uint64_t number : {std::uint64_t{labels.size()}, std::uint64_t{sequences_}, bytes})
    write(&number, sizeof number);
  write(magic.data(), magic.size());
  out_.close();
  const int descriptor = ::open(temporary_name(file_).c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = out_ && descriptor >= 0 && ::fsync(descriptor) == 0;
  if (descriptor >= 0) ::close(descriptor);
  if (!synced)
    throw Error(fmt::format("{}: writing failed ({})", temporary_name(file_).string(), std::strerror(errno)),
                "is the disk full?");
  fs::rename(temporary_name(file_), file_);
  sync_folder(file_.parent_path());
  return {
      {"file", file_.filename().string()}, {"bytes", written_}, {"sha256", hash_.hex()}, {"examples", labels.size()}};
}

PackedDataset::PackedDataset(const fs::path& file, const PackedView& view)
    : file_(file),
      first_id_(view.first_id),
      longest_(view.seq_len == 0 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(view.seq_len)),
      data_(file_.bytes().data()) {
  const auto damaged = [&](const std::string& what) {
    throw Error(fmt::format("{}: {}", printable(file.string()), what), prepare_again);
  };
  const std::string_view whole = file_.bytes();
  if (whole.size() < magic.size() + footer_bytes)
    damaged(fmt::format("expected a packed data set, found {} bytes that are none", whole.size()));
  std::array<std::uint64_t, 3> numbers{};
  std::memcpy(numbers.data(), data_ + whole.size() - footer_bytes, sizeof numbers);
  const auto [examples, sequences, bytes] = numbers;
  if (!whole.starts_with(magic) || !whole.ends_with(magic)) {
    damaged("expected a packed data set, which begins and ends with LRAPACK1: the file is cut off or something else");
  }
  const std::uint64_t most = whole.size();  // keeps the products below in range
  if ((sequences != 1 && sequences != 2) || examples > most || bytes > most || bytes < magic.size() ||
      round_up(round_up(bytes) + examples * (sequences * 16 + 4)) + footer_bytes != most) {
    damaged(fmt::format(
        "its last bytes name {} examples of {} sequences in {} bytes, which does not fit the file's {} bytes", examples,
        sequences, bytes, most));
  }
  sequences_ = sequences;
  const auto* const places = reinterpret_cast<const std::uint64_t*>(data_ + round_up(bytes));
  const auto* const labels = reinterpret_cast<const std::int32_t*>(places + 2 * examples * sequences);
  places_.assign(places, places + 2 * examples * sequences);
  labels_.assign(labels, labels + examples);
  for (std::size_t i = 0; i < examples * sequences; ++i) {
    if (places_[2 * i] < magic.size() || places_[2 * i] > bytes || places_[2 * i + 1] > bytes - places_[2 * i]) {
      damaged(fmt::format("example {} lies outside of the file", i / sequences));
    }
  }
  for (std::size_t i = 0; i < examples; ++i) {
    if (labels_[i] < 0 || labels_[i] >= view.num_classes) {
      damaged(fmt::format("example {} has the label {}, expected 0 to {}", i, labels_[i], view.num_classes - 1));
    }
  }
  examples_ = examples;
  size_ = view.limit > 0 ? std::min<std::size_t>(examples, static_cast<std::size_t>(view.limit)) : examples;
  file_.check();
}

double PackedDataset::cut_share() const {
  std::size_t cut = 0;
  for (std::size_t i = 0; i < size_ * sequences_; ++i) cut += places_[2 * i + 1] > longest_;
  return size_ == 0 ? 0 : static_cast<double>(cut) / static_cast<double>(size_ * sequences_);
}

std::string_view PackedDataset::bytes(std::size_t index, std::size_t sequence) const {
  const std::size_t place = 2 * (index * sequences_ + sequence);
  return {data_ + places_[place], places_[place + 1]};
}

std::int32_t PackedDataset::label(std::size_t index) const { return labels_[index]; }

std::int64_t PackedDataset::length(std::size_t index) const {
  std::size_t length = 0;
  for (std::size_t s = 0; s < sequences_; ++s) length += std::max<std::size_t>(1, cut(index, s).size());
  return static_cast<std::int64_t>(length);
}

Example PackedDataset::get(std::size_t index) const {
  Example example;
  example.label = labels_[index];
  example.tokens.reserve(static_cast<std::size_t>(length(index)));
  for (std::size_t s = 0; s < sequences_; ++s) {
    if (s == 1) example.second = static_cast<std::int64_t>(example.tokens.size());
    const std::string_view part = cut(index, s);
    for (const char byte : part) example.tokens.push_back(first_id_ + static_cast<unsigned char>(byte));
    if (part.empty()) example.tokens.push_back(0);
  }
  file_.check();
  return example;
}

}  // namespace lra
