#include <catch2/catch_test_macros.hpp>

#include "core/data_files.h"
#include "core/json_file.h"
#include "data/imdb.h"

namespace fs = std::filesystem;
using namespace lra;

TEST_CASE("IMDB: whole reviews, neg before pos, in byte order of their names; other files are none", "[imdb]") {
  const fs::path folder = find_imdb(fixtures / "imdb");
  CHECK(folder == fixtures / "imdb/aclImdb");
  CHECK(find_imdb(folder) == folder);
  CHECK(collect([&](const ExampleSink& sink) { read_imdb(folder / "train", sink); }) ==
        std::vector<SourceExample>{{0, "A waste of time.<br /><br />\"Never\" again.", ""},
                                   {0, "Bad.", ""},
                                   {0, "I fell asleep.\r\nTwice.\n", ""},
                                   {1, "Am\xc3\xa9lie is a delight \xe2\x80\x94 see it!", ""},
                                   {1, std::string(5000, 'x') + "end", ""},
                                   {1, "Good enough", ""}});
  const auto test = collect([&](const ExampleSink& sink) { read_imdb(folder / "test", sink); });
  CHECK(test ==
        std::vector<SourceExample>{
            {0, "Poor plot\tand worse acting.", ""}, {0, "No.", ""}, {1, "Ten out of ten", ""}, {1, "Yes.", ""}});
}

TEST_CASE("IMDB: what is missing or empty is named", "[imdb]") {
  const TestFolder folder("imdb");
  const fs::path inner = folder.path / "aclImdb";
  const auto find_error = [&](const fs::path& from) { return error_of([&] { find_imdb(from); }); };
  CHECK(find_error(folder.path / "none") == (folder.path / "none").string() + ": there is no such folder");
  CHECK(find_error(fixtures / "imdb/aclImdb/train/pos/1_7.txt").ends_with("1_7.txt: expected a folder, found a file"));
  CHECK(find_error(folder.path) ==
        folder.path.string() +
            ": expected train/neg, train/pos, test/neg, test/pos in it or in a folder below, found none of them");
  fs::copy(fixtures / "imdb", folder.path, fs::copy_options::recursive);
  fs::remove_all(inner / "test/pos");
  CHECK(find_error(folder.path) ==
        inner.string() + ": expected train/neg, train/pos, test/neg, test/pos in it, test/pos missing");

  const auto read_error = [&](const char* split) {
    return error_of([&] { read_imdb(inner / split, [](auto, auto, auto) {}); });
  };
  CHECK(read_error("test") == (inner / "test/pos").string() + ": cannot be read (No such file or directory)");
  fs::create_directories(inner / "test/pos");
  CHECK(read_error("test") == (inner / "test/pos").string() + ": expected reviews (*.txt), found none");
  write_file_atomically(inner / "train/pos/5_8.txt", "");
  CHECK(read_error("train") == (inner / "train/pos/5_8.txt").string() + ": expected a review, found an empty file");
  fs::remove(inner / "train/pos/5_8.txt");
  fs::create_directories(inner / "train/pos/6_8.txt");
  CHECK(read_error("train") == (inner / "train/pos/6_8.txt").string() + ": expected a file, found a folder");
}
