#include "report/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>

#include "core/build_info.h"
#include "core/error.h"
#include "report/atlas.h"
#include "report/find_files.h"
#include "report/output.h"
#include "report/page.h"
#include "report/render.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

std::string vega_bundle(std::vector<std::string>& missing) {
  try {
    const char* given = std::getenv("LRA_VEGA_BUNDLE");
    return read_file(given != nullptr ? fs::path(given) : repository_file(".venv/share/lra/vega_bundle.js"));
  } catch (const Error&) {
    missing.push_back(
        "the page's charts are still pictures: Vega's JavaScript was not found (LRA_VEGA_BUNDLE, else "
        ".venv/share/lra/vega_bundle.js)");
    return {};
  }
}

/// Throws Error where no bench has the length that was asked for.
void check_length(std::int64_t length, const std::vector<SpeedGroup>& speeds) {
  std::set<std::int64_t> lengths;
  for (const SpeedGroup& group : speeds) {
    if (group.length != 0) lengths.insert(group.length);
  }
  if (length == 0 || lengths.count(length) != 0) return;
  throw Error(fmt::format("--length {}: no bench record has this length", length),
              fmt::format("measured: {}", lengths.empty() ? "none" : fmt::format("{}", fmt::join(lengths, ", "))));
}

/// Records, figures and tables.
Content content_of(const ReportOptions& options) {
  const auto check_stopped = [&] {
    if (options.stopped && options.stopped()) throw Stopped();
  };
  Content content;
  content.records = collect(options.folders);
  check_stopped();
  const Json published = read_json(repository_file("data/published/lra.json"));
  const auto scores = compare_scores(content.records.results, published);
  const auto speeds = compare_speed(content.records.results);
  const auto growths = growth(speeds);
  check_length(options.length, speeds);
  std::vector<PaperComparison> comparisons;
  for (const ScoreGroup& group : scores) {
    if (auto comparison = paper_scores(group, published)) comparisons.push_back(*comparison);
  }
  for (const PaperComparison& comparison : paper_speeds(speeds, published)) comparisons.push_back(comparison);
  content.figures.push_back(bubble_figure(scores, speeds, options.length));
  check_stopped();
  content.figures.push_back(curves_figure(scores));
  check_stopped();
  content.figures.push_back(growth_figure(growths));
  content.figures.push_back(roofline_figure(content.records.results, content.records.broken));
  content.figures.push_back(paper_figure(published));
  check_stopped();
  content.tables = {accuracy_table(scores), efficiency_table(speeds), score_tables(scores),
                    length_tables(speeds),  growth_tables(growths),   paper_tables(comparisons, published)};
  content.refresh_seconds = options.refresh_seconds;
  content.alone = options.page_alone;
  return content;
}

