#include "report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "core/text.h"
#include "report/atlas.h"
#include "report/labels.h"
#include "report/page_assets.h"

namespace lra::report {
namespace {

constexpr const char* definitions = R"(<ul>
<li><b>Test accuracy</b>: percent of the examples of the whole test split answered correctly. With several seeds, the mean and ± the standard deviation over
seeds; with one seed, ± the binomial standard error of the test set, which says nothing about other seeds.</li>
<li><b>Reference levels</b>: what one gets without reading the sequence. Chance: one answer in as many as there are classes; majority: always the most frequent
answer; root operator (ListOps): the best constant answer for each first operator.</li>
<li><b>Training speed</b>: examples per second of forward pass, backward pass and optimiser, device synchronised, without data loading and evaluation; the median over
timed steps after warm-up. In charts and in tables named after a length, every sequence has exactly that length; &ldquo;seen while training&rdquo; is at the task's own
lengths and is another quantity.</li>
<li><b>Best and second</b>: bold and underlined, where the lead is more than two standard errors of the difference (speeds: more than both interquartile ranges). A lead
within the error is no win: all scores that are level at the top are marked &asymp;.</li>
<li><b>At chance</b>: no better than guessing or the most frequent answer, by two standard errors.</li>
<li><b>Exponent</b> of time or memory against the length N: p of y = c + a&thinsp;N<sup>p</sup>, least squares on logarithms over the lengths named, with the 95 % interval of the
residuals; c, what does not depend on N (parameters, optimiser, the cost of starting a step), from the shortest length measured. &ldquo;Declared&rdquo; is the exponent of the mathematics as N grows without
end; &ldquo;FLOPs&rdquo; the same fit of the declared multiplications over the same lengths.</li>
<li><b>The mixer's share</b> of a step: 1 &minus; the time of the model without mixing (<code>none</code>, which has the projections) / the time of the model.</li>
<li><b>Pareto front</b>: those for which no other has at least the score and the speed with at most the memory, and leads in one of them by more than the error bars of both.</li>
<li><b>Disturbed</b> (&dagger;): the speed is not to be trusted, because other programs or other runs of the suite took part of the processor, or because the steps' times vary
by more than a quarter of their median. Such a speed is shown and wins nothing.</li>
<li><b>Rank correlation</b>: Spearman's &rho; over the mechanisms that both have, with the 95 % interval of 2,000 bootstrap resamples of mechanisms.</li>
<li><b>Peak tensor memory</b>: the most bytes held by tensors during a training step above what was held before the model was made. The process's high-water mark is
the operating system's count for the whole process. 1 MB = 1,000,000 bytes, 1 GB = 1,000 MB.</li>
<li><b>LRA averages</b> are formed only where all their tasks were run on full data: of 5 tasks (without Path-X), or of 6 with a failed Path-X counted as 50. They are
two different numbers.</li>
<li><b>Status</b>: <i>oom</i> out of memory, <i>timeout</i> over its time limit, <i>nan</i> loss no longer a number, <i>failed</i> any other error, <i>interrupted</i> stopped by a
person or the system, <i>skipped</i> estimated to exceed a limit and not started. Such runs are rows without a score; they are never drawn and never counted as zero.</li>
<li><b>Rankings</b>: results of different tasks, profiles, data, complete and incomplete data, lengths, numbers of steps, batch sizes, precision, hosts or devices stand in different rankings. What else differs between the rows of
one ranking is said above it.</li>
</ul>
)";

std::string field(const Json& object, const char* key) {
  const std::string text = text_at(object, key);
  return text.empty() ? "unknown" : text;
}

/// JSON for a <script> element: no tag can end it.
std::string script_json(const Json& json) {
  std::string text;
  for (const char c : json.dump(-1, ' ', false, Json::error_handler_t::replace))
    text += c == '<' ? "\\u003c" : std::string(1, c);
  return text;
}

std::string list_items(const std::vector<std::string>& items) {
  std::string html = "<ul>\n";
  for (const std::string& item : items) html += fmt::format("<li>{}</li>\n", escape_html(printable(item)));
  return html + "</ul>\n";
}

std::string host_text(const Result& result) {
  const Json load = result.host.value("load", Json());
  const std::string others = load.is_object() && load.contains("during")
                                 ? fmt::format(", other programs used {} cores meanwhile", field(load, "during"))
                                 : "";
  return fmt::format("{}: {}, {} usable cores, {} threads, device {}, allocator {}, {}{}", field(result.host, "name"),
                     field(result.host, "cpu"), field(result.host, "cores"), field(result.host, "threads"),
                     field(result.host, "device"), field(result.host, "allocator"), field(result.host, "os"), others);
}

std::string build_text(const Result& result) {
  return fmt::format("revision {}{}, LibTorch {}, {}, {}", field(result.build, "revision"),
                     field(result.build, "dirty") == "true" ? " with uncommitted changes" : "",
                     field(result.build, "libtorch"), field(result.build, "compiler"),
                     field(result.build, "build_type"));
}

/// A path as one word of a shell. The page holds no bytes that are not UTF-8: in bash, zsh and ksh $'\xff' stands for
/// one.
std::string shell_path(const std::filesystem::path& file) {
  const std::string text = file.string(), seen = printable(text);
  if (seen == text) return shell_word(text);
  std::string word = "$'";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f)
      word += fmt::format("\\x{:02x}", byte);
    else
      word += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  }
  return word + "'";
}

