#include "report/page.h"

#include <fmt/format.h>

#include <cstdlib>
#include <set>

#include "core/build_info.h"
#include "core/error.h"
#include "report/atlas.h"
#include "report/labels.h"
#include "report/render.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

constexpr const char* style = R"(
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.55 -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", sans-serif; color: #1f2328; margin: 0; background: #fff; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 28px 72px; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 48px 0 12px; padding-bottom: 6px; border-bottom: 1px solid #d8dee4; }
h3 { font-size: 14.5px; margin: 26px 0 8px; }
p, ul { max-width: 78ch; margin: 8px 0; }
li { margin: 3px 0; }
.lead { color: #57606a; }
.note, .links { color: #57606a; font-size: 13px; }
a { color: #0b5cad; }
.chart { margin: 22px 0 6px; overflow-x: auto; }
.chart img, .chart a svg { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th { text-align: left; font-weight: 600; border-bottom: 1.5px solid #1f2328; padding: 6px 10px; vertical-align: bottom; }
td { border-bottom: 1px solid #eaeef2; padding: 5px 10px; vertical-align: top; }
td.number, th.number { text-align: right; }
tr.reference td { color: #57606a; font-style: italic; }
code { font: 12.5px ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
@media print { main { padding: 0; } }
)";

constexpr const char* definitions = R"(<ul>
<li><b>Test accuracy</b>: percent of the examples of the whole test split answered correctly. With several seeds, the mean and ± the standard deviation over
seeds; with one seed, ± the binomial standard error of the test set, which says nothing about other seeds.</li>
<li><b>Reference levels</b>: what one gets without reading the sequence. Chance: one answer in as many as there are classes; majority: always the most frequent
answer; root operator (ListOps): the best constant answer for each first operator.</li>
<li><b>Training speed</b>: examples per second of forward pass, backward pass and optimiser, device synchronised, without data loading and evaluation; the median over
timed steps after warm-up. In charts and in tables named after a length, every sequence has exactly that length; &ldquo;seen while training&rdquo; is at the task's own
lengths and is another quantity.</li>
<li><b>Peak tensor memory</b>: the most bytes held by tensors during a training step above what was held before the model was made. The process's high-water mark is
the operating system's count for the whole process. 1 MiB = 1,048,576 bytes.</li>
<li><b>LRA averages</b> are formed only where all their tasks were run on full data: of 5 tasks (without Path-X), or of 6 with a failed Path-X counted as 50. They are
two different numbers.</li>
<li><b>Status</b>: <i>oom</i> out of memory, <i>timeout</i> over its time limit, <i>nan</i> loss no longer a number, <i>failed</i> any other error, <i>interrupted</i> stopped by a
person or the system, <i>skipped</i> estimated to exceed a limit and not started. Such runs are rows without a score; they are never drawn and never counted as zero.</li>
<li><b>Rankings</b>: results of different profiles, data, hosts or devices stand in different tables and charts.</li>
</ul>
)";

std::string field(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "unknown";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string percent_encode(const std::string& text) {
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != '\0' && std::string_view(" -_.~/:=,;()+!*@").find(c) != std::string_view::npos);
    encoded += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

/// JSON for a <script> element: no tag can end it.
std::string script_json(const Json& json) {
  std::string text;
  for (const char c : json.dump()) text += c == '<' ? "\\u003c" : std::string(1, c);
  return text;
}

std::string list_items(const std::set<std::string>& items) {
  std::string html = "<ul>\n";
  for (const std::string& item : items) html += fmt::format("<li>{}</li>\n", escape_html(item));
  return html + "</ul>\n";
}

std::string provenance(const std::vector<Result>& results) {
  std::set<std::string> hosts, builds, data, notes;
  for (const Result& result : results) {
    std::string host = fmt::format("{}: {}, {} usable cores, {} threads, device {}, allocator {}, {}", field(result.host, "name"), field(result.host, "cpu"),
                                   field(result.host, "cores"), field(result.host, "threads"), field(result.host, "device"), field(result.host, "allocator"), field(result.host, "os"));
    hosts.insert(host);
    builds.insert(fmt::format("revision {}{}, LibTorch {}, {}, {}", field(result.build, "revision"),
                              field(result.build, "dirty") == "true" ? " with uncommitted changes" : "", field(result.build, "libtorch"),
                              field(result.build, "compiler"), field(result.build, "build_type")));
    if (!result.data.empty()) data.insert(shorten(task_name(result.task) + ": " + result.data.dump(), 600));
    for (const Json& note : result.notes) {
      notes.insert(fmt::format("{} on {}: {}", result.variant, task_name(result.task), note.is_string() ? note.get<std::string>() : note.dump()));
    }
  }
  std::string html = "<h3>Hosts</h3>\n" + list_items(hosts) + "<h3>Programs</h3>\n" + list_items(builds);
  if (builds.size() > 1) html += "<p class=\"note\">These records come from more than one build: speeds may differ for that reason alone.</p>\n";
  if (!data.empty()) html += "<h3>Data</h3>\n" + list_items(data);
  if (!notes.empty()) html += "<h3>Notes of the runs</h3>\n" + list_items(notes);
  return html;
}

std::string chart_html(const PageChart& item, bool interactive) {
  const std::string& name = item.chart.name;
  std::string html = fmt::format("<div class=\"chart\" id=\"{}\">", name);
  if (!item.svg.empty()) html += fmt::format("<img alt=\"{}\" src=\"data:image/svg+xml,{}\">", escape_html(item.chart.title), percent_encode(item.svg));
  else if (!interactive) html += fmt::format("<p class=\"note\">Not rendered: neither Vega's JavaScript nor a renderer was found. The chart is in {}.vl.json.</p>", name);
  html += "</div>\n<p class=\"links\">Files: ";
  html += fmt::format("<a href=\"{0}.vl.json\">Vega-Lite</a>", name);
  if (!item.svg.empty()) html += fmt::format(" · <a href=\"{0}.svg\">SVG</a> · <a href=\"{0}.png\">PNG</a> · <a href=\"{0}.pdf\">PDF</a>", name);
  return html + "</p>\n";
}

}  // namespace

std::string page_head(const std::string& title) {
  return fmt::format("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                     "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n", escape_html(title), style);
}

std::string page(const std::vector<Result>& results, const std::vector<PageChart>& charts, const Table& accuracy, const Table& efficiency,
                 const std::string& vega_bundle, const std::string& atlas_svg) {
  std::map<std::string, int> statuses;
  std::set<std::string> tasks, profiles, suites, hosts;
  for (const Result& result : results) {
    ++statuses[result.status];
    if (result.kind == "train") tasks.insert(task_name(result.task));
    profiles.insert(result.profile);
    if (!result.suite.empty()) suites.insert(result.suite);
    hosts.insert(fmt::format("{} ({}{})", field(result.host, "name"), field(result.host, "device"),
                             field(result.host, "device") == "cpu" ? ": " + field(result.host, "cpu") : ""));
  }
  std::string counts;
  for (const auto& [status, count] : statuses) counts += fmt::format("{}{} {}", counts.empty() ? "" : ", ", count, status);
  const std::string lead = fmt::format("{} records ({}). {}{}Profile: {}. Measured on {}.", results.size(), counts,
                                       suites.empty() ? "" : fmt::format("Suite: {}. ", fmt::join(suites, ", ")),
                                       tasks.empty() ? "" : fmt::format("Trained on: {}. ", fmt::join(tasks, ", ")), fmt::join(profiles, ", "), fmt::join(hosts, "; "));
  std::string html = page_head("Long Range Arena report") + fmt::format("<h1>Long Range Arena report</h1>\n<p class=\"lead\">{}</p>\n", escape_html(lead));
  const bool interactive = !vega_bundle.empty();
  std::string missing;
  html += "<h2>Accuracy, speed and memory of the runs</h2>\n";
  for (const PageChart& item : charts) {
    if (item.chart.name == "bubble_paper_2020") html += "<h2>Accuracy</h2>\n" + (accuracy.sections.empty() ? "<p>There are no training records.</p>\n" : to_html(accuracy)) +
                                                        "<h2>Speed and memory</h2>\n" + to_html(efficiency) + "<h2>The 2020 paper</h2>\n";
    html += chart_html(item, interactive);
    for (const std::string& who : item.chart.not_drawn) missing += fmt::format("<li>{}: {}</li>\n", escape_html(item.chart.title), escape_html(who));
  }
  if (!atlas_svg.empty()) {
    html += "<h2>Attention atlas</h2>\n<p>How the mechanisms differ: who reads whom, at what cost, and in how many layers everything is seen. <a href=\"atlas.html\">The atlas</a> has every head, formula and "
            "cost.</p>\n<div class=\"chart\"><a href=\"atlas.html\">" + atlas_svg + "</a></div>\n";
  }
  html += "<h2>How the numbers are defined</h2>\n" + std::string(definitions);
  html += "<h2>What the charts do not show</h2>\n" + (missing.empty() ? "<p>Every row of the tables is drawn.</p>\n" : "<ul>\n" + missing + "</ul>\n");
  html += "<h2>Where the numbers come from</h2>\n" + provenance(results);
  html += fmt::format("<p class=\"note\">Written by lra-report, revision {}{}. Published numbers: data/published/lra.json.</p>\n</main>\n", escape_html(build_info().revision),
                      build_info().dirty ? " with uncommitted changes" : "");
  if (interactive) {
    html += "<script>\n" + vega_bundle + "\n</script>\n<script>\n";
    for (const PageChart& item : charts) {
      html += fmt::format("vegaEmbed(\"#{}\", {}, {{renderer: \"svg\", actions: {{export: true, source: false, compiled: false, editor: false}}}});\n", item.chart.name,
                          script_json(item.spec));
    }
    html += "</script>\n";
  }
  return html + "</body>\n</html>\n";
}

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

std::vector<std::string> write_report(const std::vector<fs::path>& folders, const fs::path& out, std::int64_t length) {
  const Collection collection = collect(folders);
  const std::vector<Result>& results = collection.results;
  const Json published = read_json(repository_file("data/published/lra.json"));
  const auto scores = compare_scores(results, published);
  const auto speeds = compare_speed(results);
  if (length != 0) {
    std::set<std::int64_t> lengths;
    for (const SpeedGroup& group : speeds) {
      if (group.length != 0) lengths.insert(group.length);
    }
    if (lengths.count(length) == 0) throw Error(fmt::format("--length {}: no bench record has this length", length), fmt::format("measured: {}", lengths.empty() ? "none" : fmt::format("{}", fmt::join(lengths, ", "))));
  }
  const Table accuracy = accuracy_table(scores), efficiency = efficiency_table(speeds);
  for (const Table* table : {&accuracy, &efficiency}) {
    const std::string name = table == &accuracy ? "accuracy" : "efficiency";
    write_file_atomically(out / (name + ".md"), to_markdown(*table));
    write_file_atomically(out / (name + ".csv"), to_csv(*table));
    write_json(out / (name + ".json"), to_json(*table));
  }

  // The averages first: with all tasks run, they are the chart.
  std::vector<const ScoreGroup*> order;
  for (const ScoreGroup& group : scores) {
    if (group.task.rfind("average", 0) == 0) order.push_back(&group);
  }
  for (const ScoreGroup& group : scores) {
    if (group.task.rfind("average", 0) != 0) order.push_back(&group);
  }
  std::vector<PageChart> charts;
  for (const ScoreGroup* group : order) {
    PageChart item{runs_chart(*group, speed_for(*group, speeds, length)), {}, {}};
    item.chart.name = charts.empty() ? "bubble_runs" : fmt::format("bubble_runs_{}", charts.size() + 1);
    charts.push_back(item);
  }
  charts.push_back({paper_chart(published), {}, {}});
  std::vector<fs::path> specs;
  for (PageChart& item : charts) {
    item.spec = vega_lite(item.chart);
    specs.push_back(out / (item.chart.name + ".vl.json"));
    write_json(specs.back(), item.spec);
    // Pictures of an earlier report must not stand beside the new numbers.
    std::error_code code;
    for (const char* ending : {".svg", ".png", ".pdf"}) fs::remove(out / (item.chart.name + ending), code);
  }

  std::vector<std::string> missing;
  if (const std::string problem = render_charts(specs); !problem.empty()) missing.push_back(problem);
  for (PageChart& item : charts) {
    const fs::path svg = out / (item.chart.name + ".svg");
    if (fs::exists(svg)) item.svg = read_file(svg);
  }
  std::string bundle;
  try {
    const char* given = std::getenv("LRA_VEGA_BUNDLE");
    bundle = read_file(given != nullptr ? fs::path(given) : repository_file(".venv/share/lra/vega_bundle.js"));
  } catch (const Error&) {
    missing.push_back("the page's charts are still pictures: Vega's JavaScript was not found (LRA_VEGA_BUNDLE, else .venv/share/lra/vega_bundle.js)");
  }
  std::string atlas_svg;
  if (const fs::path file = find_atlas(folders); !file.empty()) {
    const Atlas atlas = parse_atlas(read_json(file), file);
    for (const std::string& problem : write_atlas(atlas, out)) {
      if (missing.empty() || missing.front() != problem) missing.push_back(problem);
    }
    atlas_svg = overview_svg(atlas);
  }
  write_file_atomically(out / "index.html", page(results, charts, accuracy, efficiency, bundle, atlas_svg));
  return missing;
}

}  // namespace lra::report
