#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdlib>
#include <exception>

#include "core/build_info.h"
#include "core/error.h"
#include "core/log.h"
#include "core/program.h"
#include "core/text.h"
#include "report/check.h"
#include "report/diff.h"
#include "report/report.h"

namespace {

int run(int argc, char** argv) {
  CLI::App app{
      "Reads every result.json below the folders and writes one HTML page, tables (Markdown, CSV, JSON, LaTeX) and "
      "charts (Vega-Lite, SVG, PNG, PDF)."};
  app.footer(
      "A folder that is called like a command is given as ./NAME.\n"
      "SVG, PNG and PDF need a Python with vl-convert-python (LRA_PYTHON, else .venv); the page's live charts need "
      "Vega's JavaScript\n"
      "(LRA_VEGA_BUNDLE, else .venv/share/lra/vega_bundle.js). Without them everything else is written.\n"
      "Exit codes: 0 written, 1 fault of the program, 2 wrong input (one line `error: ...`); of diff and check 0 "
      "within, 1 beyond or with problems, 2 wrong input.");
  app.set_version_flag("--version", lra::version_line("lra-report"));
  lra::report::ReportOptions options;
  auto* dir = app.add_option("DIR", options.folders, "folders with records");
  app.add_option("-o,--out", options.out, "folder to write the report to");
  app.add_option("--length", options.length,
                 "show speed and memory at this length first (default: the longest that all have)")
      ->check(CLI::PositiveNumber);
  std::filesystem::path page;
  app.add_option("--page", page, "instead of --out: write one page, this file, that needs no other files");
  app.add_flag("--force", options.force, "write over a page that lra-report did not write");
  app.add_flag("!--no-pictures", options.pictures, "write no SVG, PNG and PDF files");

  auto* watch =
      app.add_subcommand(
             "watch",
             "write the page again whenever a record or curve changes, and have it load itself again, until Ctrl-C")
          ->excludes(dir);
  int every = 5;
  watch->add_option("DIR", options.folders, "folders with records, now or soon")->required();
  watch->add_option("-o,--out", options.out, "folder to write the report to")->required();
  watch->add_flag("--force", options.force, "write over an index.html that lra-report did not write");
  watch->add_option("--every", every, "seconds between two looks")->check(CLI::Range(1, 3600))->capture_default_str();

  auto* diff = app.add_subcommand(
                      "diff", "compare two folders of runs: scores, speed and memory of B against A, with thresholds")
                   ->excludes(dir);
  std::filesystem::path a, b, json;
  lra::report::Tolerance tolerance;
  bool all = false;
  diff->add_option("A", a, "folder with the records to compare with")->required();
  diff->add_option("B", b, "folder with the new records")->required();
  diff->add_option("--max-score-drop", tolerance.max_score_drop,
                   "points of accuracy; a larger drop counts where p < 0.05")
      ->check(lra::not_negative_number_problem)
      ->capture_default_str();
  diff->add_option("--min-speed", tolerance.min_speed, "examples per second, B / A")
      ->check(lra::not_negative_number_problem)
      ->capture_default_str();
  diff->add_option("--max-memory", tolerance.max_memory, "peak bytes of tensors, B / A")
      ->check(lra::not_negative_number_problem)
      ->capture_default_str();
  diff->add_flag("--allow-missing", tolerance.allow_missing, "runs of A may be missing in B");
  diff->add_flag("--allow-incomparable", tolerance.allow_incomparable,
                 "what other data, hosts, devices or threads made incomparable does not count");
  diff->add_option("--ignore", tolerance.ignored,
                   "a key in which the runs of a pair may differ, for example kernels; may be given again");
  diff->add_flag("--all", all, "show the rows within the thresholds too");
  diff->add_option("--json", json, "write everything to this file");

  auto* check = app.add_subcommand(
                       "check", "verify records: fields, numbers, hashes, curves, places, and that suites are complete")
                    ->excludes(dir);
  std::vector<std::filesystem::path> checked;
  lra::report::CheckOptions check_options;
  check->add_option("DIR", checked, "folders with records")->required();
  check
      ->add_option("--data", check_options.data,
                   "a folder that stands for the records' data_dir: hash the files in it and compare")
      ->check(CLI::ExistingDirectory);
  check->add_flag("--partial", check_options.partial, "runs of a suite may be missing");
  bool check_all = false;
  check->add_flag("--all", check_all, "a line for each warning, not for each kind of warning");

  app.require_subcommand(0, 1);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    throw lra::Error(error.what(), "lra-report --help");
  }
  if (diff->parsed()) {
    const auto result = lra::report::diff(a, b, tolerance);
    fmt::print("{}", lra::report::diff_text(result, all));
    if (!json.empty()) lra::write_json(json, lra::report::diff_json(result));
    return result.within() ? 0 : 1;
  }
  if (check->parsed()) {
    const auto result = lra::report::check(checked, check_options);
    fmt::print("{}", lra::report::check_text(result, check_all));
    return result.problems() == 0 ? 0 : 1;
  }
  if (watch->parsed()) {
    lra::report::watch(options, every);
    return 0;
  }
  if (options.folders.empty()) throw lra::Error("DIR is missing: a folder with records", "lra-report --help");
  if (options.out.empty() == page.empty()) {
    throw lra::Error(
        page.empty() ? "--out is missing: a folder to write the report to" : "--out and --page: expected one of them",
        "lra-report --help");
  }
  if (!page.empty()) options.out = page;
  const auto problems = page.empty() ? lra::report::write_report(options) : lra::report::write_page(options);
  for (const std::string& problem : problems) lra::say("note: " + lra::printable(problem) + "\n");
  fmt::print("{}\n", lra::printable((page.empty() ? options.out / "index.html" : page).string()));
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return lra::run_program("lra-report", argc, argv, run); }
