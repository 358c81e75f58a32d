#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>
#include <vector>

/// Pathfinder (Linsley et al. 2018, Kim et al. 2020) as the Long Range Arena releases it: a folder with grey pictures
/// in imgs/<batch>/ and, for each batch, a text metadata/<batch>.npy with a line a picture. The hard pictures,
/// curv_contour_length_14, are the ones to classify.
namespace lra {

struct PathfinderEntry {
  std::filesystem::path file;
  std::int32_t label = 0;  ///< 1: the two discs are connected
};

/// The folder of the hard pictures of this size: `from` itself, its curv_contour_length_14, or
/// pathfinder<size>/curv_contour_length_14 at any depth below it, as find_folder() finds it. Throws Error, also for the
/// folder of an easier version.
std::filesystem::path find_pathfinder(const std::filesystem::path& from, int size);

/// All entries of such a folder: metadata files by their number, lines in their order; columns 0 (folder), 1 (file) and
/// 3 (label) are used. The pictures are not looked at. Throws Error "FILE:LINE: ..." for a malformed line and for a
/// folder without entries.
std::vector<PathfinderEntry> list_pathfinder(const std::filesystem::path& folder);

/// Takes picture `index` of the entries: its label and its size x size bytes, row by row, which live until the call
/// returns.
using PathfinderSink = std::function<void(std::size_t index, std::int32_t label, std::string_view pixels)>;

/// Calls `sink` for the pictures in the order of the entries; `threads` of them (0: all cores) decode, a thousand
/// pictures at a time. Files of 0 bytes, of which the release has some, are left out. Returns how many. Throws Error
/// for a picture that is missing or unreadable.
std::size_t read_pathfinder(const std::vector<PathfinderEntry>& entries, int size, unsigned threads,
                            const PathfinderSink& sink);

/// A random split of 0 .. count-1 into 80 % train, 10 % valid and 10 % test, each ascending; it depends on `seed` and
/// `count` only. The original takes the order of TensorFlow Datasets' hashes, which followers replaced by a random one.
/// Throws Error for less than 10.
std::array<std::vector<std::uint32_t>, 3> split_entries(std::size_t count, std::uint64_t seed);

}  // namespace lra