std::string run_title(const Result& result) {
  std::string title = fmt::format("{} · {} · {} · {}", result.kind, task_name(result.task),
                                  result.display_name.empty() ? result.variant : result.display_name, result.variant);
  title += result.sequence_length
               ? fmt::format(" · {} tokens", *result.sequence_length)
               : fmt::format(" · up to {} · seed {}", text_at(result.config, "seq_len"), result.seed);
  title += fmt::format(" · profile {}{} · {}", result.profile, result.suite.empty() ? "" : " · suite " + result.suite,
                       result.status);
  if (!result.message.empty()) title += ": " + result.message;
  if (result.test_accuracy) title += fmt::format(" · {:.2f} %", 100 * *result.test_accuracy);
  if (result.train_examples_per_second)
    title += fmt::format(" · {} examples/s", four_digits(result.train_examples_per_second->median));
  if (!result.disturbed.empty()) title += fmt::format(" (disturbed: {})", result.disturbed);
  return title;
}

/// Every run, with equal hosts, programs, data and configurations written once.
Json runs_json(const std::vector<Result>& results) {
  Json page_runs = {{"hosts", Json::array()},
                    {"builds", Json::array()},
                    {"data", Json::array()},
                    {"configs", Json::array()},
                    {"list", Json::array()}};
  std::map<std::string, std::size_t> known;
  const auto place = [&](const char* where, const Json& value) {
    Json& list = page_runs[where];
    const auto [entry, added] =
        known.emplace(where + value.dump(-1, ' ', false, Json::error_handler_t::replace), list.size());
    if (added) list.push_back(value);
    return entry->second;
  };
  for (const Result& result : results) {
    Json config = result.config;
    config.erase("seed");  // the seeds of one setting share the rest
    Json run = {{"title", run_title(result)},
                {"commands", regenerating_commands(result)},
                {"seed", result.seed},
                {"config", place("configs", config)},
                {"host", place("hosts", host_text(result))},
                {"build", place("builds", build_text(result))},
                {"data", place("data", result.data)}};
    std::string notes;
    for (const Json& note : result.notes)
      notes += (notes.empty() ? "" : "\n") + (note.is_string() ? note.get<std::string>() : note.dump());
    if (!notes.empty()) run["notes"] = notes;
    page_runs["list"].push_back(run);
  }
  return page_runs;
}

/// No other id of the page begins like this.
std::string figure_id(const std::string& name) { return "figure-" + name; }

std::string figure_html(const Figure& figure, const std::function<std::string(const std::string&)>& svg_of,
                        bool interactive) {
  if (figure.views.empty()) return {};
  std::string html = fmt::format("<figure id=\"{}\">\n<div class=\"switches\">", figure_id(figure.id));
  for (const auto& [title, options] : figure.switches) {
    if (!interactive || options.size() < 2) {
      html += "<select hidden>";
    } else {
      html += fmt::format("<label>{} <select aria-label=\"{}\">", escape_html(title), escape_html(title));
    }
    for (const std::string& one : options) html += fmt::format("<option>{}</option>", escape_html(one));
    html += !interactive || options.size() < 2 ? "</select>" : "</select></label>";
  }
  html += "</div>\n<div class=\"chart\">";
  const View& first = figure.views.front();
  if (!interactive) {
    const std::string svg = svg_of(first.file);
    html += svg.empty() ? fmt::format(
                              "<p class=\"note\">Not rendered: neither Vega's JavaScript nor a renderer was found. The "
                              "chart is in charts/{}.vl.json.</p>",
                              first.file)
                        : svg;
  }
  html += fmt::format("</div>\n<p class=\"caption\">{}</p>\n<p class=\"links\">",
                      interactive ? "" : escape_html(fmt::format("{}", fmt::join(first.wide.caption, " "))));
  if (interactive)
    html += "Save what is shown: <button data-save=\"svg\">SVG</button> <button data-save=\"png\">PNG</button> · ";
  html += "Files for papers (Vega-Lite, SVG, PNG, PDF): ";
  std::string files;
  for (const View& view : figure.views) {
    if (!view.file.empty())
      files += fmt::format("{}<a href=\"charts/{}.vl.json\">{}</a>", files.empty() ? "" : ", ", view.file, view.file);
  }
  return html + files + "</p>\n</figure>\n";
}

