#include "report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/text.h"
#include "report/assets.h"
#include "report/families.h"
#include "report/page_parts.h"
#include "report/remarks.h"

namespace lra::report {
namespace {

using namespace fmt::literals;

/// JSON for a <script> element: no tag can end it.
std::string script_json(const Json& json) {
  std::string text;
  for (const char c : json.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    text += c == '<' ? "\\u003c" : std::string(1, c);
  }
  return text;
}

std::string list_items(const std::vector<std::string>& items) {
  std::string html = "<ul>\n";
  for (const std::string& item : items) html += fmt::format("<li>{}</li>\n", escape_html(printable(item)));
  return html + "</ul>\n";
}

std::string without_tags(const std::string& html) {
  std::string text;
  bool tag = false;
  for (const char c : html) {
    if (c == '<') tag = true;
    if (!tag) text += c;
    if (c == '>') tag = false;
  }
  return text;
}

/// The headings that have an id, h3 below h2.
std::string contents_of(const std::string& main) {
  std::string items;
  bool inner = false, any = false;
  for (std::size_t at = main.find("<h"); at != std::string::npos; at = main.find("<h", at + 2)) {
    const bool second = main.compare(at, 8, "<h2 id=\"") == 0, third = main.compare(at, 8, "<h3 id=\"") == 0;
    if (!second && !third) continue;
    const std::size_t id = at + 8, quote = main.find('"', id), end = main.find("</h", quote);
    const std::string title = without_tags(main.substr(quote + 2, end - quote - 2));
    if (third && !inner) items += "<ul>\n";
    if (second && inner) items += "</ul></li>\n";
    if (second && !inner && any) items += "</li>\n";
    inner = third;
    any = true;
    items += fmt::format("{}<a href=\"#{}\" title=\"{}\">{}</a>{}", "<li>", main.substr(id, quote - id), title, title,
                         third ? "</li>\n" : "\n");
  }
  if (inner) items += "</ul>\n";
  if (any) items += "</li>\n";
  return fmt::format(fmt::runtime(assets::contents_html), "items"_a = items);
}

/// "78 records (78 ok). Suites: lecture. ..."
std::string lead_of(const std::vector<Result>& results) {
  std::map<std::string, int> statuses;
  std::set<std::string> tasks, profiles, suites, hosts;
  for (const Result& result : results) {
    const std::string device = recorded(result.host, "device");
    ++statuses[result.status];
    if (result.kind == "train") tasks.insert(task_name(result.task));
    profiles.insert(result.profile);
    if (!result.suite.empty()) suites.insert(result.suite);
    hosts.insert(fmt::format("{} ({}{})", recorded(result.host, "name"), device,
                             device == "cpu" ? ": " + recorded(result.host, "cpu") : ""));
  }
  std::vector<std::string> counts;
  for (const auto& [status, count] : statuses) counts.push_back(fmt::format("{} {}", count, status));
  return fmt::format("{} records ({}). {}{}Profile: {}. Measured on {}.", results.size(), fmt::join(counts, ", "),
                     suites.empty() ? "" : fmt::format("Suites: {}. ", fmt::join(suites, ", ")),
                     tasks.empty() ? "" : fmt::format("Trained on: {}. ", fmt::join(tasks, ", ")),
                     fmt::join(profiles, ", "), fmt::join(hosts, "; "));
}

std::string broken_html(const std::vector<std::string>& broken) {
  if (broken.empty()) return {};
  return fmt::format("<div class=\"banner\" role=\"alert\"><b>{} records are left out:</b>\n{}</div>\n", broken.size(),
                     list_items(broken));
}

std::string remarks_html(const std::vector<Remark>& remarks) {
  if (remarks.empty()) return {};
  std::vector<std::string> names, sentences;
  for (const Remark& remark : remarks) {
    names.push_back(remark.name);
    sentences.push_back(remark.sentence);
  }
  const std::string count = remarks.size() == 1 ? "1 thing differs" : fmt::format("{} things differ", remarks.size());
  return fmt::format(fmt::runtime(assets::differences_html), "count"_a = count,
                     "names"_a = escape_html(printable(fmt::format("{}", fmt::join(names, ", ")))),
                     "sentences"_a = list_items(sentences));
}

/// The tables of a section. Headings are unlike one another: of equal titles, the later ones are numbered.
class TablesHtml {
 public:
  explicit TablesHtml(bool alone) : alone_(alone) {}

  std::string shown(const Table& table) {
    return fmt::format("<h3 id=\"table-{}\">{}</h3>\n{}{}", escape_html(table.name), escape_html(title_of(table)),
                       to_html(table), links(table));
  }
  std::string shown(const std::vector<Table>& tables) {
    std::string html;
    for (const Table& table : tables) {
      if (!table.sections.empty() && !table.sections.front().rows.empty()) html += shown(table);
    }
    return html;
  }
  std::string folded(const Table& table) {
    return fmt::format("<details><summary>{}</summary>\n{}{}</details>\n", escape_html(title_of(table)), to_html(table),
                       links(table));
  }

