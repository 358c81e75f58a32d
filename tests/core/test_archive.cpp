#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cstdint>
#include <cstdlib>
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

/// A member of a tar as POSIX lays it out: `type` '0' file, '1' hard link, '2' symbolic link, '3' device, 'x'
/// attributes of the next member.
std::string member(const std::string& name, char type, const std::string& link, const std::string& content,
                   long long claimed = -1) {
  std::string header(512, '\0');
  const auto put = [&](std::size_t at, const std::string& text) { header.replace(at, text.size(), text); };
  const auto octal = [](long long value, int digits) {
    std::string text(static_cast<std::size_t>(digits), '0');
    for (auto at = text.rbegin(); value > 0; value /= 8, ++at) *at = static_cast<char>('0' + value % 8);
    return text;
  };
  put(0, name);
  put(100, "0000644");
  put(124, octal(claimed < 0 ? static_cast<long long>(content.size()) : claimed, 11));
  put(136, "00000000000");
  put(148, "        ");
  header[156] = type;
  put(157, link);
  put(257, std::string("ustar\00000", 8));
  int sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put(148, octal(sum, 6) + '\0');
  return header + content + std::string((512 - content.size() % 512) % 512, '\0');
}

/// A zip of one stored file whose name is marked as UTF-8.
std::string zip_of(const std::string& name, const std::string& content) {
  const auto number = [](std::uint32_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(i < 4 ? value >> 8 * i & 0xff : 0);
    return text;
  };
  std::uint32_t crc = ~0u;
  for (const char c : content) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  const auto size = static_cast<std::uint32_t>(content.size());
  // Version 2.0, the flag for UTF-8, stored; time and date; checksum and sizes; length of the name and of what follows
  // it.
  const std::string facts = number(20, 2) + number(0x800, 2) + number(0, 2) + number(0x21 << 16, 4) + number(~crc, 4) +
                            number(size, 4) + number(size, 4) + number(static_cast<std::uint32_t>(name.size()), 2) +
                            number(0, 2);
  const std::string local = "PK\3\4" + facts + name + content,
                    central = "PK\1\2" + number(20, 2) + facts + number(0, 2 + 2 + 2 + 4) + number(0, 4) + name;
  return local + central + "PK\5\6" + number(0, 4) + number(1, 2) + number(1, 2) +
         number(static_cast<std::uint32_t>(central.size()), 4) + number(static_cast<std::uint32_t>(local.size()), 4) +
         number(0, 2);
}

}  // namespace

TEST_CASE("archives: names that are not ASCII are kept in the locale C too", "[archive]") {
  const TestFolder folder("archive_names");
  write_file_atomically(folder.path / "x.zip", zip_of("d/caf\xc3\xa9.txt", "content"));
  CHECK(extract_archive(folder.path / "x.zip", folder.path / "into", all).files == 1);
  CHECK(read_file(folder.path / "into/d/caf\xc3\xa9.txt") == "content");
}

TEST_CASE("archives: links within the archive are read, whatever else cannot be read is named", "[archive]") {
  const TestFolder folder("archive_links");
  const fs::path archive = folder.path / "x.tar", into = folder.path / "into";
  const std::string attribute = "18 path=caf\xc3\xa9.txt\n";  // a name in UTF-8, which the C locale cannot show
  REQUIRE(attribute.size() == 18);
  const auto extract = [&](const std::string& members, const auto& wanted) {
    write_file_atomically(archive, members + std::string(1024, '\0'));
    fs::remove_all(into);
    return extract_archive(archive, into, wanted);
  };
  const Extracted all_read =
      extract(member("d/before.txt", '2', "../a.txt", "") + member("a.txt", '0', "", "content") +
                  member("d/hard.txt", '1', "a.txt", "") + member("chain.txt", '2', "d/before.txt", "") +
                  member("x", 'x', "", attribute) + member("ascii.txt", '0', "", "e"),
              all);
  CHECK(all_read.files == 5);
  CHECK(all_read.unreadable.count == 0);
  for (const char* name : {"a.txt", "d/before.txt", "d/hard.txt", "chain.txt"})
    CHECK(read_file(into / name) == "content");
  CHECK(read_file(into / "caf\xc3\xa9.txt") == "e");

  const auto unreadable = [&](const std::string& one, std::size_t files = 1) {
    const Extracted extracted = extract(member("a.txt", '0', "", "content") + one, all);
    CHECK(extracted.files == files);
    CHECK(extracted.unreadable.count == 1);
    return extracted.unreadable.first;
  };
  CHECK(unreadable(member("out.txt", '2', "/etc/passwd", "")) ==
        "out.txt (a link to /etc/passwd, which was not unpacked)");
  CHECK(unreadable(member("out.txt", '2', "../../etc/passwd", "")) ==
        "out.txt (a link to ../../etc/passwd, which was not unpacked)");
  CHECK(unreadable(member("self.txt", '2', "self.txt", "")) == "self.txt (a link to self.txt, which was not unpacked)");
  CHECK(unreadable(member("none.txt", '1', "nowhere.txt", "")) ==
        "none.txt (a link to nowhere.txt, which was not unpacked)");
  CHECK(unreadable(member("null", '3', "", "")) == "null (a device or another special file)");
  CHECK(unreadable(member("", '0', "", "lost")) == "(a member without a name)");
  CHECK(unreadable(member("a.txt", '0', "", "later"), 2) == "a.txt (twice in the archive; the later one counts)");
  CHECK(error_of([&] { extract(member("../out.txt", '2', "a.txt", ""), all); }).find("would be written outside") !=
        std::string::npos);

  const Extracted some =
      extract(member("b.txt", '0', "", "b") + member("a.txt", '0', "", "a") + member("c.txt", '1', "b.txt", ""),
              [](const std::string& path) { return path == "a.txt"; });
  CHECK(some.files == 1);
  CHECK(some.unwanted.count == 2);
  CHECK(some.unwanted.first == "b.txt");
}

