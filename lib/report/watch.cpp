#include <fmt/format.h>

#include <csignal>
#include <thread>

#include "core/error.h"
#include "core/json_file.h"
#include "core/text.h"
#include "report/find_files.h"
#include "report/output.h"
#include "report/report.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

volatile std::sig_atomic_t stop_asked = 0;

/// The first signal leaves the report half-way; a second one ends the program.
void ask_to_stop(int signal) {
  stop_asked = 1;
  std::signal(signal, SIG_DFL);
}

/// Changes when a record or curve below the folders does.
std::size_t fingerprint(const std::vector<fs::path>& folders) {
  std::size_t sum = 0;
  for (const auto& [file, named] :
       find_files(folders, {"result.json", "metrics.jsonl", "profile.json", "atlas.json"}).files) {
    std::error_code gone;
    const auto time = fs::last_write_time(file, gone).time_since_epoch().count();
    sum = sum * 1000003 ^
          std::hash<std::string>{}(fmt::format("{} {} {}", file.string(), time, fs::file_size(file, gone)));
  }
  return sum;
}

/// The page that stays need not load itself again. Throws Error.
void end_refreshing(const fs::path& out) {
  const fs::path page = out / "index.html";
  std::error_code code;
  if (!fs::exists(page, code)) return;
  std::string text = read_file(page);
  const std::size_t begin = text.find("<meta http-equiv=\"refresh\"");
  if (begin == std::string::npos || begin > text.find("<body>")) return;
  text.erase(begin, text.find('\n', begin) + 1 - begin);
  write_report_file(out, "index.html", text);
}

}  // namespace

void watch(ReportOptions options, int seconds) {
  options.pictures = false;
  options.refresh_seconds = seconds;
  options.stopped = [] { return stop_asked != 0; };
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, ask_to_stop);
  const fs::path page = options.out / "index.html";
  std::size_t seen = 0;
  std::string said, failure;
  while (stop_asked == 0) {
    const std::size_t now = fingerprint(options.folders);
    if (now != seen || !failure.empty()) {
      seen = now;
      std::string text;
      try {
        for (const std::string& sentence : write_report(options)) text += "note: " + printable(sentence) + "\n";
        text += shown(page) + "\n";
        options.force = true;  // it is ours now
        failure.clear();
      } catch (const std::exception& error) {
        if (stop_asked != 0) break;
        failure = error.what();
        const bool begun =
            !find_files(options.folders, {"result.json"}).files.empty();  // else a suite that has only begun
        text = fmt::format("{}: {}\n", begun ? "not written" : "waiting", printable(failure));
        if (!begun) failure.clear();
      }
      if (text != said) fmt::print("{}", text);
      std::fflush(stdout);
      said = text;
    }
    for (int tenth = 0; tenth < 10 * seconds && stop_asked == 0; ++tenth)
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  end_refreshing(options.out);
  std::error_code code;
  if (!failure.empty())
    throw Error(fmt::format("the last page was not written: {}", failure),
                fs::exists(page, code) ? fmt::format("{} is an older one", shown(page)) : "");
}

}  // namespace lra::report