 private:
  std::string title_of(const Table& table) {
    const int count = ++used_[table.title];
    return count == 1 ? table.title : fmt::format("{} ({})", table.title, count);
  }
  std::string links(const Table& table) const {
    if (alone_) return {};
    return fmt::format(
        "<p class=\"links\">This table: <a href=\"{0}.md\">Markdown</a> · <a href=\"{0}.csv\">CSV</a> · <a "
        "href=\"{0}.json\">JSON</a> · <a href=\"{0}.tex\">LaTeX</a></p>\n",
        "tables/" + table.name);
  }

  const bool alone_;
  std::map<std::string, int> used_;
};

std::string atlas_html(const Content& content) {
  if (content.atlas_svg.empty()) {
    return "<p>There is no atlas.json in these folders: <code>lra-run atlas --out FOLDER</code> makes one.</p>";
  }
  const char* link = " <a href=\"atlas.html\">The atlas in full</a> has every head, formula and cost.";
  return fmt::format(
      "<p>How the mechanisms differ: who reads whom, at what cost, and in how many layers everything is seen.{}</p>\n"
      "<div class=\"atlas\">{}</div>",
      content.alone ? "" : link, content.atlas_svg);
}

/// Names and colours of the variants, for the page's script.
Json mechanisms_json(const std::vector<Result>& results) {
  std::map<std::string, const Result*> variants;
  for (const Result& result : results) variants.emplace(result.variant, &result);
  Json mechanisms = Json::object();
  for (const auto& [variant, result] : variants) {
    mechanisms[variant] = {{"name", result->display_name.empty() ? variant : result->display_name},
                           {"colour", family_of(result->mixer).strong}};
  }
  return mechanisms;
}

std::string scripts_html(const Content& content) {
  const bool interactive = !content.vega_bundle.empty();
  Json bases = Json::object();
  for (const Layout& layout : layouts) bases[layout.name] = chart_base(layout);
  std::string code;
  for (const auto& part : {assets::state_js, assets::tables_js, assets::charts_js, assets::runs_js, assets::page_js,
                           assets::contents_js}) {
    code += part;
  }
  return fmt::format(fmt::runtime(assets::script_html), "vega"_a = content.vega_bundle, "bases"_a = script_json(bases),
                     "figures"_a = interactive ? script_json(figures_json(content.figures)) : "{}",
                     "mechanisms"_a = script_json(mechanisms_json(content.records.results)),
                     "runs"_a = script_json(runs_json(content.records.results)), "code"_a = code);
}

}  // namespace

std::string framed(const std::string& title, const std::string& main, const Frame& frame) {
  const std::string refresh = fmt::format("<meta http-equiv=\"refresh\" content=\"{}\">\n", frame.refresh_seconds);
  return fmt::format(fmt::runtime(assets::frame_html), "title"_a = escape_html(title), "style"_a = frame.style,
                     "refresh"_a = frame.refresh_seconds > 0 ? refresh : "", "contents"_a = contents_of(main),
                     "main"_a = main, "scripts"_a = frame.scripts);
}

std::string page(const Content& content, const std::function<std::string(const std::string&)>& svg_of) {
  const auto figure = [&](const std::string& id, const std::string& otherwise = "") {
    const auto& all = content.figures;
    const auto found = std::find_if(all.begin(), all.end(), [&](const Figure& one) { return one.id == id; });
    const std::string html = found == all.end() ? "" : figure_html(*found, svg_of, content, id == "bubbles");
    return html.empty() && !otherwise.empty() ? "<p>" + otherwise + "</p>\n" : html;
  };
  TablesHtml tables(content.alone);
  const Tables& all = content.tables;
  const std::string none = all.accuracy.sections.empty() ? "<p>There are no training records.</p>\n" : "";
  const std::string scores = tables.shown(all.scores), lengths = tables.shown(all.lengths);
  const std::string full = tables.folded(all.accuracy) + tables.folded(all.efficiency);
  const std::string growth_tables = tables.shown(all.growth);
  std::string paper = figure("paper");
  for (const Table& table : all.paper)
    paper += table.name == "later_results" ? tables.folded(table) : tables.shown(table);
  const std::string roofline = figure("roofline");
  const std::string main = fmt::format(
      fmt::runtime(assets::report_html), "lead"_a = escape_html(lead_of(content.records.results)),
      "broken"_a = broken_html(content.records.broken),
      "differences"_a = remarks_html(remarks_on(content.records.results)), "bubbles"_a = figure("bubbles"),
      "tables"_a = scores + lengths + none, "full_tables"_a = full,
      "curves"_a = figure("curves", "There is no metrics.jsonl with more than one evaluation beside these records."),
      "growth"_a = figure("growth",
                          "No mechanism was measured at four lengths or more under the same conditions: "
                          "<code>lra-run --config configs/suites/scaling.json</code> does.") +
                   growth_tables,
      "roofline"_a = roofline.empty() ? "" : fmt::format(fmt::runtime(assets::roofline_html), "figure"_a = roofline),
      "paper"_a = paper, "atlas"_a = atlas_html(content), "definitions"_a = assets::definitions_html);
  // No time and no revision: the same records give the same bytes.
  return framed("Long Range Arena report", main,
                {std::string(assets::page_css), scripts_html(content), content.refresh_seconds});
}

}  // namespace lra::report