Json figures_json(const std::vector<Figure>& figures) {
  Json all = Json::object();
  for (const Figure& figure : figures) {
    if (figure.views.empty()) continue;
    Json views = Json::array();
    const auto part = [](const Drawing& drawing) {
      return Json{{"spec", drawing.spec}, {"caption", fmt::format("{}", fmt::join(drawing.caption, " "))}};
    };
    for (const View& view : figure.views)
      views.push_back({{"choice", view.choice}, {"wide", part(view.wide)}, {"narrow", part(view.narrow)}});
    all[figure_id(figure.id)] = {{"views", views}};
  }
  return all;
}

}  // namespace

std::vector<std::string> differences(const std::vector<Result>& results) {
  std::vector<std::string> sentences;
  std::map<std::string, std::set<std::string>> values;
  std::set<std::string> limited, smoke, dirty, standins, incomplete;
  std::map<std::string, std::map<std::string, double>> cut;  // task -> split -> the largest share
  std::size_t beside = 0, disturbed = 0;
  std::map<std::string, std::set<std::string>> data;
  for (const Result& result : results) {
    values["profile"].insert(result.profile);
    values["precision"].insert(text_at(result.config, "precision"));
    values["host"].insert(
        field(result.host, "name") + " (" +
        (field(result.host, "device") == "cpu" ? field(result.host, "cpu") : field(result.host, "device")) + ")");
    values["number of threads"].insert(text_at(result.host, "threads"));
    values["program revision"].insert(text_at(result.build, "revision").substr(0, 10));
    values["LibTorch"].insert(text_at(result.build, "libtorch"));
    if (result.kind == "train" && !result.data.empty()) data[task_name(result.task)].insert(data_identity(result));
    if (!result.incomplete.empty())
      incomplete.insert(fmt::format("{} ({})", task_name(result.task), result.incomplete));
    for (const auto& [split, share] : cut_shares(result))
      cut[task_name(result.task)][split] = std::max(cut[task_name(result.task)][split], share);
    if (!result.disturbed.empty()) ++(trained_beside_another(result) ? beside : disturbed);
    if (result.kind == "train")
      values["maximal length of " + task_name(result.task)].insert(text_at(result.config, "seq_len"));
    if (const std::string limit = text_at(result.config, "limit"); !limit.empty() && limit != "0")
      limited.insert(fmt::format("{} ({})", task_name(result.task), limit));
    if (result.suite == "smoke") smoke.insert(result.suite);
    if (text_at(result.build, "dirty") == "true") dirty.insert(text_at(result.build, "revision").substr(0, 10));
    if (result.task.find("_standin") != std::string::npos) standins.insert(task_name(result.task));
  }
  if (!smoke.empty())
    sentences.push_back("SMOKE RUNS: a few steps to see that everything runs; their scores mean nothing.");
  if (!limited.empty())
    sentences.push_back(
        fmt::format("LIMITED: only the first examples of each split were used: {}.", fmt::join(limited, ", ")));
  if (!incomplete.empty())
    sentences.push_back(fmt::format("Not the official data, ranked apart: {}.", fmt::join(incomplete, "; ")));
  if (beside > 0)
    sentences.push_back(
        fmt::format("{} run{} trained beside others of the suite. Compare speeds by the benches, which ran alone, not "
                    "by these trainings.",
                    beside, beside == 1 ? "" : "s"));
  if (disturbed > 0)
    sentences.push_back(
        fmt::format("{} of {} speeds were measured on a busy machine (marked †). Do not compare them; `lra-report "
                    "check` names the cause of each.",
                    disturbed, results.size()));
  for (const auto& [task, shares] : cut) sentences.push_back(fmt::format("{}: {}.", task, cut_text(shares)));
  for (auto& [what, found] : values) {
    found.erase("");
    if (found.size() > 1)
      sentences.push_back(fmt::format("The records differ in {}: {}.", what, fmt::join(found, ", ")));
  }
  for (const auto& [task, sets] : data) {
    if (sets.size() > 1) sentences.push_back(fmt::format("{} was run on {} different data sets.", task, sets.size()));
  }
  if (!dirty.empty())
    sentences.push_back(
        fmt::format("Some records come from programs with uncommitted changes (after {}).", fmt::join(dirty, ", ")));
  if (!standins.empty())
    sentences.push_back(fmt::format("Stand-ins are tasks of their own and say nothing of those they stand for: {}.",
                                    fmt::join(standins, ", ")));
  return sentences;
}

