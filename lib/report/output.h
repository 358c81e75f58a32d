#pragma once

#include <exception>
#include <filesystem>
#include <functional>
#include <set>
#include <string>

namespace lra::report {

/// Writes out / `name` ("index.html", "tables/x.md"). A report writes only below its folder: a link that stands there
/// is replaced, not followed. Throws Error, also where tables or charts is a link.
void write_report_file(const std::filesystem::path& out, const std::string& name, const std::string& text);

/// Did lra-report write this page?
bool is_our_page(const std::filesystem::path& file);

/// Thrown to leave a report half-way.
struct Stopped : std::exception {
  const char* what() const noexcept override { return "stopped"; }
};

/// The files of one report. What an earlier one left in the same folder is known from its list, and removed where it is
/// not written again.
class Output {
 public:
  /// Throws Error where a page that lra-report did not write stands there, unless `force`.
  Output(std::filesystem::path folder, bool force, std::function<bool()> stopped);

  /// Throws Error, and Stopped where that is asked for.
  void write(const std::string& name, const std::string& text);
  /// Takes a file that another program made for one of the report's, where it is there.
  void made(const std::string& name);
  /// Removes what is left of an earlier report and writes the list.
  void finish();

 private:
  std::filesystem::path folder_;
  std::function<bool()> stopped_;
  std::set<std::string> old_, names_;
};

}  // namespace lra::report
