#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "core/data_files.h"
#include "core/json_file.h"
#include "core/sha256.h"
#include "data/packed.h"
#include "data/random.h"

namespace fs = std::filesystem;
using namespace lra;

namespace {

/// Five pairs, among them empty and long sequences.
Json write_pairs(const fs::path& file) {
  PackedWriter writer(file, 2);
  for (std::int32_t i = 0; i < 5; ++i)
    writer.add(i % 2, std::string(static_cast<std::size_t>(3 * i), static_cast<char>('a' + i)), i == 4 ? "" : "\xff\n");
  return writer.finish(3);
}

}  // namespace

TEST_CASE("Packed files give back what was put in, in an order of the seed", "[packed]") {
  const TestFolder folder("packed");
  const fs::path file = folder.path / "train.packed";
  const Json entry = write_pairs(file);
  CHECK(
      entry ==
      Json({{"file", "train.packed"}, {"bytes", fs::file_size(file)}, {"sha256", sha256_file(file)}, {"examples", 5}}));

  const PackedDataset data(file, {.seq_len = 4, .first_id = 1, .num_classes = 2, .limit = 0});
  REQUIRE(data.size() == 5);
  CHECK(data.sequences() == 2);
  const auto order = shuffled(5, 3, 0);
  for (std::size_t place = 0; place < 5; ++place) {
    const std::size_t i = order[place];
    const std::size_t first = std::max<std::size_t>(1, std::min<std::size_t>(3 * i, 4)), second = i == 4 ? 1 : 2;
    std::vector<std::int32_t> tokens(first, i == 0 ? 0 : static_cast<std::int32_t>('a' + i + 1));
    for (const std::int32_t token : i == 4 ? std::vector<std::int32_t>{0} : std::vector<std::int32_t>{256, 11})
      tokens.push_back(token);
    const Example example = data.get(place);
    CHECK(example.tokens == tokens);
    CHECK(example.second == static_cast<std::int64_t>(first));
    CHECK(example.label == static_cast<std::int32_t>(i % 2));
    CHECK(data.label(place) == example.label);
    CHECK(data.length(place) == static_cast<std::int64_t>(first + second));
    CHECK(data.bytes(place, 0).size() == 3 * i);
  }
  CHECK(PackedDataset(file, {.seq_len = 0, .first_id = 0, .num_classes = 2, .limit = 2}).size() == 2);
}

TEST_CASE("Packed files: one that is cut short or changed while it is mapped is an Error, not a crash", "[packed]") {
  const TestFolder folder("packed_lost");
  const fs::path file = folder.path / "train.packed";
  const auto write = [&] {
    PackedWriter writer(file, 1);
    for (int i = 0; i < 100; ++i) writer.add(0, std::string(1000, 'x'));
    writer.finish(0);
    return std::make_unique<PackedDataset>(file, PackedView{.seq_len = 0, .first_id = 1, .num_classes = 2, .limit = 0});
  };
  const auto read = [](const PackedDataset& data) {
    try {
      for (std::size_t i = 0; i < data.size(); ++i) data.get(i);
    } catch (const DataLost& lost) {
      return std::string(lost.what());
    }
    return std::string("no error");
  };
  // Whole pages are gone (SIGBUS); a part of the last page is (zeros, no signal); all is; the same size with other
  // bytes.
  for (const std::uintmax_t left : {std::uintmax_t{8192}, fs::file_size((write(), file)) - 10, std::uintmax_t{0}}) {
    const auto data = write();
    CHECK(read(*data) == "no error");
    const auto size = fs::file_size(file);
    fs::resize_file(file, left);
    CHECK(read(*data) == file.string() + ": was changed while it was read (it had " + std::to_string(size) +
                             " bytes, now it has " + std::to_string(left) + ")");
    CHECK(data->length(0) == 1000);
    CHECK(data->label(99) == 0);
  }
  const auto data = write(), second = write();
  CHECK(read(*data) == "no error");  // another file has its name now
  fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(1));
  CHECK(read(*second).find("was changed while it was read") != std::string::npos);
}

TEST_CASE("Packed files: the share of sequences that are cut", "[packed]") {
  const TestFolder folder("packed_cut");
  write_pairs(folder.path / "x");  // lengths 0, 3, 6, 9, 12, each beside 2 (the last: 0)
  const auto share = [&](std::int64_t seq_len) {
    return PackedDataset(folder.path / "x", {.seq_len = seq_len, .first_id = 0, .num_classes = 2, .limit = 0})
        .cut_share();
  };
  CHECK(share(0) == 0);
  CHECK(share(12) == 0);
  CHECK(share(6) == 0.2);
  CHECK(share(1) == 0.8);
}

TEST_CASE("Packed files: an unfinished one leaves nothing, an empty one and large ones are files too", "[packed]") {
  const TestFolder folder("packed");
  {
    PackedWriter writer(folder.path / "half.packed", 1);
    writer.add(0, "abc");
  }
  CHECK(fs::is_empty(folder.path));
  PackedWriter(folder.path / "none.packed", 1).finish(0);
  CHECK(
      PackedDataset(folder.path / "none.packed", {.seq_len = 0, .first_id = 0, .num_classes = 1, .limit = 0}).size() ==
      0);
}

TEST_CASE("Packed files: damage of any kind is one sentence", "[packed]") {
  const TestFolder folder("packed");
  const fs::path file = folder.path / "train.packed";
  write_pairs(file);
  const std::string good = read_file(file);
  const auto error = [&](const std::string& content, std::int64_t classes = 2) {
    write_file_atomically(file, content);
    return error_of([&] { PackedDataset(file, {.seq_len = 0, .first_id = 0, .num_classes = classes, .limit = 0}); });
  };
  CHECK(error(good) == "no error");
  for (const std::size_t kept : {std::size_t{0}, std::size_t{7}, std::size_t{40}, good.size() / 2, good.size() - 1})
    CHECK(error(good.substr(0, kept)).find("expected a packed data set") != std::string::npos);
  CHECK(error("X" + good.substr(1)).find("expected a packed data set") != std::string::npos);
  CHECK(error(good + good).find("does not fit the file's") != std::string::npos);
  CHECK(error(good, 1).find("has the label 1, expected 0 to 0") != std::string::npos);
  // Every byte of the numbers at the end and of the places, set to a large value: an Error or a file that can be read.
  for (std::size_t at = good.size() - 8 - 3 * 8 - 24 - 5 * 2 * 16; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = '\xf7';
    write_file_atomically(file, bad);
    try {
      const PackedDataset data(file, {.seq_len = 0, .first_id = 0, .num_classes = 2, .limit = 0});
      for (std::size_t i = 0; i < data.size(); ++i) data.get(i);
    } catch (const Error&) {
    }
  }
  fs::remove(file);
  CHECK(error_of([&] { PackedDataset(file, {}); }).ends_with("cannot be read (No such file or directory)"));
}
