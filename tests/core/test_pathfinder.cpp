#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json_file.h"
#include "core/sha256.h"
#include "data/pathfinder.h"
#include "data/pathfinder_generator.h"

namespace fs = std::filesystem;
using namespace lra;

namespace {

const fs::path fixtures = fs::path(LRA_SOURCE_DIR) / "tests/fixtures/pathfinder";
const fs::path hard = fixtures / "lra_release/lra_release/pathfinder32/curv_contour_length_14";

/// A folder that is empty at the start and gone at the end.
struct Folder {
  explicit Folder(const std::string& name)
      : path(fs::temp_directory_path() / ("lra_test_pathfinder_" + name + std::to_string(::getpid()))) {
    fs::remove_all(path);
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

/// The message, with `folder` cut out of it.
std::string error_of(const fs::path& folder, const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    std::string message = error.what();
    for (std::size_t at; (at = message.find(folder.string() + "/")) != std::string::npos;)
      message.erase(at, folder.string().size() + 1);
    return message;
  }
  return "no error";
}

std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), folder).string()] = read_file(entry.path());
  }
  return files;
}

struct Pixel {
  int y, x;
};

/// Pixels in groups: any two of a group are joined by steps no longer than `step`.
std::vector<std::vector<Pixel>> groups_of(const std::vector<Pixel>& pixels, double step) {
  std::vector<std::vector<Pixel>> groups;
  std::vector<bool> seen(pixels.size());
  for (std::size_t first = 0; first < pixels.size(); ++first) {
    if (seen[first]) continue;
    seen[first] = true;
    std::vector<Pixel> group{pixels[first]};
    for (std::size_t i = 0; i < group.size(); ++i) {
      for (std::size_t k = 0; k < pixels.size(); ++k) {
        if (seen[k] || std::hypot(pixels[k].y - group[i].y, pixels[k].x - group[i].x) > step) continue;
        seen[k] = true;
        group.push_back(pixels[k]);
      }
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

/// Pixels of at least `least`, all pixels no more than `around` rows and columns away too.
std::vector<Pixel> bright(const PathfinderPicture& picture, int size, int least, int around) {
  std::vector<Pixel> pixels;
  for (int y = around; y < size - around; ++y) {
    for (int x = around; x < size - around; ++x) {
      bool all = true;
      for (int dy = -around; dy <= around; ++dy) {
        for (int dx = -around; dx <= around; ++dx)
          all = all && picture.pixels[static_cast<std::size_t>((y + dy) * size + x + dx)] >= least;
      }
      if (all) pixels.push_back({y, x});
    }
  }
  return pixels;
}

/// Is `share` of `count` fair coins no further from 1/2 than 4.5 standard errors?
bool fair(double share, std::size_t count) {
  return std::abs(share - 0.5) < 4.5 * 0.5 / std::sqrt(static_cast<double>(count));
}

void write_text(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

}  // namespace

TEST_CASE("Pathfinder: pictures are functions of size, seed and index", "[pathfinder]") {
  for (const int size : {32, 64, 128, 256}) {
    const PathfinderPicture picture = draw_pathfinder(size, 3, 5);
    CHECK(picture.pixels.size() == static_cast<std::size_t>(size * size));
    CHECK(draw_pathfinder(size, 3, 5).pixels == picture.pixels);
    CHECK(draw_pathfinder(size, 3, 6).pixels != picture.pixels);
    CHECK(draw_pathfinder(size, 4, 5).pixels != picture.pixels);
    CHECK(*std::max_element(picture.pixels.begin(), picture.pixels.end()) == 255);
  }
  CHECK(error_of({}, [] { draw_pathfinder(48, 0, 0); }) ==
        "Pathfinder: expected a picture size of 32, 64, 128 or 256, found 48");
}

TEST_CASE("Pathfinder: the pictures of this version of the generator", "[pathfinder]") {
  // A change here is a new version: raise generator_version.
  const std::map<int, std::string> golden{{32, "bd9a256bbda1fe0c7b8905ebe4cb32b2beb6180e1f1f2eb137f1bd071c663a7f"},
                                          {64, "f72414c656b604d4c3f992de2126d605ab959853b10c64d33e1ab93ffb576056"},
                                          {128, "0a4c6ad43b46e9ca900b28b0e957fc8fadfa9dcdb6c412fa5fb978af68c750a0"},
                                          {256, "fb72c860f04317b6e22b2d4375f015b03cdb962dcba90cfd4bf816358336fea5"}};
  for (const auto& [size, hash] : golden) {
    std::string bytes;
    for (std::uint64_t index = 0; index < 4; ++index) {
      const PathfinderPicture picture = draw_pathfinder(size, 0, index);
      bytes.append(picture.pixels.begin(), picture.pixels.end());
      bytes += static_cast<char>('0' + picture.label);
    }
    CHECK(sha256(bytes) == hash);
  }
}

TEST_CASE("Pathfinder: each picture has two discs, apart and where it says", "[pathfinder]") {
  for (const auto& [size, around] : {std::pair(64, 1), {128, 1}, {256, 3}}) {
    for (std::uint64_t index = 0; index < 10; ++index) {
      const PathfinderPicture picture = draw_pathfinder(size, 11, index);
      CAPTURE(size, index);
      const auto found = groups_of(bright(picture, size, 240, around), 1.5);
      CHECK(found.size() == 2);
      for (const auto& [y, x] : picture.discs) {
        CHECK(std::any_of(found.begin(), found.end(), [y = y, x = x](const auto& group) {
          return std::hypot(group[0].y - y, group[0].x - x) < 4;
        }));
      }
    }
  }
  for (std::uint64_t index = 0; index < 500; ++index) {
    const auto discs = draw_pathfinder(32, 11, index).discs;
    CHECK(std::hypot(discs[0][0] - discs[1][0], discs[0][1] - discs[1][1]) >= 4);
  }
}

TEST_CASE("Pathfinder: a contour length makes shorter snakes, short ones too; 14 is the default", "[pathfinder]") {
  CHECK(draw_pathfinder(32, 3, 5, 14).pixels == draw_pathfinder(32, 3, 5).pixels);
  // Bright pixels in groups at 256, where paddles are apart: a paddle is one group, a disc is one with the paddle it
  // sits on. No more than the paddles of two long snakes and of 30 / (length / 3) short ones, and no fewer than the
  // long ones' less a few that touch.
  for (const auto& [length, most] : {std::pair(6, 12 + 30), {9, 18 + 30}, {14, 28 + 28}}) {
    for (std::uint64_t index = 0; index < 10; ++index) {
      const auto groups = groups_of(bright(draw_pathfinder(256, 13, index, length), 256, 100, 0), 1.5);
      CAPTURE(length, index, groups.size());
      CHECK(groups.size() <= static_cast<std::size_t>(most));
      CHECK(groups.size() >= static_cast<std::size_t>(2 * length));
    }
  }
  // The discs of a connected picture are no further apart than a straight snake is long: a paddle of 2 and twice a
  // margin of 1 each.
  for (const int length : {3, 6}) {
    for (std::uint64_t index = 0; index < 300; ++index) {
      const PathfinderPicture picture = draw_pathfinder(32, 13, index, length);
      const auto& discs = picture.discs;
      if (picture.label == 1) CHECK(std::hypot(discs[0][0] - discs[1][0], discs[0][1] - discs[1][1]) <= 4 * length);
    }
  }
  for (const int length : {2, 15}) {
    CHECK(error_of({}, [&] { draw_pathfinder(32, 0, 0, length); }) ==
          "Pathfinder: expected a contour length of 3 to 14, found " + std::to_string(length));
  }
}

TEST_CASE("Pathfinder: the label says whether paddles lead from disc to disc", "[pathfinder]") {
  // At 256 the gaps between the paddles of a snake are about 6 pixels, and strangers are rarely so near.
  int connected_0 = 0, count_0 = 0;
  for (std::uint64_t index = 0; index < 60; ++index) {
    const PathfinderPicture picture = draw_pathfinder(256, 21, index);
    const auto group_of = [groups = groups_of(bright(picture, 256, 100, 0), 8.0)](std::array<int, 2> disc) {
      return std::find_if(groups.begin(), groups.end(),
                          [&](const auto& group) {
                            return std::any_of(group.begin(), group.end(),
                                               [&](Pixel p) { return p.y == disc[0] && p.x == disc[1]; });
                          }) -
             groups.begin();
    };
    const bool connected = group_of(picture.discs[0]) == group_of(picture.discs[1]);
    CAPTURE(index);
    if (picture.label == 1) {
      CHECK(connected);
    } else {
      ++count_0;
      connected_0 += connected;
    }
  }
  CHECK(count_0 > 15);
  CHECK(connected_0 < count_0 / 2);
}

TEST_CASE("Pathfinder: the label is a fair coin that nothing but the paths gives away", "[pathfinder]") {
  constexpr std::size_t count = 6000, half = count / 2;
  std::vector<PathfinderPicture> pictures;
  for (std::uint64_t index = 0; index < count; ++index) pictures.push_back(draw_pathfinder(32, 8, index));
  std::size_t positive = 0, light_guess = 0, restart_guess = 0, mean_guess = 0;
  std::array<std::vector<double>, 2> means{std::vector<double>(1024), std::vector<double>(1024)};
  std::array<double, 2> counts{};
  for (std::size_t i = 0; i < count; ++i) {
    positive += pictures[i].label == 1;
    if (i >= half) continue;
    const auto label = static_cast<std::size_t>(pictures[i].label);
    ++counts[label];
    for (std::size_t p = 0; p < 1024; ++p) means[label][p] += pictures[i].pixels[p];
  }
  std::vector<double> lights, restarts;
  for (const PathfinderPicture& picture : pictures) {
    double light = 0;
    for (const std::uint8_t byte : picture.pixels) light += byte;
    lights.push_back(light);
    restarts.push_back(picture.restarts);
  }
  const auto median = [](std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + count / 2, values.end());
    return values[count / 2];
  };
  const double middle_light = median(lights), middle_restarts = median(restarts);
  for (std::size_t i = 0; i < count; ++i) {
    light_guess += (lights[i] > middle_light) == (pictures[i].label == 1);
    restart_guess += (restarts[i] > middle_restarts) == (pictures[i].label == 1);
    if (i < half) continue;
    // The nearest of the two mean pictures of the first half.
    double nearer_1 = 0;
    for (std::size_t p = 0; p < 1024; ++p) {
      nearer_1 += std::pow(pictures[i].pixels[p] - means[0][p] / counts[0], 2) -
                  std::pow(pictures[i].pixels[p] - means[1][p] / counts[1], 2);
    }
    mean_guess += (nearer_1 > 0) == (pictures[i].label == 1);
  }
  const auto share = [](std::size_t part, std::size_t whole) {
    return static_cast<double>(part) / static_cast<double>(whole);
  };
  CHECK(fair(share(positive, count), count));
  CHECK(fair(share(light_guess, count), count));
  CHECK(fair(share(restart_guess, count), count));
  CHECK(std::abs(share(mean_guess, half) - 0.5) < 0.05);
}

TEST_CASE("Pathfinder: what is written is read again, whatever the threads and interruptions", "[pathfinder]") {
  constexpr std::uint64_t count = 1003;
  const Folder folder("write");
  const fs::path one = folder.path / "pathfinder32/curv_contour_length_14", three = folder.path / "three";
  write_pathfinder(one, 32, 5, count, 1);
  write_pathfinder(three, 32, 5, count, 3);
  const auto files = files_of(one);
  CHECK(files.size() == count + 2 + 1);
  CHECK(files == files_of(three));

  const PathfinderPicture last = draw_pathfinder(32, 5, 1002);
  CHECK(files.at("metadata/1.npy")
            .ends_with("imgs/1 sample_2.png 2 " + std::to_string(last.label) + " 1.0 14 4 2 0.5 1 1\n"));

  const auto entries = list_pathfinder(find_pathfinder(folder.path, 32));
  REQUIRE(entries.size() == count);
  std::size_t next = 0;
  const std::size_t empty =
      read_pathfinder(entries, 32, 2, [&](std::size_t index, std::int32_t label, std::string_view pixels) {
        const PathfinderPicture picture = draw_pathfinder(32, 5, index);
        if (index != next++ || label != picture.label ||
            pixels != std::string(picture.pixels.begin(), picture.pixels.end()))
          FAIL("picture " << index);
      });
  CHECK(empty == 0);
  CHECK(next == count);

  const fs::path easy = folder.path / "pathfinder32/curv_baseline";
  write_pathfinder(easy, 32, 5, 2, 1, 6);
  const PathfinderPicture second = draw_pathfinder(32, 5, 1, 6);
  CHECK(read_file(easy / "metadata/0.npy")
            .ends_with("imgs/0 sample_1.png 1 " + std::to_string(second.label) + " 1.0 6 2 2 0.5 1 1\n"));
  CHECK(error_of(folder.path, [&] { write_pathfinder(easy, 32, 5, 2, 1, 9); }) ==
        "pathfinder32/curv_baseline: holds pictures that were not made with these options");

  // Interrupted: one batch has its list, the other one has some pictures and a part of one.
  fs::rename(one / "metadata", one / "metadata.unfinished");
  fs::remove(one / "metadata.unfinished/0.npy");
  fs::remove(one / "imgs/0/sample_18.png");
  fs::resize_file(one / "imgs/0/sample_17.png", 40);
  CHECK(error_of(folder.path, [&] { find_pathfinder(one, 32); }).ends_with("found none of them"));
  CHECK(error_of(folder.path, [&] {
          list_pathfinder(one);
        }).starts_with("pathfinder32/curv_contour_length_14/metadata: expected the folder"));
  write_pathfinder(one, 32, 5, count, 2);
  CHECK(files_of(one) == files);

  // Complete: left alone. Of other arguments: refused.
  fs::remove(one / "imgs/0/sample_0.png");
  write_pathfinder(one, 32, 5, count, 1);
  CHECK(!fs::exists(one / "imgs/0/sample_0.png"));
  const std::string other = "three: holds pictures that were not made with these options";
  CHECK(error_of(folder.path, [&] { write_pathfinder(three, 32, 6, count, 1); }) == other);
  CHECK(error_of(folder.path, [&] { write_pathfinder(three, 32, 5, 100, 1); }) == other);
  fs::remove(three / "generator.json");
  CHECK(error_of(folder.path, [&] { write_pathfinder(three, 32, 5, count, 1); }) == other);
  CHECK(error_of({}, [&] { write_pathfinder(folder.path / "none", 32, 5, 0, 1); }) ==
        "Pathfinder: expected at least 1 picture to write, found 0");
  write_text(folder.path / "file", "");
  CHECK(error_of(folder.path, [&] {
          write_pathfinder(folder.path / "file/x", 32, 5, 1, 1);
        }).starts_with("file/x/generator.json: its folder cannot be made"));
}

TEST_CASE("Pathfinder: the official layout of another program", "[pathfinder]") {
  const auto entries = list_pathfinder(find_pathfinder(fixtures, 32));
  REQUIRE(entries.size() == 4);  // batches 0, 2, 10, in this order
  CHECK(entries[0].file == hard / "imgs/0/sample_0.png");
  CHECK(entries[1].file == hard / "imgs/0/sample_1.png");
  CHECK(entries[2].file == hard / "imgs/2/sample_0.png");
  CHECK(entries[3].file == hard / "imgs/10/sample_0.png");
  std::vector<std::size_t> indices;
  std::vector<std::int32_t> labels;
  const std::size_t empty =
      read_pathfinder(entries, 32, 3, [&](std::size_t index, std::int32_t label, std::string_view pixels) {
        indices.push_back(index);
        labels.push_back(label);
        REQUIRE(pixels.size() == 1024);
        const std::size_t k = indices.size() - 1;
        for (std::size_t i = 0; i < 1024; ++i)
          REQUIRE(static_cast<std::uint8_t>(pixels[i]) == (7 * (i / 32) + 13 * (i % 32) + 31 * k) % 256);
      });
  CHECK(empty == 1);
  CHECK(indices == std::vector<std::size_t>{0, 1, 3});
  CHECK(labels == std::vector<std::int32_t>{1, 0, 1});

  // More than are decoded at a time.
  std::vector<PathfinderEntry> many;
  for (int i = 0; i < 600; ++i) many.insert(many.end(), entries.begin(), entries.end());
  indices.clear();
  CHECK(read_pathfinder(many, 32, 2,
                        [&](std::size_t index, std::int32_t, std::string_view) { indices.push_back(index); }) == 600);
  std::vector<std::size_t> expected;
  for (std::size_t i = 0; i < many.size(); ++i) {
    if (i % 4 != 2) expected.push_back(i);
  }
  CHECK(indices == expected);
}

TEST_CASE("Pathfinder: the folder is found from every level, the inner of two nested releases first", "[pathfinder]") {
  for (const fs::path& from :
       {fixtures, fixtures / "lra_release", fixtures / "lra_release/lra_release", hard.parent_path(), hard}) {
    CHECK(fs::equivalent(find_pathfinder(from, 32), hard));
  }
  const Folder folder("find");
  const fs::path inner = folder.path / "lra_release/lra_release/pathfinder128/curv_contour_length_14",
                 outer = folder.path / "lra_release/pathfinder128/curv_contour_length_14";
  fs::create_directories(outer / "metadata");
  CHECK(find_pathfinder(folder.path, 128) == outer);
  fs::create_directories(inner / "metadata");
  CHECK(find_pathfinder(folder.path, 128) == inner);
  CHECK(find_pathfinder(folder.path / "lra_release", 128) == inner);
  CHECK(error_of(folder.path, [&] { find_pathfinder(folder.path / "x", 64); }) == "x: there is no such folder");
  CHECK(
      error_of(folder.path, [&] { find_pathfinder(folder.path, 64); })
          .ends_with(
              "expected pathfinder64/curv_contour_length_14/metadata in it or in a folder below, found none of them"));
  fs::create_directories(folder.path / "pathfinder32/curv_baseline/metadata");
  CHECK(error_of(folder.path, [&] {
          find_pathfinder(folder.path / "pathfinder32/curv_baseline", 32);
        }).ends_with("the task has the release's hard pictures, these are easier ones"));
}

TEST_CASE("Pathfinder: malformed metadata and pictures are errors in one sentence", "[pathfinder]") {
  const Folder folder("malformed");
  const auto message = [&](const std::string& text) {
    fs::remove_all(folder.path);
    write_text(folder.path / "metadata/0.npy", "imgs/0 sample_0.png 0 1\r\nimgs/0 sample_1.png 1 0.0\n");
    CHECK(list_pathfinder(folder.path).size() == 2);
    write_text(folder.path / "metadata/3.npy", "imgs/0 sample_0.png 0 1 1.0\n" + text);
    return error_of(folder.path, [&] { list_pathfinder(folder.path); });
  };
  CHECK(message("imgs/0 a.png 0 1\n") == "no error");
  CHECK(message("imgs/0 a.png 0 1") == "no error");
  CHECK(message("imgs/0 a.png 0\n") ==
        "metadata/3.npy:2: expected at least 4 columns separated by single spaces, found 3");
  CHECK(message("\nimgs/0 a.png 0 1\n") ==
        "metadata/3.npy:2: expected at least 4 columns separated by single spaces, found 1");
  CHECK(message("imgs/0 a.png 0 2\n") ==
        "metadata/3.npy:2: expected the label 0 or 1 in the fourth column, found \"2\"");
  CHECK(message("imgs/0 a.png 0  1\n") ==
        "metadata/3.npy:2: expected the label 0 or 1 in the fourth column, found \"\"");
  CHECK(message("imgs/0 a.png 0 True 1\n") ==
        "metadata/3.npy:2: expected the label 0 or 1 in the fourth column, found \"True\"");
  CHECK(message(" a.png 0 1\n") ==
        "metadata/3.npy:2: expected a folder such as imgs/0 in the first column, found \"\"");
  CHECK(message("/etc a.png 0 1\n") ==
        "metadata/3.npy:2: expected a folder such as imgs/0 in the first column, found \"/etc\"");
  CHECK(message("imgs/../.. a.png 0 1\n") ==
        "metadata/3.npy:2: expected a folder such as imgs/0 in the first column, found \"imgs/../..\"");
  CHECK(message("/\xff a.png 0 1\n") ==
        "metadata/3.npy:2: expected a folder such as imgs/0 in the first column, found \"/\\xff\"");
  CHECK(message("imgs/0 ../a.png 0 1\n") ==
        "metadata/3.npy:2: expected the name of a picture in the second column, found \"../a.png\"");
  CHECK(message("imgs/0  0 1\n") ==
        "metadata/3.npy:2: expected the name of a picture in the second column, found \"\"");

  message("");
  write_text(folder.path / "metadata/.DS_Store", "x");
  CHECK(list_pathfinder(folder.path).size() == 3);
  write_text(folder.path / "metadata/7.npy", "");
  CHECK(error_of(folder.path, [&] { list_pathfinder(folder.path); }) ==
        "metadata/7.npy: expected a line for each picture, found an empty file");
  write_text(folder.path / "metadata/7.npy", "\x93NUMPY\x01");
  CHECK(error_of(folder.path, [&] { list_pathfinder(folder.path); }) ==
        "metadata/7.npy: expected plain text with a line for each picture, found a NumPy array");
  fs::rename(folder.path / "metadata/7.npy", folder.path / "metadata/7a.npy");
  CHECK(error_of(folder.path, [&] { list_pathfinder(folder.path); }) ==
        "metadata/7a.npy: expected a metadata file named <number>.npy");
  fs::remove_all(folder.path / "metadata");
  CHECK(error_of(folder.path, [&] { list_pathfinder(folder.path); }) ==
        "metadata: expected the folder of Pathfinder's metadata files (No such file or directory)");
  fs::create_directories(folder.path / "metadata");
  CHECK(error_of(folder.path, [&] { list_pathfinder(folder.path); }) ==
        "metadata: expected metadata files named <number>.npy, found none");

  const auto read = [&](const fs::path& file, int size) {
    return error_of(folder.path,
                    [&] { read_pathfinder({{file, 1}}, size, 1, [](std::size_t, std::int32_t, std::string_view) {}); });
  };
  CHECK(read(folder.path / "a.png", 32) == "a.png: cannot be read (No such file or directory)");
  write_text(folder.path / "a.png", read_file(hard / "imgs/0/sample_0.png").substr(0, 100));
  CHECK(read(folder.path / "a.png", 32).starts_with("a.png: not a sound PNG file ("));
  fs::copy_file(hard / "imgs/0/sample_0.png", folder.path / "b.png");
  CHECK(read(folder.path / "b.png", 64) ==
        "b.png: expected a PNG of 64 x 64 pixels, 8-bit grey, not interlaced, found 32 x 32 pixels, 8-bit grey, not "
        "interlaced");
}

TEST_CASE("Pathfinder: a split takes every picture once", "[pathfinder]") {
  for (const std::size_t count : {10u, 1003u}) {
    const auto splits = split_entries(count, 4);
    CHECK(splits[0].size() == count * 8 / 10);
    CHECK(splits[1].size() == count / 10);
    std::vector<std::uint32_t> all;
    for (const auto& split : splits) {
      CHECK(std::is_sorted(split.begin(), split.end()));
      all.insert(all.end(), split.begin(), split.end());
    }
    std::sort(all.begin(), all.end());
    REQUIRE(all.size() == count);
    for (std::size_t i = 0; i < count; ++i) REQUIRE(all[i] == i);
    CHECK(split_entries(count, 4) == splits);
    CHECK(split_entries(count, 5) != splits);
  }
  // Spread evenly: the mean of the test indices of 10,000, to 4.5 standard errors.
  const auto test = split_entries(10'000, 1)[2];
  double sum = 0;
  for (const std::uint32_t index : test) sum += index;
  CHECK(std::abs(sum / 1000 - 4999.5) < 4.5 * 10'000 / std::sqrt(12.0 * 1000));
  CHECK(error_of({}, [] { split_entries(9, 0); }) ==
        "Pathfinder: expected at least 10 pictures to split into train, valid and test, found 9");
}
