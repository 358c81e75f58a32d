#include "report/report.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <set>
#include <thread>

#include "core/build_info.h"
#include "core/error.h"
#include "report/atlas.h"
#include "report/page.h"
#include "report/render.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

/// The files of one report. What an earlier one left in the same folder is known from its list, and removed where it is not written again.
class Output {
 public:
  explicit Output(fs::path folder) : folder_(std::move(folder)) {
    std::error_code code;
    if (!fs::exists(folder_ / list_name, code)) return;
    const Json list = Json::parse(read_file(folder_ / list_name), nullptr, false);
    if (!list.is_object() || list.value("written_by", Json()) != "lra-report") return;
    for (const Json& name : list.value("files", Json::array())) {
      if (name.is_string() && !fs::path(name.get<std::string>()).is_absolute() && name.get<std::string>().find("..") == std::string::npos) old_.insert(name.get<std::string>());
    }
  }

  void write(const std::string& name, const std::string& text) {
    write_file_atomically(folder_ / name, text);
    names_.insert(name);
  }
  void made(const std::string& name) {
    if (fs::exists(folder_ / name)) names_.insert(name);
  }
  void finish() {
    std::error_code code;
    for (const std::string& name : old_) {
      if (names_.count(name) == 0) fs::remove(folder_ / name, code);
    }
    write_json(folder_ / list_name, {{"written_by", "lra-report"}, {"files", names_}});
  }

 private:
  static constexpr const char* list_name = "lra_report_files.json";
  fs::path folder_;
  std::set<std::string> old_, names_;
};

std::string vega_bundle(std::vector<std::string>& missing) {
  try {
    const char* given = std::getenv("LRA_VEGA_BUNDLE");
    return read_file(given != nullptr ? fs::path(given) : repository_file(".venv/share/lra/vega_bundle.js"));
  } catch (const Error&) {
    missing.push_back("the page's charts are still pictures: Vega's JavaScript was not found (LRA_VEGA_BUNDLE, else .venv/share/lra/vega_bundle.js)");
    return {};
  }
}

volatile std::sig_atomic_t stop_asked = 0;

/// Changes when a record or curve below the folders does.
std::size_t fingerprint(const std::vector<fs::path>& folders) {
  std::size_t sum = 0;
  for (const fs::path& folder : folders) {
    std::error_code code;
    for (auto entry = fs::recursive_directory_iterator(folder, code); !code && entry != fs::recursive_directory_iterator(); entry.increment(code)) {
      const std::string name = entry->path().filename().string();
      if (name != "result.json" && name != "metrics.jsonl" && name != "profile.json" && name != "atlas.json") continue;
      std::error_code gone;
      const auto time = entry->last_write_time(gone).time_since_epoch().count();
      sum = sum * 1000003 ^ std::hash<std::string>{}(fmt::format("{} {} {}", entry->path().string(), time, entry->file_size(gone)));
    }
  }
  return sum;
}

}  // namespace

fs::path repository_file(const fs::path& relative) {
  std::error_code code;
  for (fs::path start : {fs::read_symlink("/proc/self/exe", code), fs::current_path(code) / "x", fs::path(build_info().source_dir) / "x"}) {
    while (start.has_relative_path()) {
      start = start.parent_path();
      if (fs::exists(start / relative, code)) return start / relative;
    }
  }
  throw Error(fmt::format("{} was not found above the program or the working directory", relative.string()), "start lra-report inside the repository");
}