std::string regenerating_commands(const Result& result) {
  std::string commands;
  const std::string revision = text_at(result.build, "revision").substr(0, 12);
  const bool known = !revision.empty() && revision.find_first_not_of("0123456789abcdef") == std::string::npos;
  commands +=
      known ? fmt::format("git checkout {} && scripts/setup.sh\n", revision) : "# the program's revision is unknown\n";
  if (const auto generator = result.data.find("generator");
      result.kind == "train" && generator != result.data.end() && generator->is_object()) {
    commands += fmt::format("build/release/bin/lra-run data prepare {} --data-dir {}", shell_word(result.task),
                            shell_word(field(result.config, "data_dir")));
    for (const char* key :
         {"seed", "train", "valid", "test", "min_length", "max_length", "max_depth", "max_args", "contour_length"}) {
      if (!generator->contains(key)) continue;
      std::string name = key;
      std::replace(name.begin(), name.end(), '_', '-');
      commands += fmt::format(" --{} {}", name, shell_word(text_at(*generator, key)));
    }
    commands += "\n";
  }
  return commands +
         fmt::format(
             "build/release/bin/lra-run --config {} --out runs/again\nbuild/release/bin/lra-report diff {} runs/again",
             shell_path(result.file), shell_path(result.file.parent_path()));
}

std::string page_head(const std::string& title, int refresh_seconds) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">\n{}"
      "<meta name=\"generator\" content=\"lra-report\">\n<link rel=\"icon\" "
      "href=\"data:,\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n",
      refresh_seconds > 0 ? fmt::format("<meta http-equiv=\"refresh\" content=\"{}\">\n", refresh_seconds) : "",
      escape_html(title), page_style);
}