void write_tables(const Tables& all, Output& output) {
  std::vector<const Table*> tables = {&all.accuracy, &all.efficiency};
  for (const auto* more : {&all.scores, &all.lengths, &all.growth, &all.paper}) {
    for (const Table& table : *more) tables.push_back(&table);
  }
  for (const Table* table : tables) {
    const std::string name = "tables/" + table->name;
    output.write(name + ".md", to_markdown(*table));
    output.write(name + ".csv", to_csv(*table));
    output.write(name + ".json", to_json(*table).dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    output.write(name + ".tex", to_latex(*table));
  }
}

/// Specifications, and pictures where they are asked for.
void write_charts(const std::vector<Figure>& figures, const ReportOptions& options, Output& output,
                  std::vector<std::string>& missing) {
  std::vector<std::string> charts;
  std::vector<fs::path> specs;
  for (const Figure& figure : figures) {
    for (const View& view : figure.views) {
      if (view.file.empty()) continue;
      charts.push_back("charts/" + view.file);
      const Json spec = picture(view.wide(), wide_layout);
      output.write(charts.back() + ".vl.json", spec.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
      specs.push_back(options.out / (charts.back() + ".vl.json"));
      // Pictures of an earlier report must not stand beside the new numbers.
      std::error_code code;
      for (const char* ending : {".svg", ".png", ".pdf"}) fs::remove(options.out / (charts.back() + ending), code);
    }
  }
  if (options.pictures) {
    if (const std::string problem = render_charts(specs); !problem.empty()) missing.push_back(problem);
  }
  for (const std::string& chart : charts) {
    for (const char* ending : {".svg", ".png", ".pdf"}) output.made(chart + ending);
  }
}

/// The overview of the atlas below the folders, whose pages are written too unless the page is alone; or empty.
std::string add_atlas(const ReportOptions& options, std::vector<std::string>& missing) {
  try {
    const fs::path file = find_atlas(options.folders, missing);
    if (file.empty()) return {};
    const Atlas atlas = parse_atlas(read_json(file), file);
    if (!options.page_alone) {
      for (const std::string& problem : write_atlas(atlas, options.out, options.pictures)) {
        if (missing.empty() || missing.back() != problem) missing.push_back(problem);
      }
    }
    return overview_svg(atlas);
  } catch (const Error& error) {
    missing.push_back(error.what());
    return {};
  }
}

/// The page's first chart as SVG, by way of a folder of its own; empty where it cannot be rendered.
std::string first_chart(const Content& content, std::vector<std::string>& missing) {
  for (const Figure& figure : content.figures) {
    if (figure.views.empty()) continue;
    const fs::path folder = fs::temp_directory_path() / fmt::format("lra-report-{}", ::getpid()),
                   spec = folder / "first.vl.json";
    write_json(spec, complete_spec(figure.views.front().wide().spec, wide_layout));
    const std::string problem = render_charts({spec});
    if (!problem.empty()) missing.push_back(problem);
    const std::string svg = problem.empty() ? read_file(folder / "first.svg") : "";
    std::error_code code;
    fs::remove_all(folder, code);
    return svg;
  }
  return {};
}

}  // namespace

fs::path repository_file(const fs::path& relative) {
  std::error_code code;
  for (fs::path start : {fs::read_symlink("/proc/self/exe", code), fs::current_path(code) / "x",
                         fs::path(build_info().source_dir) / "x"}) {
    while (start.has_relative_path()) {
      start = start.parent_path();
      if (fs::exists(start / relative, code)) return start / relative;
    }
  }
  throw Error(fmt::format("{} was not found above the program or the working directory", relative.string()),
              "start lra-report inside the repository");
}

std::vector<std::string> write_report(const ReportOptions& options) {
  Output output(options.out, options.force, options.stopped);
  Content content = content_of(options);
  std::vector<std::string> missing = content.records.broken;
  write_tables(content.tables, output);
  write_charts(content.figures, options, output, missing);
  content.vega_bundle = vega_bundle(missing);
  content.atlas_svg = add_atlas(options, missing);
  const auto svg_of = [&](const std::string& name) {
    const fs::path file = options.out / ("charts/" + name + ".svg");
    return !name.empty() && fs::exists(file) ? read_file(file) : std::string();
  };
  output.write("index.html", page(content, svg_of));
  output.finish();
  return missing;
}

std::vector<std::string> write_page(ReportOptions options) {
  options.page_alone = true;
  std::error_code code;
  if (!options.force && fs::exists(options.out, code) && !is_our_page(options.out)) {
    throw Error(fmt::format("{}: was not written by lra-report", shown(options.out)),
                "give another file with --page, or --force to write over it");
  }
  Content content = content_of(options);
  std::vector<std::string> missing = content.records.broken;
  content.vega_bundle = vega_bundle(missing);
  content.atlas_svg = add_atlas(options, missing);
  const std::string svg = options.pictures ? first_chart(content, missing) : "";
  write_file_atomically(options.out, page(content, [&](const std::string&) { return svg; }));
  return missing;
}

}  // namespace lra::report
