#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

namespace lra {

/// One picture of the Pathfinder challenge (Linsley et al. 2018, Kim et al. 2020) with the settings of the Long Range
/// Arena.
struct PathfinderPicture {
  std::vector<std::uint8_t> pixels;  ///< size x size, row by row
  std::int32_t label = 0;            ///< 1: both discs sit on the same long snake
  std::array<std::array<int, 2>, 2>
      discs{};       ///< rows and columns of their centres: the one on a start, the one on an end
  int margin = 0;    ///< half the gap between the paddles of a snake, in pixels
  int restarts = 0;  ///< pairs of long snakes that were given up before this one
};

/// Picture `index` of the series `seed`: two dashed curves ("snakes") of
/// `contour_length` paddles, shorter ones to distract, and two discs, one on the
/// start of a long snake, one on the end of the same (label 1) or of the other one (label 0), chosen when all snakes
/// are drawn. A pure function of its arguments with the same pixels on every platform. `size` is 32, 64, 128 or 256 and
/// `contour_length` 3 to 14; the release has 6 (easy), 9 (intermediate) and 14 (hard). Throws Error for another.
PathfinderPicture draw_pathfinder(int size, std::uint64_t seed, std::uint64_t index, int contour_length = 14);

/// Writes pictures 0 .. count-1 in the layout of the official release, 1,000 in a batch:
///   folder/imgs/<batch>/sample_<i>.png and folder/metadata/<batch>.npy (text, 11 columns)
/// with `folder` ending in pathfinder<size>/curv_contour_length_<contour_length> by custom, curv_baseline for length 6.
/// The files do not depend on `threads` (0: all cores). folder/metadata appears when everything else is there; an
/// interrupted call is taken up by the next one with the same arguments, and a complete folder is left as it is. Throws
/// Error where a folder holds pictures of other arguments or cannot be written. The caller sees to it that only one
/// process writes there.
void write_pathfinder(const std::filesystem::path& folder, int size, std::uint64_t seed, std::uint64_t count,
                      unsigned threads, int contour_length = 14);

}  // namespace lra
