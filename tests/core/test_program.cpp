#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <new>
#include <string>
#include <system_error>

#include "core/data_files.h"
#include "core/error.h"
#include "core/json_file.h"
#include "core/log.h"
#include "core/program.h"

using namespace lra;

namespace {

struct Ended {
  int code = -1;
  std::string out, err;
};

/// run_program in a process of its own; where a name is empty, the descriptor is closed.
Ended run(int (*body)(int, char**), const std::string& out = "out", const std::string& err = "err") {
  const TestFolder folder("program");
  const auto place = [&](const std::string& name) {
    return name.empty() || name[0] == '/' ? name : (folder.path / name).string();
  };
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string names[] = {"", place(out), place(err)};
    for (const int descriptor : {0, 1, 2}) {
      ::close(descriptor);
      const int opened =
          names[descriptor].empty() ? descriptor : ::open(names[descriptor].c_str(), O_WRONLY | O_CREAT, 0600);
      if (opened != descriptor) {  // a lower one is closed
        ::dup2(opened, descriptor);
        ::close(opened);
      }
    }
    ::_exit(run_program("lra-test", 0, nullptr, body));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  const auto text = [&](const std::string& name) {
    return !name.empty() && name[0] != '/' ? read_file(place(name)) : "";
  };
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text(out), text(err)};
}

int prints(int, char**) {
  fmt::print("a line\n");
  return 0;
}

int prints_much(int, char**) {
  fmt::print("{}", std::string(1 << 20, 'x'));
  return 0;
}

int is_silent(int, char**) { return 3; }

/// 0 if a file that is opened takes none of the three standard descriptors.
int opens(int, char**) { return ::open("/dev/null", O_RDONLY) > 2 ? 0 : 9; }

int fails_by_the_user(int, char**) { throw Error("a\nb \x1b[31m\xff", "c\nd"); }
int fails_by_the_machine(int, char**) {
  throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
}
int fails_by_the_files(int, char**) {
  throw std::filesystem::filesystem_error("status", "a\nfile",
                                          std::make_error_code(std::errc::too_many_symbolic_link_levels));
}
int fails_by_a_fault(int, char**) { throw std::runtime_error("what broke\nframe #0: 0x1234"); }
int fails_by_a_wrong_kind(int, char**) { return Json(1).at("key").get<int>(); }
int says_much(int, char**) { throw Error(std::string(1 << 20, 'x')); }

int logs(int, char**) {
  log().info("{}", "run \x1b[31mred\x1b[0m\nerror: forged");
  say("as \x1b[K it is\n");
  return 0;
}

}  // namespace

TEST_CASE("Errors are one line for a person, and exit codes say whose they are", "[program]") {
  const Ended user = run(fails_by_the_user);
  CHECK(user.code == 2);
  CHECK(user.err == "error: a\\nb \\x1b[31m\\xff\nhint: c\\nd\n");
  CHECK(run(fails_by_the_machine).code == 2);
  CHECK(run(fails_by_a_wrong_kind).code == 2);
  CHECK(run(fails_by_the_files).err == "error: a\\nfile: cannot be used (Too many levels of symbolic links)\n");
  const Ended fault = run(fails_by_a_fault);
  CHECK(fault.code == 1);
  CHECK(fault.err == "error: this is a fault of lra-test, please report it: what broke\n");
  CHECK(run(says_much).err.size() < 5000);
  CHECK(run(fails_by_the_user, "out", "/dev/full").code == 2);
}

TEST_CASE("Output that cannot be written is an error, not silence", "[program]") {
  CHECK(run(prints).code == 0);
  CHECK(run(prints).out == "a line\n");
  for (const auto body : {prints, prints_much}) {
    const Ended full = run(body, "/dev/full");
    CHECK(full.code == 2);
    CHECK(full.err == "error: standard output: writing failed (No space left on device)\n");
    const Ended closed = run(body, "");
    CHECK(closed.code == 2);
    CHECK(closed.err == "error: standard output: writing failed (Bad file descriptor)\n");
  }
  CHECK(run(is_silent, "").code == 3);
}

TEST_CASE("No file of ours takes the place of a closed standard descriptor", "[program]") {
  CHECK(run(opens, "", "").code == 0);
  CHECK(run(opens, "out", "").code == 0);
  CHECK(run(opens, "", "err").code == 0);
}

TEST_CASE("Log lines do not drive the terminal, and a full disk under them stops nothing", "[program]") {
  const Ended ended = run(logs);
  CHECK(ended.code == 0);
  REQUIRE(ended.err.size() > 9);
  CHECK(ended.err.substr(9) == "run \\x1b[31mred\\x1b[0m\\nerror: forged\nas \x1b[K it is\n");
  CHECK(run(logs, "out", "/dev/full").code == 0);
}

TEST_CASE("An option's integer is one, and not the nearest that fits", "[program]") {
  for (const char* good : {"0", "-5", "9223372036854775807"}) CHECK(integer_problem(good).empty());
  for (const char* bad : {"", "x", "5x", "1e3", "1.0", "9223372036854775808", "nan"})
    CHECK_FALSE(integer_problem(bad).empty());
}

TEST_CASE("An option's number is finite and at least 0", "[program]") {
  for (const char* good : {"0", "0.5", "1e3", "-0"}) CHECK(not_negative_number_problem(good).empty());
  for (const char* bad : {"nan", "NaN", "inf", "-inf", "-1", "-1e-9", "1e999", "", "5x", "x"})
    CHECK_FALSE(not_negative_number_problem(bad).empty());
  CHECK(not_negative_number_problem("nan") == "expected a number of at least 0, found 'nan'");
}
