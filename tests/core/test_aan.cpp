#include <catch2/catch_test_macros.hpp>

#include "core/data_files.h"
#include "core/json_file.h"
#include "data/aan.h"

namespace fs = std::filesystem;
using namespace lra;

namespace {

std::vector<SourceExample> read(const fs::path& file) {
  return collect([&](const ExampleSink& sink) { read_aan(file, sink); });
}

}  // namespace

TEST_CASE(
    "AAN: five columns, quotes as they are, texts cut to 10,000 bytes, LF or CRLF, with or without a last newline",
    "[aan]") {
  const fs::path folder = find_aan(fixtures / "aan");
  CHECK(folder == fixtures / "aan");
  CHECK(read(folder / "new_aan_pairs.train.tsv") ==
        std::vector<SourceExample>{{1, "We parse \"text\" well.", "A \"quote"},
                                   {0, "", "the first text is empty"},
                                   {1, std::string(9999, 'a') + "b", std::string(9999, 'd') + "\xc3"},
                                   {0, "na\xc3\xafve Bayes", ""},
                                   {1, "x", "y"},
                                   {0, "y", "x"}});
  CHECK(read(folder / "new_aan_pairs.eval.tsv") == std::vector<SourceExample>{{1, "one", "two"}, {0, "three", "four"}});
  CHECK(read(folder / "new_aan_pairs.test.tsv") ==
        std::vector<SourceExample>{{0, "five", "six"}, {1, "seven", "eight"}});
}

TEST_CASE("AAN: the innermost complete copy of a release is taken", "[aan]") {
  const TestFolder folder("aan");
  const auto error = [&] { return error_of([&] { find_aan(folder.path); }); };
  const std::string all = "new_aan_pairs.train.tsv, new_aan_pairs.eval.tsv, new_aan_pairs.test.tsv";
  CHECK(error() == folder.path.string() + ": expected " + all + " in it or in a folder below, found none of them");
  fs::create_directories(folder.path / "tsv_data");
  fs::copy(fixtures / "aan/new_aan_pairs.eval.tsv", folder.path / "tsv_data");
  CHECK(error() == (folder.path / "tsv_data").string() + ": expected " + all +
                       " in it, new_aan_pairs.train.tsv, new_aan_pairs.test.tsv missing");
  const auto put = [&](const fs::path& place) {
    fs::create_directories(place);
    fs::copy(fixtures / "aan", place, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  };
  for (const char* place : {"lra_release/tsv_data", "lra_release/lra_release/tsv_data"}) {
    put(folder.path / place);
    CHECK(find_aan(folder.path) == folder.path / place);
  }
  fs::remove(folder.path / "lra_release/lra_release/tsv_data/new_aan_pairs.test.tsv");
  CHECK(find_aan(folder.path) == folder.path / "lra_release/tsv_data");

  // S4's layout beside what is left of the release: which of them is meant?
  put(folder.path / "s4/lra/aan");
  CHECK(error() == "--from " + folder.path.string() + ": the files of this task are in " +
                       (folder.path / "lra_release/tsv_data").string() + " and in " +
                       (folder.path / "s4/lra/aan").string());
  CHECK(find_aan(folder.path / "s4") == folder.path / "s4/lra/aan");
  CHECK(find_aan(folder.path / "s4/lra/aan") == folder.path / "s4/lra/aan");
}

TEST_CASE("Folders are found through links; links that lead to themselves or upwards end the search nowhere", "[aan]") {
  const TestFolder folder("links");
  fs::create_directories(folder.path / "from/a/b");
  fs::create_directory_symlink("..", folder.path / "from/a/b/up");
  fs::create_symlink("self", folder.path / "from/self");
  const auto error = error_of([&] { find_aan(folder.path / "from"); });
  CHECK(error.find("found none of them; " + (folder.path / "from/self").string() +
                   " cannot be read (Too many levels of symbolic links)") != std::string::npos);
  CHECK(error_of([&] { find_aan(folder.path / "from/self"); }) ==
        (folder.path / "from/self").string() + ": cannot be read (Too many levels of symbolic links)");
  fs::create_directory_symlink(fixtures / "aan", folder.path / "from/a/linked");
  CHECK(find_aan(folder.path / "from") == folder.path / "from/a/linked");
}

TEST_CASE("AAN: a bad line is an error with its number", "[aan]") {
  const TestFolder folder("aan_lines");
  const fs::path file = folder.path / "x.tsv";
  const auto error = [&](const std::string& text) {
    write_file_atomically(file, text);
    const std::string message = error_of([&] { read(file); });
    return message.starts_with(file.string() + ":") ? message.substr(file.string().size()) : message;
  };
  const std::string good = "1.0\ta\tb\tc\td\n";
  const std::string columns = "expected 5 tab-separated columns (label, id1, id2, text1, text2), found ";
  CHECK(error(good) == "no error");
  CHECK(error("") == ":1: " + columns + "the end of the file");
  CHECK(error(good + "1.0\ta\tb\tc\n") == ":2: " + columns + "4");
  CHECK(error(good + good + "1.0\ta\tb\tc\td\te\n") == ":3: " + columns + "6");
  CHECK(error(good + "\n" + good) == ":2: " + columns + "1");
  const std::string label = ":2: expected the label 0 or 1 in the first column, found ";
  CHECK(error(good + "2.0\ta\tb\tc\td\n") == label + "'2.0'");
  CHECK(error(good + "0.5\ta\tb\tc\td\n") == label + "'0.5'");
  CHECK(error(good + "\ta\tb\tc\td\n") == label + "''");
  CHECK(error(good + "nan\ta\tb\tc\td\n") == label + "'nan'");
  CHECK(error(good + "1.0x\ta\tb\tc\td\n") == label + "'1.0x'");
  CHECK(error(good + " 1\ta\tb\tc\td\n") == label + "' 1'");
  CHECK(error(good + "\"1\xff\"\ta\tb\tc\td\n") == label + "'\"1\\xff\"'");
  CHECK(error(good + "label\tid1\tid2\ttext1\ttext2\n") == label + "'label'");
  CHECK(error(good + "1\ta\tb\tc\t" + std::string(65 << 20, 'd')) ==
        ":2: expected a line of at most 67108864 bytes, found a longer one");
  CHECK(error_of([&] { read(folder.path / "none.tsv"); }) ==
        (folder.path / "none.tsv").string() + ": cannot be read (No such file or directory)");
}
