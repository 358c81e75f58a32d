#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "core/data_files.h"
#include "core/error.h"
#include "core/file_lock.h"
#include "core/json_file.h"

using namespace lra;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

std::vector<ino_t> synced_folders;

}  // namespace

/// Takes the place of the C library's: remembers folders.
extern "C" int fsync(int descriptor) {
  struct stat status{};
  if (::fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode)) synced_folders.push_back(status.st_ino);
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

namespace {

mode_t mode_of(const fs::path& file) {
  struct stat status{};
  REQUIRE(::stat(file.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

struct Umask {
  explicit Umask(mode_t mask) : before(::umask(mask)) {}
  ~Umask() { ::umask(before); }
  mode_t before;
};

std::size_t files_in(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("A name that is a link stays one, and what it leads to is written", "[files]") {
  const TestFolder folder("files");
  write_file_atomically(folder.path / "far/target", "old");
  fs::create_symlink("far/target", folder.path / "link");
  fs::create_symlink(folder.path / "link", folder.path / "link_to_link");
  write_file_atomically(folder.path / "link_to_link", "new");
  CHECK(fs::is_symlink(folder.path / "link_to_link"));
  CHECK(fs::is_symlink(folder.path / "link"));
  CHECK(read_file(folder.path / "far/target") == "new");
  CHECK(files_in(folder.path / "far") == 1);

  fs::create_symlink("made/later", folder.path / "dangling");
  write_file_atomically(folder.path / "dangling", "x");
  CHECK(fs::is_symlink(folder.path / "dangling"));
  CHECK(read_file(folder.path / "made/later") == "x");

  fs::create_symlink("loop", folder.path / "loop");
  CHECK_THROWS_WITH(write_file_atomically(folder.path / "loop", "x"),
                    ContainsSubstring("Too many levels of symbolic links"));
}

TEST_CASE("What is no regular file is written through", "[files]") {
  const TestFolder folder("files");
  const fs::path pipe = folder.path / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const std::string sent(200'000, 'x');  // more than a pipe holds
  std::string received;
  std::thread reader([&] { received = read_file(pipe); });
  write_file_atomically(pipe, sent);
  reader.join();
  CHECK(received == sent);
  CHECK(fs::is_fifo(pipe));

  if (::mknod((folder.path / "null").c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0) {
    write_json(folder.path / "null", Json::object());
    CHECK(fs::is_character_file(folder.path / "null"));
    REQUIRE(::mknod((folder.path / "full").c_str(), S_IFCHR | 0600, makedev(1, 7)) == 0);
    CHECK_THROWS_WITH(write_file_atomically(folder.path / "full", "x"),
                      ContainsSubstring("writing failed (No space left on device)"));
    CHECK(fs::is_character_file(folder.path / "full"));
  }
  CHECK_THROWS_WITH(write_file_atomically(folder.path, "x"), ContainsSubstring("cannot be written (Is a directory)"));
}

TEST_CASE("A descriptor of the program's own is written where it stands", "[files]") {
  const TestFolder folder("files");
  const fs::path file = folder.path / "out";
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT, 0600);
  REQUIRE(::write(descriptor, "before ", 7) == 7);
  for (const char* place : {"/dev/fd", "/proc/self/fd"})
    write_file_atomically(fs::path(place) / std::to_string(descriptor), "inside ");
  fs::create_symlink("/dev/fd/" + std::to_string(descriptor), folder.path / "link");  // as /dev/stdout is one
  write_file_atomically(folder.path / "link", "linked ");
  REQUIRE(::write(descriptor, "after", 5) == 5);
  ::close(descriptor);
  CHECK(read_file(file) == "before inside inside linked after");
}

TEST_CASE("Modes follow the umask, and an existing file keeps its own", "[files]") {
  const TestFolder folder("files");
  const fs::path file = folder.path / "new/file";
  {
    const Umask shared(002);
    write_file_atomically(file, "x");
    FolderLock::try_lock(folder.path / "locked");
  }
  CHECK(mode_of(file) == 0664);
  CHECK(mode_of(folder.path / "new") == 0775);
  CHECK(mode_of(folder.path / "locked/.lock") == 0664);
  {
    const Umask mine(077);
    write_file_atomically(folder.path / "mine", "x");
    write_file_atomically(file, "y");
  }
  CHECK(mode_of(folder.path / "mine") == 0600);
  CHECK(mode_of(file) == 0664);
  fs::permissions(file, fs::perms(0640));
  write_file_atomically(file, "z");
  CHECK(mode_of(file) == 0640);
}

TEST_CASE("A renamed file outlives a power failure: its folder is synced", "[files]") {
  const TestFolder folder("files");
  struct stat status{};
  REQUIRE(::stat(folder.path.c_str(), &status) == 0);
  fs::create_symlink(folder.path / "file", folder.path / "link");
  for (const char* name : {"file", "link"}) {
    synced_folders.clear();
    write_file_atomically(folder.path / name, "x");
    CHECK(synced_folders == std::vector<ino_t>{status.st_ino});
  }
}

TEST_CASE("Every name that a file system allows can be written", "[files]") {
  const TestFolder folder("files");
  for (const std::string& name : {std::string("two\nlines"), std::string("-o"), std::string(" '\"$(x)"),
                                  std::string("\xff\xfe"), std::string(255, 'n')}) {
    write_file_atomically(folder.path / name, name);
    write_file_atomically(folder.path / name, name);
    CHECK(read_file(folder.path / name) == name);
  }
  CHECK(files_in(folder.path) == 5);
  CHECK_THROWS_WITH(write_file_atomically(folder.path / std::string(256, 'n'), "x"),
                    ContainsSubstring("File name too long"));
  CHECK(files_in(folder.path) == 5);
}

TEST_CASE("Whether a file can be written is known before, without a trace in it", "[files]") {
  const TestFolder folder("files");
  write_file_atomically(folder.path / "kept", "kept");
  check_writable(folder.path / "kept");
  CHECK(read_file(folder.path / "kept") == "kept");
  check_writable(folder.path / "not/there");
  CHECK_FALSE(fs::exists(folder.path / "not/there"));
  REQUIRE(::mkfifo((folder.path / "pipe").c_str(), 0600) == 0);
  check_writable(folder.path / "pipe");  // and does not wait for a reader
  check_writable("/dev/stdout");
  CHECK_THROWS_AS(check_writable(folder.path), Error);
  CHECK_THROWS_AS(check_writable(folder.path / "kept/below"), Error);
  CHECK(files_in(folder.path) == 3);
}

TEST_CASE("Texts that are not UTF-8 become JSON", "[files]") {
  CHECK(json_text(Json{{"a", "b\xff"}}) == "{\"a\":\"b\xef\xbf\xbd\"}");
}
