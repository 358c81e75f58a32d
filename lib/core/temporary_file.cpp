#include "core/temporary_file.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <string>
#include <string_view>

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t longest_name = 255;  // of a file, in bytes, on every common file system

std::string host_name() {
  std::array<char, 65> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "host";
  std::string text = name.data();
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

/// What stands before the process in a temporary name of this host.
std::string mark() { return fmt::format(".tmp.{}.", host_name()); }

bool is_dead(pid_t process) { return process == ::getpid() || (::kill(process, 0) != 0 && errno == ESRCH); }

}  // namespace

fs::path temporary_name(const fs::path& file) {
  const std::string ending = mark() + std::to_string(::getpid());
  std::string name = file.filename().string();
  if (name.size() + ending.size() > longest_name) name.resize(longest_name - ending.size());
  return file.parent_path() / (name + ending);
}

void remove_temporary_files(const fs::path& folder) {
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    const std::string name = entry.path().filename().string();
    const auto place = name.rfind(mark());
    if (place == std::string::npos) continue;
    const std::string_view digits = std::string_view(name).substr(place + mark().size());
    pid_t process = 0;
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), process);
    if (failure == std::errc() && end == digits.data() + digits.size() && process > 0 && is_dead(process))
      fs::remove(entry.path(), code);
  }
}

}  // namespace lra
