#include "core/json_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/temporary_file.h"

namespace lra {
namespace fs = std::filesystem;

namespace {

/// The word of letters around `place`.
std::string_view word_at(std::string_view text, std::size_t place) {
  const auto letter = [&](std::size_t i) { return std::isalpha(static_cast<unsigned char>(text[i])) != 0; };
  std::size_t begin = place, end = place;
  while (begin > 0 && letter(begin - 1)) --begin;
  while (end < text.size() && letter(end)) ++end;
  return text.substr(begin, end - begin);
}

/// What to do about JSON that breaks at `place`.
std::string hint_for(std::string_view text, std::size_t place) {
  const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff") ||
      text.substr(0, 2).find('\0') != std::string_view::npos) {
    return "the text is UTF-16; save it as UTF-8";
  }
  if (std::all_of(text.begin(), text.end(), is_space)) return "there is nothing in it";
  if (place >= text.size()) return "it ends too early; look for a bracket or quote that is never closed";
  std::size_t before = place;
  while (before > 0 && is_space(text[before - 1])) --before;
  const char found = text[place];
  if (found == '/' || found == '#') return "JSON has no comments; remove this one";
  if ((found == '}' || found == ']') && before > 0 && text[before - 1] == ',') return "remove the comma before it";
  if (found == '\'') return "texts stand in double quotes";
  const std::string_view word = word_at(text, place);
  for (const std::string_view other : {"True", "False", "None", "NaN", "nan", "Infinity", "inf", "undefined"}) {
    if (word == other) return "JSON knows true, false, null and finite numbers";
  }
  return "look for a missing comma, quote or bracket just before that place";
}

/// "unexpected '}'; expected string literal", from the parser's message.
std::string what_was_found(const Json::parse_error& error) {
  const std::string_view message = error.what();
  const auto start = message.find(" - ", message.find("syntax error"));
  if (start == std::string_view::npos) return "";
  constexpr std::size_t longest = 160;  // it quotes what it read last, which may be a long text
  const std::string_view part = message.substr(start + 3);
  return fmt::format(": {}{}", part.substr(0, longest), part.size() > longest ? "..." : "");
}

}  // namespace

Json parse_json(std::string_view text, const std::string& origin) {
  constexpr int deepest = 100;  // copying and writing recurse, and would end in a stack overflow
  std::vector<std::set<std::string>> keys_of_open_objects;
  const auto reject_bad_parts = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > deepest)
      throw Error(fmt::format("{}: objects and lists are nested more than {} deep", origin, deepest));
    if (event == Json::parse_event_t::object_start) keys_of_open_objects.emplace_back();
    if (event == Json::parse_event_t::object_end) keys_of_open_objects.pop_back();
    if (event == Json::parse_event_t::key && !keys_of_open_objects.back().insert(parsed.get<std::string>()).second) {
      throw Error(fmt::format("{}: the key \"{}\" is given twice in one object", origin, parsed.get<std::string>()));
    }
    return true;
  };
  try {
    return Json::parse(text, reject_bad_parts);
  } catch (const Json::parse_error& error) {
    const std::string_view before = text.substr(0, error.byte == 0 ? 0 : error.byte - 1);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const auto last_newline = before.rfind('\n');
    const auto column = before.size() - (last_newline == std::string_view::npos ? 0 : last_newline + 1) + 1;
    throw Error(fmt::format("{}:{}:{}: broken JSON{}", origin, line, column, what_was_found(error)),
                hint_for(text, before.size()));
  } catch (const Json::exception&) {
    throw Error(fmt::format("{}: a number in it is too large", origin));
  }
}