TEST_CASE("archives: a member that claims more than the archive can hold is refused before it is written",
          "[archive]") {
  const TestFolder folder("archive_huge");
  const fs::path sparse = folder.path / "sparse", archive = folder.path / "sparse.tar.gz",
                 claim = folder.path / "claim.tar";
  write_file_atomically(sparse, "");
  fs::resize_file(sparse, 8ll << 30);
  REQUIRE(std::system(("tar -C " + folder.path.string() + " -czSf " + archive.string() + " sparse").c_str()) == 0);
  REQUIRE(fs::file_size(archive) < 10'000);
  fs::remove(sparse);
  CHECK(error_of([&] {
          extract_archive(archive, folder.path / "into", all);
        }).find("refused, because unpacking its member sparse would take 8589934592 bytes: an archive of") !=
        std::string::npos);
  write_file_atomically(claim, member("big", '0', "", "little", 7ll << 30));
  CHECK(error_of([&] {
          extract_archive(claim, folder.path / "into", all);
        }).find("refused, because unpacking its member big would take 7516192768 bytes") != std::string::npos);
  CHECK_FALSE(fs::exists(folder.path / "into/big"));
}

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
        }).files == 1);
  const std::string tsv = "lra_release/lra_release/tsv_data/new_aan_pairs.test.tsv",
                    numbers_file = "lra_release/listops-1000/numbers.txt";
  const bool zip = archive.extension() == ".zip";  // it has no links
  std::set<std::string> files{tsv, numbers_file, "lra_release/empty.txt"};
  if (!zip) files.insert("lra_release/hard.txt");
  std::set<std::string> members = files;
  if (!zip) members.insert("lra_release/soft.txt");  // leads to /etc/passwd
  CHECK(asked == members);
  CHECK(files_in(folder.path / "some") == std::set<std::string>{tsv});
  CHECK(read_file(folder.path / "some" / tsv) == "0.0\ta\tb\tc\td\n");

  CHECK(extract_archive(archive, folder.path / "all", all).files == files.size());
  CHECK(files_in(folder.path / "all") == files);
  CHECK(read_file(folder.path / "all" / numbers_file) == numbers());
  CHECK(read_file(folder.path / "all/lra_release/empty.txt").empty());
  CHECK(extract_archive(archive, folder.path / "all", all).files == files.size());  // over what is there
}

TEST_CASE("archives: a file that would be written elsewhere is refused", "[archive]") {
  const TestFolder folder("archive_escape");
  fs::remove("/tmp/lra_evil.txt");
  const auto error = [&](const char* name) {
    return error_of([&] { extract_archive(fixtures / "archive" / name, folder.path / "a/b", all); });
  };
  const auto refused = [&](const char* name, const char* file) {
    return (fixtures / "archive" / name).string() + ": refused, because its file " + file +
           " would be written outside the folder it is unpacked into";
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
  CHECK(error_of([&] { extract_archive(archive, folder.path, all); }) ==
        archive.string() + ": the compressed data is damaged");
}

TEST_CASE("archives: other files, missing files and places that cannot be written are named", "[archive]") {
  const TestFolder folder("archive_errors");
  const auto error = [&](const fs::path& archive, const fs::path& into) {
    return error_of([&] { extract_archive(archive, into, all); });
  };
  const fs::path text = fixtures / "archive/no_archive.gz";
  CHECK(error(text, folder.path) ==
        text.string() + ": is damaged, cut short or no .tar.gz, .tar or .zip archive (Unrecognized archive format)");
  write_file_atomically(folder.path / "empty.tar.gz", "");
  CHECK(error(folder.path / "empty.tar.gz", folder.path)
            .starts_with((folder.path / "empty.tar.gz").string() + ": is damaged, cut short or no"));
  const std::string no_file = ": expected an archive (.tar.gz, .tar or .zip), found no such file";
  CHECK(error(folder.path / "none.zip", folder.path) == (folder.path / "none.zip").string() + no_file);
  CHECK(error(folder.path, folder.path) == folder.path.string() + no_file);
  write_file_atomically(folder.path / "file", "x");
  CHECK(error(fixtures / "archive/lra_release.zip", folder.path / "file")
            .ends_with("new_aan_pairs.test.tsv: cannot be written (Not a directory)"));
}
