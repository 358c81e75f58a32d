#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <set>

#include "core/data_files.h"
#include "core/json_file.h"
#include "data/archive.h"

namespace fs = std::filesystem;
using namespace lra;

namespace {

const auto all = [](const std::string&) { return true; };

std::set<std::string> files_in(const fs::path& folder) {
  std::set<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_directory()) files.insert(entry.path().lexically_relative(folder).generic_string());
  }
  return files;
}

std::string numbers() {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += std::to_string(i) + "\n";
  return text;
}

}  // namespace

TEST_CASE("archives: regular files that are wanted come out of .tar.gz, .tar and .zip", "[archive]") {
  const TestFolder folder("archive");
  const fs::path archive = fixtures / "archive" / GENERATE("lra_release.gz", "lra_release.tar", "lra_release.zip");
  CAPTURE(archive);
  CHECK(is_archive(archive));
  CHECK_FALSE(is_archive(folder.path));
  CHECK_FALSE(is_archive(folder.path / "none"));

  std::set<std::string> asked;
  CHECK(extract_archive(archive, folder.path / "some", [&](const std::string& path) {
          asked.insert(path);
          return path.ends_with(".tsv");
        }) == 1);
  const std::string tsv = "lra_release/lra_release/tsv_data/new_aan_pairs.test.tsv", numbers_file = "lra_release/listops-1000/numbers.txt";
  CHECK(asked == std::set<std::string>{tsv, numbers_file, "lra_release/empty.txt"});
  CHECK(files_in(folder.path / "some") == std::set<std::string>{tsv});
  CHECK(read_file(folder.path / "some" / tsv) == "0.0\ta\tb\tc\td\n");

  CHECK(extract_archive(archive, folder.path / "all", all) == 3);
  CHECK(files_in(folder.path / "all") == asked);
  CHECK(read_file(folder.path / "all" / numbers_file) == numbers());
  CHECK(read_file(folder.path / "all/lra_release/empty.txt").empty());
  CHECK(extract_archive(archive, folder.path / "all", all) == 3);  // over what is there
}

TEST_CASE("archives: a file that would be written elsewhere is refused", "[archive]") {
  const TestFolder folder("archive_escape");
  fs::remove("/tmp/lra_evil.txt");
  const auto error = [&](const char* name) { return error_of([&] { extract_archive(fixtures / "archive" / name, folder.path / "a/b", all); }); };
  const auto refused = [&](const char* name, const char* file) {
    return (fixtures / "archive" / name).string() + ": refused, because its file " + file + " would be written outside the folder it is unpacked into";
  };
  CHECK(error("parent.tar.gz") == refused("parent.tar.gz", "x/../../evil.txt"));
  CHECK(error("absolute.tar.gz") == refused("absolute.tar.gz", "/tmp/lra_evil.txt"));
  CHECK(files_in(folder.path) == std::set<std::string>{"a/b/ok.txt"});
  CHECK_FALSE(fs::exists("/tmp/lra_evil.txt"));
}

TEST_CASE("archives: an archive cut anywhere is an error that names it", "[archive]") {
  const TestFolder folder("archive_cut");
  const std::string name = GENERATE("lra_release.gz", "lra_release.tar", "lra_release.zip");
  CAPTURE(name);
  const std::string whole = read_file(fixtures / "archive" / name);
  const fs::path cut = folder.path / ("cut_" + name);
  const auto error = [&](const std::string& content) {
    write_file_atomically(cut, content);
    return error_of([&] { extract_archive(cut, folder.path / "out", all); });
  };
  CHECK(error(whole) == "no error");
  // A plain tar has no sign of its end but zeros: there only a cut within a file can be seen.
  const std::size_t end = name == "lra_release.tar" ? 10'000 : whole.size();
  for (std::size_t length = name == "lra_release.tar" ? 2100 : 0; length < end; length += whole.size() / 50) {
    CAPTURE(length);
    const std::string message = error(whole.substr(0, length));
    CHECK(message.starts_with(cut.string() + ": "));
    CHECK(message.find('\n') == std::string::npos);
  }
  CHECK(error(whole.substr(0, name == "lra_release.tar" ? 2500 : whole.size() - 1)).starts_with(cut.string() + ": "));
}

TEST_CASE("archives: damaged bytes of a .tar.gz or .zip never come out as data", "[archive]") {
  const TestFolder folder("archive_damaged");
  const std::string name = GENERATE("lra_release.gz", "lra_release.zip");
  const std::string whole = read_file(fixtures / "archive" / name);
  const fs::path damaged = folder.path / name;
  for (std::size_t at = 0; at < whole.size(); at += 61) {
    CAPTURE(name, at);
    std::string content = whole;
    content[at] = static_cast<char>(content[at] ^ 0x10);
    write_file_atomically(damaged, content);
    fs::remove_all(folder.path / "out");
    const std::string message = error_of([&] { extract_archive(damaged, folder.path / "out", all); });
    if (message == "no error") {
      // Fields without effect (times, permissions) may change; the data may not.
      for (const auto& file : files_in(folder.path / "out")) {
        if (file.ends_with("numbers.txt")) CHECK(read_file(folder.path / "out" / file) == numbers());
        if (file.ends_with(".tsv")) CHECK(read_file(folder.path / "out" / file) == "0.0\ta\tb\tc\td\n");
      }
    } else {
      CHECK(message.starts_with(damaged.string() + ": "));
    }
  }
}

TEST_CASE("archives: the checksum behind the last file counts", "[archive]") {
  const TestFolder folder("archive_checksum");
  const fs::path archive = fixtures / "archive/wrong_checksum.tar.gz";
  CHECK(error_of([&] { extract_archive(archive, folder.path, all); }) == archive.string() + ": the compressed data is damaged");
}

TEST_CASE("archives: other files, missing files and places that cannot be written are named", "[archive]") {
  const TestFolder folder("archive_errors");
  const auto error = [&](const fs::path& archive, const fs::path& into) { return error_of([&] { extract_archive(archive, into, all); }); };
  const fs::path text = fixtures / "archive/no_archive.gz";
  CHECK(error(text, folder.path) == text.string() + ": is damaged, cut short or no .tar.gz, .tar or .zip archive (Unrecognized archive format)");
  write_file_atomically(folder.path / "empty.tar.gz", "");
  CHECK(error(folder.path / "empty.tar.gz", folder.path).starts_with((folder.path / "empty.tar.gz").string() + ": is damaged, cut short or no"));
  const std::string no_file = ": expected an archive (.tar.gz, .tar or .zip), found no such file";
  CHECK(error(folder.path / "none.zip", folder.path) == (folder.path / "none.zip").string() + no_file);
  CHECK(error(folder.path, folder.path) == folder.path.string() + no_file);
  write_file_atomically(folder.path / "file", "x");
  CHECK(error(fixtures / "archive/lra_release.zip", folder.path / "file").ends_with("new_aan_pairs.test.tsv: cannot be written (Not a directory)"));
}
