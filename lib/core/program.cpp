#include "core/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "core/error.h"
#include "core/json_file.h"
#include "core/log.h"
#include "core/text.h"

namespace lra {
namespace {

constexpr int exit_of_fault = 1, exit_of_user = 2;

/// Standard output becomes readable only: who closed it and asks for output is told, and who asks for none is not
/// disturbed.
void open_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
    if (::open("/dev/null", descriptor == STDERR_FILENO ? O_WRONLY : O_RDONLY) != descriptor) std::_Exit(exit_of_user);
  }
}

void print_line(const char* kind, std::string_view text) {
  constexpr std::size_t longest = 4000;
  const std::string_view cut = text.size() > longest ? "..." : "";
  say(fmt::format("{}: {}{}\n", kind, printable(text.substr(0, longest)), cut));
}

int failed(const std::exception& error, const std::string& message, int exit_code) {
  print_line("error", message);
  const auto* ours = dynamic_cast<const Error*>(&error);
  if (ours != nullptr && !ours->hint().empty()) print_line("hint", ours->hint());
  return exit_code;
}

std::string not_printed(int number) {
  return fmt::format("standard output: writing failed ({})", std::strerror(number));
}

int run_body(const char* name, int argc, char** argv, int (*body)(int, char**)) {
  try {
    return body(argc, argv);
  } catch (const Error& error) {
    return failed(error, error.what(), exit_of_user);
  } catch (const Json::exception& error) {
    return failed(
        error,
        fmt::format("a JSON file of the configuration or a record has a value of the wrong kind: {}", error.what()),
        exit_of_user);
  } catch (const std::system_error& error) {
    const bool printing = std::ferror(stdout) != 0;
    return failed(error, printing ? not_printed(error.code().value()) : message_of(error), exit_of_user);
  } catch (const std::exception& error) {
    return failed(error, fmt::format("this is a fault of {}, please report it: {}", name, message_of(error)),
                  exit_of_fault);
  }
}

}  // namespace

std::string message_of(const std::exception& error) {
  const auto* files = dynamic_cast<const std::filesystem::filesystem_error*>(&error);
  if (files == nullptr) return first_line(error.what());
  const std::string second = files->path2().empty() ? "" : fmt::format(" and {}", files->path2().string());
  return fmt::format("{}{}: cannot be used ({})", files->path1().string(), second,
                     std::strerror(files->code().value()));
}

int run_program(const char* name, int argc, char** argv, int (*body)(int, char**)) {
  open_standard_descriptors();
  const int code = run_body(name, argc, argv, body);
  const bool failed_before = std::ferror(stdout) != 0;
  if (failed_before && code == exit_of_user) return code;  // it was said
  if (std::fflush(stdout) == 0 && !failed_before) return code;
  print_line("error", not_printed(failed_before ? EIO : errno));
  return code == 0 ? exit_of_user : code;
}

namespace {

/// Whether all of `text` is a number that a T can hold.
template <class T>
bool parse(const std::string& text, T& value) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string not_negative_number_problem(const std::string& text) {
  double value = 0;
  return parse(text, value) && std::isfinite(value) && value >= 0
             ? ""
             : fmt::format("expected a number of at least 0, found '{}'", text);
}

std::string integer_problem(const std::string& text) {
  std::int64_t value = 0;
  return parse(text, value) ? "" : fmt::format("expected an integer, found '{}'", text);
}

}  // namespace lra
