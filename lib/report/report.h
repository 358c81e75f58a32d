#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace lra::report {

struct ReportOptions {
  std::vector<std::filesystem::path> folders;  ///< with records
  std::filesystem::path out;
  std::int64_t length =
      0;                 ///< tokens; take the charts' speed from benches of this length (0: the longest that all have)
  bool pictures = true;  ///< write SVG, PNG and PDF
  int refresh_seconds = 0;             ///< the page loads itself again
  bool force = false;                  ///< write over an index.html that lra-report did not write
  bool page_alone = false;             ///< the page links to no other files
  std::function<bool()> stopped = {};  ///< asked now and then; true ends the report half-way
};

/// Reads the records and writes the whole report, with the atlas's pages where there is an atlas.json: index.html,
/// tables, charts. Files that an earlier report wrote to the same folder and this one does not are removed. Returns
/// sentences about records that are broken and about what could not be made. Writes only below `out`. Throws Error,
/// also where an index.html stands there that lra-report did not write.
std::vector<std::string> write_report(const ReportOptions& options);

/// Writes one page, the file `out`, that needs and has no other files. Returns sentences as write_report. Throws Error,
/// also where a file stands there that lra-report did not write.
std::vector<std::string> write_page(ReportOptions options);

/// Writes the page (no pictures) whenever a record or learning curve below the folders has changed, looking every
/// `seconds`, until SIGINT or SIGTERM, which also end a page that is being written (the one before stays). Throws Error
/// at the end where the last page could not be written.
void watch(ReportOptions options, int seconds);

/// A file of the repository: beside a parent folder of the program or of the working directory, else in the checkout it
/// was built from. Throws Error.
std::filesystem::path repository_file(const std::filesystem::path& relative);

}  // namespace lra::report