std::vector<std::string> write_report(const ReportOptions& options) {
  Content content;
  content.records = collect(options.folders);
  const Json published = read_json(repository_file("data/published/lra.json"));
  const auto scores = compare_scores(content.records.results, published);
  const auto speeds = compare_speed(content.records.results);
  const auto growths = growth(speeds);
  content.refresh_seconds = options.refresh_seconds;
  if (options.length != 0) {
    std::set<std::int64_t> lengths;
    for (const SpeedGroup& group : speeds) {
      if (group.length != 0) lengths.insert(group.length);
    }
    if (lengths.count(options.length) == 0) {
      throw Error(fmt::format("--length {}: no bench record has this length", options.length), fmt::format("measured: {}", lengths.empty() ? "none" : fmt::format("{}", fmt::join(lengths, ", "))));
    }
  }
  std::vector<PaperComparison> comparisons;
  for (const ScoreGroup& group : scores) {
    if (auto comparison = paper_scores(group, published)) comparisons.push_back(*comparison);
  }
  for (const PaperComparison& comparison : paper_speeds(speeds, published)) comparisons.push_back(comparison);
  content.figures = {bubble_figure(scores, speeds, options.length), curves_figure(scores), growth_figure(growths), roofline_figure(content.records.results, content.records.broken),
                     paper_figure(published)};
  content.tables = {accuracy_table(scores), efficiency_table(speeds), score_tables(scores), length_tables(speeds), growth_tables(growths), paper_tables(comparisons, published)};

  std::vector<std::string> missing = content.records.broken;
  Output output(options.out);
  const Tables& all = content.tables;
  std::vector<const Table*> tables = {&all.accuracy, &all.efficiency};
  for (const auto* more : {&all.scores, &all.lengths, &all.growth, &all.paper}) {
    for (const Table& table : *more) tables.push_back(&table);
  }
  for (const Table* one : tables) {
    const Table& table = *one;
    output.write("tables/" + table.name + ".md", to_markdown(table));
    output.write("tables/" + table.name + ".csv", to_csv(table));
    output.write("tables/" + table.name + ".json", to_json(table).dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    output.write("tables/" + table.name + ".tex", to_latex(table));
  }
  std::vector<fs::path> specs;
  std::vector<std::string> charts;
  for (const Figure& figure : content.figures) {
    for (const View& view : figure.views) {
      if (view.file.empty()) continue;
      charts.push_back("charts/" + view.file);
      output.write(charts.back() + ".vl.json", picture(view.wide, wide_layout).dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
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
  content.vega_bundle = vega_bundle(missing);
  try {
    if (const fs::path file = find_atlas(options.folders); !file.empty()) {
      const Atlas atlas = parse_atlas(read_json(file), file);
      for (const std::string& problem : write_atlas(atlas, options.out, options.pictures)) {
        if (missing.empty() || missing.back() != problem) missing.push_back(problem);
      }
      content.atlas_svg = overview_svg(atlas);
    }
  } catch (const Error& error) {
    missing.push_back(error.what());
  }
  const auto svg_of = [&](const std::string& name) {
    const fs::path file = options.out / ("charts/" + name + ".svg");
    return !name.empty() && fs::exists(file) ? read_file(file) : std::string();
  };
  output.write("index.html", page(content, svg_of));
  output.finish();
  return missing;
}

void watch(ReportOptions options, int seconds) {
  options.pictures = false;
  options.refresh_seconds = seconds;
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { stop_asked = 1; });
  std::size_t seen = 0;
  std::string said;
  while (stop_asked == 0) {
    const std::size_t now = fingerprint(options.folders);
    if (now != seen) {
      seen = now;
      std::string text;
      try {
        for (const std::string& sentence : write_report(options)) text += "note: " + sentence + "\n";
        text += (options.out / "index.html").string() + "\n";
      } catch (const std::exception& error) {
        text = fmt::format("waiting: {}\n", error.what());  // a suite that has only begun
      }
      if (text != said) fmt::print("{}", text);
      std::fflush(stdout);
      said = text;
    }
    for (int tenth = 0; tenth < 10 * seconds && stop_asked == 0; ++tenth) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  // The page that stays need not load itself again.
  options.refresh_seconds = 0;
  try {
    write_report(options);
  } catch (const std::exception&) {
  }
}

}  // namespace lra::report