std::string page(const Content& content, const std::function<std::string(const std::string&)>& svg_of) {
  const std::vector<Result>& results = content.records.results;
  const bool interactive = !content.vega_bundle.empty();
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
  for (const auto& [status, count] : statuses)
    counts += fmt::format("{}{} {}", counts.empty() ? "" : ", ", count, status);
  const std::string lead = fmt::format("{} records ({}). {}{}Profile: {}. Measured on {}.", results.size(), counts,
                                       suites.empty() ? "" : fmt::format("Suites: {}. ", fmt::join(suites, ", ")),
                                       tasks.empty() ? "" : fmt::format("Trained on: {}. ", fmt::join(tasks, ", ")),
                                       fmt::join(profiles, ", "), fmt::join(hosts, "; "));
  std::string html = page_head("Long Range Arena report", content.refresh_seconds);
  html += fmt::format(
      "<header><h1>Long Range Arena report</h1><button id=\"theme\" title=\"light or dark\">◐ "
      "theme</button></header>\n<p class=\"lead\">{}</p>\n",
      escape_html(lead));
  if (!content.records.broken.empty()) {
    html += fmt::format("<div class=\"banner\" role=\"alert\"><b>{} records are left out:</b>\n{}</div>\n",
                        content.records.broken.size(), list_items(content.records.broken));
  }
  if (const auto sentences = differences(results); !sentences.empty()) {
    html +=
        "<div class=\"banner\" role=\"note\"><b>Read this first.</b> What differs is ranked apart, or said above its "
        "ranking.\n" +
        list_items(sentences) + "</div>\n";
  }
  html +=
      "<noscript><p class=\"banner\">The charts' switches, the sorting and the list of runs need JavaScript, which is "
      "inside this file.</p></noscript>\n";
  html +=
      "<nav><a href=\"#accuracy\">Accuracy, speed, memory</a><a href=\"#learning\">Learning</a><a "
      "href=\"#length\">Growth with the length</a><a href=\"#paper-2020\">The 2020 paper</a>"
      "<a href=\"#atlas\">Atlas</a><a href=\"#definitions\">Definitions</a><a href=\"#all-runs\">Runs</a></nav>\n";

  const auto figure = [&](const std::string& id) {
    const auto found =
        std::find_if(content.figures.begin(), content.figures.end(), [&](const Figure& one) { return one.id == id; });
    return found == content.figures.end() ? std::string() : figure_html(*found, svg_of, interactive);
  };
  const auto links = [](const Table& table) {
    return fmt::format(
        "<p class=\"links\">This table: <a href=\"{0}.md\">Markdown</a> · <a href=\"{0}.csv\">CSV</a> · <a "
        "href=\"{0}.json\">JSON</a> · <a href=\"{0}.tex\">LaTeX</a></p>\n",
        "tables/" + table.name);
  };
  const auto shown = [&](const Table& table) {
    return fmt::format("<h3>{}</h3>\n{}{}", escape_html(table.title), to_html(table), links(table));
  };
  const auto folded = [&](const Table& table) {
    return fmt::format("<details><summary>{}</summary>\n{}{}</details>\n", escape_html(table.title), to_html(table),
                       links(table));
  };

  html +=
      "<h2 id=\"accuracy\">Accuracy, speed and memory</h2>\n<p>Up is more accurate, right is faster, small is frugal: "
      "each circle is one mechanism.</p>\n" +
      figure("bubbles");
  for (const Table& table : content.tables.scores) html += shown(table);
  for (const Table& table : content.tables.lengths) html += table.sections.front().rows.empty() ? "" : shown(table);
  if (content.tables.accuracy.sections.empty()) html += "<p>There are no training records.</p>\n";
  html += "<h3>In full</h3>\n" + folded(content.tables.accuracy) + folded(content.tables.efficiency);

  const std::string curves = figure("curves");
  html += "<h2 id=\"learning\">Learning curves</h2>\n" +
          (curves.empty() ? "<p>There is no metrics.jsonl with more than one evaluation beside these records.</p>\n"
                          : curves);

  html +=
      "<h2 id=\"length\">Growth with the length</h2>\n<p>How time and memory grow with the number of tokens, measured, "
      "and when that matters.</p>\n";
  const std::string growth_charts = figure("growth");
  html += growth_charts.empty() ? "<p>No mechanism was measured at four lengths or more under the same conditions: "
                                  "<code>lra-run --config configs/suites/scaling.json</code> does.</p>\n"
                                : growth_charts;
  for (const Table& table : content.tables.growth) html += shown(table);

  if (const std::string roofline = figure("roofline"); !roofline.empty()) {
    html +=
        "<h2 id=\"roofline\">Below the machine's limits</h2>\n<p>How near training steps come to what this machine can "
        "compute and move: right of the bend products are the limit, left of it memory.</p>\n" +
        roofline;
  }

  html +=
      "<h2 id=\"paper-2020\">The 2020 paper</h2>\n<p>What <a href=\"https://arxiv.org/abs/2011.04006\">Long Range "
      "Arena</a> published, and ours beside it. Every number has its source on hover.</p>\n" +
      figure("paper");
  for (const Table& table : content.tables.paper) html += table.name == "later_results" ? folded(table) : shown(table);

  html += "<h2 id=\"atlas\">Atlas of mechanisms</h2>\n";
  html += content.atlas_svg.empty()
              ? "<p>There is no atlas.json in these folders: <code>lra-run atlas --out FOLDER</code> makes one.</p>\n"
              : "<p>How the mechanisms differ: who reads whom, at what cost, and in how many layers everything is "
                "seen. <a href=\"atlas.html\">The atlas in full</a> has every head, "
                "formula and cost.</p>\n<div class=\"atlas\">" +
                    content.atlas_svg + "</div>\n";
  html += "<h2 id=\"definitions\">How the numbers are defined</h2>\n" + std::string(definitions);

  html +=
      "<h2 id=\"all-runs\">Runs</h2>\n<p>Every run with its configuration, host, program, data and the commands that "
      "repeat it.</p>\n<p><label>Filter <input id=\"run-filter\" type=\"search\" placeholder=\"linear text\"></label> "
      "<span class=\"note\" id=\"run-count\"></span></p>\n<div id=\"run-list\"></div>\n";
  // No time and no revision: the same records give the same bytes.
  html += "<p class=\"note\">Written by lra-report. Published numbers: data/published/lra.json.</p>\n</main>\n";
  if (interactive) html += "<script>\n" + content.vega_bundle + "\n</script>\n";
  html += fmt::format("<script>\nconst chart_bases = {};\nconst figures = {};\nconst runs = {};\n{}</script>\n",
                      script_json({{"wide", chart_base(wide_layout)}, {"narrow", chart_base(narrow_layout)}}),
                      interactive ? script_json(figures_json(content.figures)) : "{}", script_json(runs_json(results)),
                      page_script);
  return html + "</body>\n</html>\n";
}

}  // namespace lra::report
