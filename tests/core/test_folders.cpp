#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/error.h"
#include "core/held_folder.h"
#include "core/json_file.h"
#include "core/temporary_file.h"

using namespace lra;
namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Folder {
  Folder() : path(fs::temp_directory_path() / ("lra-folders-" + std::to_string(::getpid()))) {
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

pid_t dead_process() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return child;
}

}  // namespace

TEST_CASE("A temporary name carries host and process and fits the file system") {
  std::array<char, 65> host{};
  REQUIRE(gethostname(host.data(), host.size() - 1) == 0);
  CHECK(temporary_name("a/b.json") == "a/b.json.tmp." + std::string(host.data()) + "." + std::to_string(getpid()));

  const Folder folder;
  const fs::path longest = folder.path / std::string(255, 'x');
  CHECK_NOTHROW(write_file_atomically(longest, "text"));
  CHECK(read_file(longest) == "text");
}

TEST_CASE("Of temporary files only those of this host's dead processes are removed") {
  const Folder folder;
  const auto made = [&](const std::string& name) {
    std::ofstream(folder.path / name) << "half";
    return folder.path / name;
  };
  std::string own = temporary_name("a.json").string();
  const std::string mark = own.substr(0, own.rfind('.') + 1);  // a.json.tmp.HOST.
  const fs::path dead = made(mark + std::to_string(dead_process())), ours = made(own);
  const fs::path living = made(mark + std::to_string(getppid()));
  const fs::path other_host = made("a.json.tmp.elsewhere-" + std::to_string(getpid()) + ".1");
  const fs::path no_number = made(mark + "12x"), user = made("notes.tmp.txt");
  remove_temporary_files(folder.path);
  CHECK_FALSE(fs::exists(dead));
  CHECK_FALSE(fs::exists(ours));
  for (const auto& kept : {living, other_host, no_number, user}) CHECK(fs::exists(kept));
  CHECK_NOTHROW(remove_temporary_files(folder.path / "nowhere"));
}

TEST_CASE("A held folder notices that its path leads elsewhere") {
  const Folder folder;
  const fs::path path = folder.path / "run", elsewhere = folder.path / "moved";
  const HeldFolder held(path);
  CHECK(held.in_place());
  fs::rename(path, elsewhere);
  CHECK_FALSE(held.in_place());
  fs::create_directory(path);  // another one under the same name
  CHECK_FALSE(held.in_place());
  CHECK_THROWS_WITH(held.check(), ContainsSubstring("was moved, removed or replaced"));
  fs::remove(path);
  fs::rename(elsewhere, path);
  CHECK(held.in_place());
  fs::remove(path);
  for (int i = 0; i < 20; ++i) {  // no new folder gets its inode
    fs::create_directory(path);
    CHECK_FALSE(held.in_place());
    fs::remove(path);
  }
}
