#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "core/json_file.h"
#include "core/sha256.h"
#include "data/dataset.h"
#include "data/mapped_file.h"

/// The cache that `lra-run data prepare` writes: all examples of a split in one file. It is mapped into memory, so a
/// split may be larger than the machine's memory. Little-endian. "LRAPACK1", the bytes of all sequences, zeros up to a
/// multiple of 8, then for each sequence where it begins (uint64) and its length (uint64), for each example its label
/// (int32), zeros up to a multiple of 8, and at the end the number of examples, of sequences of an example (1 or 2) and
/// of bytes (uint64 each) and "LRAPACK1" again.
namespace lra {

class PackedWriter {
 public:
  /// Writes to a temporary file beside `file`. Throws Error.
  PackedWriter(std::filesystem::path file, std::size_t sequences);
  /// Removes the temporary file, unless finish() was called.
  ~PackedWriter();
  PackedWriter(const PackedWriter&) = delete;
  PackedWriter& operator=(const PackedWriter&) = delete;

  void add(std::int32_t label, std::string_view first, std::string_view second = {});
  std::size_t size() const { return labels_.size(); }

  /// Shuffles the examples by `seed` (so that the first n are a fair sample), syncs the file and gives it its name.
  /// Returns the manifest's entry
  /// {"file", "bytes", "sha256", "examples"}. Throws Error.
  Json finish(std::uint64_t seed);

 private:
  struct Place {
    std::uint64_t begin, length;
  };
  void write(const void* data, std::size_t bytes);
  void append(std::string_view sequence);

  const std::filesystem::path file_;
  const std::size_t sequences_;
  std::ofstream out_;
  Sha256 hash_;
  std::uint64_t written_ = 0;
  std::vector<Place> places_;
  std::vector<std::int32_t> labels_;
};

/// How the bytes of a packed file become tokens.
struct PackedView {
  std::int64_t seq_len = 0;      ///< each sequence keeps its first seq_len bytes; 0: all
  std::int32_t first_id = 0;     ///< the token id of byte 0
  std::int64_t num_classes = 0;  ///< labels must be below it
  std::int64_t limit = 0;        ///< only the first `limit` examples; 0: all
};

class PackedDataset : public Dataset {
 public:
  /// Throws Error for a file that is not there, is damaged, or has a label that is no class.
  PackedDataset(const std::filesystem::path& file, const PackedView& view);
  std::size_t size() const override { return size_; }
  /// An empty sequence becomes one token 0, since a batch cannot hold a sequence without tokens. Throws DataLost if the
  /// file was changed since it was opened.
  Example get(std::size_t index) const override;
  std::int64_t length(std::size_t index) const override;
  std::int32_t label(std::size_t index) const override;
  double cut_share() const override;

  std::size_t sequences() const { return sequences_; }
  /// Examples in the file, whatever the limit.
  std::size_t examples_in_file() const { return examples_; }
  /// The whole sequence as it is stored.
  std::string_view bytes(std::size_t index, std::size_t sequence) const;

 private:
  std::string_view cut(std::size_t index, std::size_t sequence) const {
    return bytes(index, sequence).substr(0, longest_);
  }

  MappedFile file_;
  std::int32_t first_id_;
  std::size_t longest_, size_ = 0, examples_ = 0, sequences_ = 1;
  const char* data_;
  // Copies: a file that is changed under a run must not lead it outside of the mapping.
  std::vector<std::uint64_t> places_;
  std::vector<std::int32_t> labels_;
};

}  // namespace lra
