#include "core/json_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <vector>

#include "core/error.h"
#include "core/temporary_file.h"

namespace lra {
namespace fs = std::filesystem;

Json parse_json(std::string_view text, const std::string& origin) {
  constexpr int deepest = 100;  // copying and writing recurse, and would end in a stack overflow
  std::vector<std::set<std::string>> keys_of_open_objects;
  const auto reject_bad_parts = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > deepest) throw Error(fmt::format("{}: objects and lists are nested more than {} deep", origin, deepest));
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
    throw Error(fmt::format("{}:{}:{}: broken JSON", origin, line, column), "look for a missing comma, quote or bracket just before that place");
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
  if (json.is_number_unsigned() && json.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return json.get<std::int64_t>();
  return json;
}

std::string read_file(const fs::path& file) {
  std::error_code code;
  if (fs::is_directory(file, code)) throw Error(fmt::format("{}: expected a file, found a folder", file.string()));
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(fmt::format("{}: cannot be read ({})", file.string(), std::strerror(errno)));
  std::ostringstream text;
  text << in.rdbuf();
  if (in.bad()) throw Error(fmt::format("{}: reading failed ({})", file.string(), std::strerror(errno)));
  return text.str();
}

Json read_json(const fs::path& file) { return parse_json(read_file(file), file.string()); }

void write_file_atomically(const fs::path& file, std::string_view text) {
  const auto fail = [&](const char* what) {
    throw Error(fmt::format("{}: {} ({})", file.string(), what, std::strerror(errno)), "check the permissions and the free space there");
  };
  std::error_code code;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), code);
  if (code) {
    errno = code.value();
    fail("its folder cannot be made");
  }
  const fs::path temporary = temporary_name(file);
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) fail("cannot be written");
  bool good = true;
  for (std::size_t done = 0; good && done < text.size();) {
    const auto count = ::write(descriptor, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    good = count > 0;
    if (good) done += static_cast<std::size_t>(count);
  }
  good = good && ::fsync(descriptor) == 0;
  const int write_errno = errno;
  ::close(descriptor);
  if (!good || ::rename(temporary.c_str(), file.c_str()) != 0) {
    if (!good) errno = write_errno;
    const int kept = errno;
    ::unlink(temporary.c_str());
    errno = kept;
    fail("writing failed");
  }
}

void write_json(const fs::path& file, const Json& json) { 
  // Texts that are no UTF-8, a bad line of a data file quoted in a message say, must not cost the record.
  write_file_atomically(file, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace lra