Json canonical(const Json& json) {
  if (json.is_array()) {
    Json list = Json::array();
    for (const auto& value : json) list.push_back(canonical(value));
    return list;
  }
  if (json.is_object()) {
    std::map<std::string, Json> sorted;
    for (const auto& [key, value] : json.items()) sorted.emplace(key, canonical(value));
    return Json(sorted);
  }
  constexpr double exact = 9007199254740992.0;  // 2^53: whole numbers up to here have one double each
  if (json.is_number_float()) {
    const double value = json.get<double>();
    if (value == std::floor(value) && std::abs(value) <= exact) return static_cast<std::int64_t>(value);
  }
  if (json.is_number_unsigned() &&
      json.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return json.get<std::int64_t>();
  return json;
}

std::string read_file(const fs::path& file) {
  std::error_code code;
  if (fs::is_directory(file, code)) throw Error(fmt::format("{}: expected a file, found a folder", file.string()));
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(fmt::format("{}: cannot be read ({})", file.string(), std::strerror(errno)));
  std::string text;
  for (std::vector<char> part(1 << 16); in;) {
    in.read(part.data(), static_cast<std::streamsize>(part.size()));
    text.append(part.data(), static_cast<std::size_t>(in.gcount()));
  }
  if (in.bad()) throw Error(fmt::format("{}: reading failed ({})", file.string(), std::strerror(errno)));
  return text;
}

Json read_json(const fs::path& file) { return parse_json(read_file(file), file.string()); }

std::string json_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

namespace {

[[noreturn]] void fail(const fs::path& file, const char* what, int number) {
  throw Error(fmt::format("{}: {} ({})", file.string(), what, std::strerror(number)),
              "check the permissions and the free space there");
}

/// N of /dev/fd/N and /proc/self/fd/N; -1 for other names.
int own_descriptor(const fs::path& file) {
  std::error_code code;
  if (fs::canonical(file.parent_path(), code) != fmt::format("/proc/{}/fd", ::getpid())) return -1;
  const std::string name = file.filename().string();
  int descriptor = -1;
  const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), descriptor);
  return problem == std::errc() && end == name.data() + name.size() ? descriptor : -1;
}

/// The name that `file` leads to, by links of its last part.
fs::path followed(fs::path file) {
  for (int links = 0; links < 40; ++links) {
    std::error_code code;
    if (own_descriptor(file) >= 0) return file;
    const fs::path target = fs::read_symlink(file, code);
    if (code) return file;
    file = file.parent_path() / target;
  }
  fail(file, "cannot be written", ELOOP);
}

void make_folder_of(const fs::path& file) {
  std::error_code code;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), code);
  if (code) fail(file, "its folder cannot be made", code.value());
}

bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const auto count = ::write(descriptor, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

/// Into a pipe, a device, or a descriptor of this process, after what was printed so far.
void write_through(const fs::path& file, std::string_view text) {
  std::fflush(nullptr);
  const int own = own_descriptor(file);
  const int descriptor = own >= 0 ? ::dup(own) : ::open(file.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (descriptor < 0) fail(file, "cannot be written", errno);
  const bool good = write_all(descriptor, text);
  const int number = errno;
  ::close(descriptor);
  if (!good) fail(file, "writing failed", number);
}

int open_temporary(const fs::path& file, const fs::path& temporary) {
  make_folder_of(file);
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) fail(file, "cannot be written", errno);
  return descriptor;
}

/// What there is under a name, if it is there.
struct Found {
  explicit Found(const fs::path& file) : exists(::stat(file.c_str(), &status) == 0) {}
  bool is_no_file() const { return exists && !S_ISREG(status.st_mode); }

  struct stat status{};
  bool exists;
};

}  // namespace

void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;                                    // a folder that may be written but not read
  const bool failed = ::fsync(descriptor) != 0 && errno == EIO;  // some file systems cannot
  ::close(descriptor);
  if (failed) fail(folder, "writing failed", EIO);
}

void write_file_atomically(const fs::path& file, std::string_view text) {
  const fs::path target = followed(file);
  const Found found(target);
  if (own_descriptor(target) >= 0 || found.is_no_file()) return write_through(target, text);
  const fs::path temporary = temporary_name(target);
  const int descriptor = open_temporary(target, temporary);
  const bool good = write_all(descriptor, text) &&
                    (!found.exists || ::fchmod(descriptor, found.status.st_mode & 0777) == 0) &&
                    ::fsync(descriptor) == 0;
  int number = errno;
  ::close(descriptor);
  const bool renamed = good && ::rename(temporary.c_str(), target.c_str()) == 0;
  if (good) number = errno;
  if (!renamed) {
    ::unlink(temporary.c_str());
    fail(target, "writing failed", number);
  }
  sync_folder(target.parent_path());
}

void check_writable(const fs::path& file) {
  const fs::path target = followed(file);
  if (own_descriptor(target) >= 0) return;
  if (Found(target).is_no_file()) {
    if (fs::is_directory(target)) fail(target, "cannot be written", EISDIR);
    if (::access(target.c_str(), W_OK) != 0) fail(target, "cannot be written", errno);
    return;
  }
  const fs::path temporary = temporary_name(target);
  ::close(open_temporary(target, temporary));
  ::unlink(temporary.c_str());
}

void write_json(const fs::path& file, const Json& json) {
  // Texts that are no UTF-8, a bad line of a data file quoted in a message say, must not cost the record.
  write_file_atomically(file, json_text(json, 2) + "\n");
}

}  // namespace lra
