#include "data/unpacked_source.h"

#include <fmt/format.h>

#include <set>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "core/sha256.h"
#include "core/text.h"
#include "core/thousands.h"

namespace lra {
namespace fs = std::filesystem;

void check_source(const fs::path& from) {
  std::error_code code;
  const fs::file_status status = fs::status(from, code);
  if (status.type() == fs::file_type::not_found)
    throw Error(fmt::format("--from {}: there is no such folder or archive", printable(from.string())));
  if (code) throw Error(fmt::format("--from {}: cannot be read ({})", printable(from.string()), code.message()));
  if (!fs::is_directory(status) && !fs::is_regular_file(status)) {
    throw Error(fmt::format("--from {}: expected a folder or an archive, found a device or another special file",
                            printable(from.string())));
  }
}

LeftOut files_beside(const std::vector<fs::path>& read, const fs::path& from) {
  std::unordered_set<std::string> known;
  std::set<fs::path> folders;
  for (const fs::path& file : read) {
    known.insert(file.string());
    folders.insert(file.parent_path());
  }
  std::set<std::string> others;
  for (const fs::path& folder : folders) {
    std::error_code code;
    for (fs::directory_iterator entry(folder, code), end; !code && entry != end; entry.increment(code)) {
      std::error_code unknown;
      if (!known.contains(entry->path().string()) && !entry->is_directory(unknown))
        others.insert(entry->path().lexically_relative(from).string());
    }
  }
  LeftOut left_out;
  for (const std::string& file : others) left_out.add(file);
  return left_out;
}

void say_left_out(const std::string& source, const LeftOut& files, bool unreadable, Json& description) {
  if (files.count == 0) return;
  const std::string text =
      fmt::format("{}: {} file(s) left out{}, the first: {}", printable(source),
                  with_commas(static_cast<std::int64_t>(files.count)),
                  unreadable ? ", which cannot be read" : " that this task does not read", printable(files.first));
  if (unreadable) {
    log().warn("{}", text);
  } else {
    log().info("{}", text);
  }
  description["left_out"][unreadable ? "unreadable" : "unused"] = {{"files", files.count},
                                                                   {"first", printable(files.first)}};
}

UnpackedSource::UnpackedSource(const fs::path& from, fs::path temporary,
                               const std::function<bool(const std::string& entry)>& wanted,
                               const std::function<bool(const std::string& entry)>& companion,
                               const std::string& sha256)
    : temporary_(std::move(temporary)), folder_(from) {
  check_source(from);
  const fs::path inside = fs::weakly_canonical(from).lexically_relative(fs::weakly_canonical(temporary_));
  if (!inside.empty() && *inside.begin() != "..") {
    throw Error(fmt::format("--from {}: this folder is emptied whenever data are prepared", from.string()),
                "move the files out of it");
  }
  fs::remove_all(temporary_);
  if (!is_archive(from)) return;
  log().info("unpacking {}", printable(from.string()));
  description_ = {{"archive", printable(from.filename().string())},
                  {"bytes", fs::file_size(from)},
                  {"sha256", sha256.empty() ? sha256_file(from) : sha256}};
  folder_ = temporary_;
  try {
    const Extracted extracted = extract_archive(from, temporary_, wanted, companion);
    say_left_out(from.string(), extracted.unreadable, true, description_);
    say_left_out(from.string(), extracted.unwanted, false, description_);
    if (extracted.files == 0)
      throw Error(fmt::format("--from {}: the archive holds none of the files of this task", printable(from.string())));
  } catch (...) {
    std::error_code code;
    fs::remove_all(temporary_, code);
    throw;
  }
}

UnpackedSource::~UnpackedSource() {
  std::error_code code;
  fs::remove_all(temporary_, code);
}

}  // namespace lra
