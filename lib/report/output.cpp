#include "report/output.h"

#include <fmt/format.h>

#include <fstream>
#include <utility>

#include "core/error.h"
#include "core/json_file.h"
#include "report/find_files.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

constexpr const char* list_name = "lra_report_files.json";

/// What an earlier report may have written: nothing else is removed, whatever the list says.
bool is_ours(const std::string& name) {
  const bool in_folder = name.starts_with("tables/") || name.starts_with("charts/");
  return name == "index.html" ||
         (in_folder && name.find("..") == std::string::npos && name.find('/', 7) == std::string::npos);
}

}  // namespace

bool is_our_page(const fs::path& file) {
  std::ifstream in(file);
  std::string start(2000, '\0');
  in.read(start.data(), static_cast<std::streamsize>(start.size()));
  // The titles are those of pages that did not name their generator yet.
  const auto has = [&](const char* text) { return start.find(text) != std::string::npos; };
  return has("<meta name=\"generator\" content=\"lra-report\">") || has("<title>Attention atlas</title>") ||
         has("<title>Long Range Arena report</title>");
}

void write_report_file(const fs::path& out, const std::string& name, const std::string& text) {
  const fs::path file = out / name;
  std::error_code code;
  if (file.parent_path() != out && fs::is_symlink(file.parent_path(), code)) {
    throw Error(fmt::format("{}: is a link, and a report writes only below its own folder", shown(file.parent_path())),
                "remove the link, or give another folder with -o");
  }
  if (fs::is_symlink(file, code)) fs::remove(file, code);
  write_file_atomically(file, text);
}

Output::Output(fs::path folder, bool force, std::function<bool()> stopped)
    : folder_(std::move(folder)), stopped_(std::move(stopped)) {
  std::error_code code;
  for (const char* page : {"index.html", "atlas.html"}) {
    if (!force && fs::exists(folder_ / page, code) && !is_our_page(folder_ / page)) {
      throw Error(fmt::format("{}: was not written by lra-report", shown(folder_ / page)),
                  "give another folder with -o, or --force to write over it");
    }
  }
  if (!fs::exists(folder_ / list_name, code)) return;
  const Json list = Json::parse(read_file(folder_ / list_name), nullptr, false);
  if (!list.is_object() || list.value("written_by", Json()) != "lra-report") return;
  if (!list.contains("files") || !list["files"].is_array()) return;
  for (const Json& name : list["files"]) {
    if (name.is_string() && is_ours(name.get<std::string>())) old_.insert(name.get<std::string>());
  }
}

void Output::write(const std::string& name, const std::string& text) {
  if (stopped_ && stopped_()) throw Stopped();
  write_report_file(folder_, name, text);
  names_.insert(name);
}

void Output::made(const std::string& name) {
  if (fs::exists(folder_ / name)) names_.insert(name);
}

void Output::finish() {
  std::error_code code;
  for (const std::string& name : old_) {
    if (names_.count(name) == 0) fs::remove(folder_ / name, code);
  }
  write_report_file(folder_, list_name, Json{{"written_by", "lra-report"}, {"files", names_}}.dump(2) + "\n");
}

}  // namespace lra::report
