#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdlib>
#include <exception>

#include "core/build_info.h"
#include "core/error.h"
#include "report/report.h"

namespace {

std::string version() {
  const auto& info = lra::build_info();
  return fmt::format("lra-report, revision {}{}, LibTorch not used, compiler {}, {}", info.revision, info.dirty ? " (dirty)" : "", info.compiler, info.build_type);
}

int run(int argc, char** argv) {
  CLI::App app{"Reads every result.json below the folders and writes tables (Markdown, CSV, JSON), bubble charts (Vega-Lite, SVG, PNG, PDF) and one HTML page."};
  app.footer("SVG, PNG and PDF need a Python with vl-convert-python (LRA_PYTHON, else .venv); the page's live charts need Vega's JavaScript\n"
             "(LRA_VEGA_BUNDLE, else .venv/share/lra/vega_bundle.js). Without them everything else is written.\n"
             "Exit codes: 0 written, 1 fault of the program, 2 wrong input (one line `error: ...`).");
  app.set_version_flag("--version", version());
  std::vector<std::filesystem::path> folders;
  std::filesystem::path out;
  std::int64_t length = 0;
  app.add_option("DIR", folders, "folders with records")->required();
  app.add_option("-o,--out", out, "folder to write the report to")->required();
  app.add_option("--length", length, "take the charts' speed from bench records of this length (default: the longest that all have)")->check(CLI::PositiveNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    throw lra::Error(error.what(), "lra-report --help");
  }
  for (const std::string& missing : lra::report::write_report({folders, out, length, true, 0})) fmt::print(stderr, "note: {}\n", missing);
  fmt::print("{}\n", (out / "index.html").string());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const lra::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    if (!error.hint().empty()) fmt::print(stderr, "hint: {}\n", error.hint());
    return 2;
  } catch (const std::filesystem::filesystem_error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
