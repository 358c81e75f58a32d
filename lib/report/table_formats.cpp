#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "report/tables.h"

namespace lra::report {
namespace {

std::string escape_markdown(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '|' || c == '\\' || c == '`' || c == '*' || c == '_' || c == '<' || c == '[') result += '\\';
    result += c == '\n' || c == '\r' ? ' ' : c;
  }
  return result;
}

std::string escape_latex(const std::string& text) {
  static const std::map<std::string, std::string> signs = {{"&", "\\&"},
                                                           {"%", "\\%"},
                                                           {"$", "\\$"},
                                                           {"#", "\\#"},
                                                           {"_", "\\_"},
                                                           {"{", "\\{"},
                                                           {"}", "\\}"},
                                                           {"~", "\\textasciitilde{}"},
                                                           {"^", "\\textasciicircum{}"},
                                                           {"\\", "\\textbackslash{}"},
                                                           {"±", "$\\pm$"},
                                                           {"×", "$\\times$"},
                                                           {"≈", "$\\approx$"},
                                                           {"–", "--"},
                                                           {"·", "$\\cdot$"},
                                                           {"…", "\\ldots{}"},
                                                           {"≤", "$\\le$"},
                                                           {"≥", "$\\ge$"},
                                                           {"²", "$^2$"},
                                                           {"∝", "$\\propto$"},
                                                           {"→", "$\\to$"},
                                                           {"∞", "$\\infty$"},
                                                           {"ρ", "$\\rho$"},
                                                           {"†", "$\\dagger$"},
                                                           {"\r", " "},
                                                           {"√", "$\\sqrt{}$"},
                                                           {"<", "$<$"},
                                                           {">", "$>$"},
                                                           {"\n", " "}};
  std::string result;
  for (std::size_t at = 0, end = 0; at < text.size(); at = end) {
    for (end = at + 1; end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80;) ++end;
    const std::string one = text.substr(at, end - at);
    result += signs.count(one) != 0 ? signs.at(one) : one;
  }
  return result;
}

/// Every line behind a %.
std::string as_comment(const std::string& text) {
  std::string comment = "% ";
  for (const char c : text) comment += c == '\n' ? "\n% " : c == '\r' ? " " : std::string(1, c);
  return comment;
}

}  // namespace

std::string csv_field(std::string_view text) {
  // A spreadsheet takes these for the beginning of a formula, and would run it.
  if (!text.empty() && std::string_view("=+-@\t\r").find(text[0]) != std::string_view::npos)
    return csv_field("'" + std::string(text));
  if (text.find_first_of(",\"\n\r") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string to_csv(const Table& table) {
  std::string csv;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    csv += i == 0 ? "" : ",";
    csv += csv_field(table.columns[i].key);
  }
  csv += "\n";
  for (const TableSection& section : table.sections) {
    for (const auto& row : section.rows) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        const Json& value = row[i].value;
        // Lists (seeds) as their text; numbers with all their digits.
        csv += i == 0 ? "" : ",";
        csv += value.is_string()  ? csv_field(value.get<std::string>())
               : value.is_array() ? csv_field(row[i].text)
               : value.is_null()  ? ""
                                  : value.dump();
      }
      csv += "\n";
    }
  }
  return csv;
}

Json to_json(const Table& table) {
  Json sections = Json::array();
  for (const TableSection& section : table.sections) {
    Json rows = Json::array();
    for (const auto& row : section.rows) {
      Json object = Json::object();
      for (std::size_t i = 0; i < row.size(); ++i) object[table.columns[i].key] = row[i].value;
      rows.push_back(object);
    }
    sections.push_back(
        {{"title", section.title}, {"warnings", section.warnings}, {"notes", section.notes}, {"rows", rows}});
  }
  return {{"schema_version", 1}, {"table", table.title}, {"sections", sections}};
}

std::string to_markdown(const Table& table) {
  std::string markdown = "# " + table.title + "\n";
  for (const TableSection& section : table.sections) {
    if (!section.title.empty()) markdown += fmt::format("\n## {}\n", escape_markdown(section.title));
    for (const std::string& warning : section.warnings) markdown += fmt::format("\n**{}**\n", escape_markdown(warning));
    markdown += "\n|";
    std::string rule = "|";
    for (const Column& column : table.columns) {
      if (column.title.empty()) continue;
      markdown += " " + escape_markdown(column.title) + " |";
      rule += column.number ? "---:|" : ":---|";
    }
    markdown += "\n" + rule + "\n";
    for (const auto& row : section.rows) {
      markdown += "|";
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (table.columns[i].title.empty()) continue;
        const std::string content = escape_markdown(row[i].text);
        markdown += row[i].mark == Mark::best     ? " **" + content + "** |"
                    : row[i].mark == Mark::second ? " _" + content + "_ |"
                    : row[i].mark == Mark::tied   ? " ≈ " + content + " |"
                                                  : " " + content + " |";
      }
      markdown += "\n";
    }
    for (const std::string& note : section.notes) markdown += "\n" + escape_markdown(note) + "\n";
  }
  return markdown;
}

std::string to_latex(const Table& table) {
  std::string latex = as_comment(table.title) + "\n% \\usepackage{booktabs}\n";
  for (const TableSection& section : table.sections) {
    std::string comment = section.title;
    for (const auto& lines : {section.warnings, section.notes}) {
      for (const std::string& line : lines) comment += "\n" + line;
    }
    std::string shape, head;
    for (const Column& column : table.columns) {
      if (column.title.empty()) continue;
      shape += column.number ? "r" : "l";
      head += head.empty() ? "" : " & ";
      head += escape_latex(column.title);
    }
    latex += fmt::format("\n{}\n\\begin{{tabular}}{{{}}}\n\\toprule\n{} \\\\\n\\midrule\n", as_comment(comment), shape,
                         head);
    for (const auto& row : section.rows) {
      std::string line;
      for (std::size_t i = 0, shown = 0; i < row.size(); ++i) {
        if (table.columns[i].title.empty()) continue;
        const std::string content = escape_latex(row[i].text);
        line += shown++ == 0 ? "" : " & ";
        line += row[i].mark == Mark::best     ? "\\textbf{" + content + "}"
                : row[i].mark == Mark::second ? "\\underline{" + content + "}"
                : row[i].mark == Mark::tied   ? "$\\approx$ " + content
                                              : content;
      }
      latex += line + " \\\\\n";
    }
    latex += "\\bottomrule\n\\end{tabular}\n";
  }
  return latex;
}

std::string to_html(const Table& table) {
  std::string html;
  for (const TableSection& section : table.sections) {
    std::vector<std::string> warnings;
    for (const std::string& warning : section.warnings) warnings.push_back(escape_html(warning));
    if (!warnings.empty()) html += fmt::format("<p class=\"warning\">{}</p>\n", fmt::join(warnings, "<br>"));
    html += "<div class=\"scroll\"><table class=\"sortable\">\n";
    if (!section.title.empty()) html += fmt::format("<caption>{}</caption>\n", escape_html(section.title));
    html += "<thead><tr>";
    for (const Column& column : table.columns) {
      if (!column.title.empty())
        html += fmt::format("<th scope=\"col\"{}><button>{}</button></th>", column.number ? " class=\"number\"" : "",
                            escape_html(column.title));
    }
    html += "</tr></thead>\n<tbody>\n";
    for (const auto& row : section.rows) {
      const bool reference =
          std::any_of(row.begin(), row.end(), [](const Cell& cell) { return cell.text == "reference_level"; });
      html += reference ? "<tr class=\"reference\">" : "<tr>";
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (table.columns[i].title.empty()) continue;
        const Cell& cell = row[i];
        std::string classes = table.columns[i].number ? "number" : "";
        for (const auto& [mark, name] :
             {std::pair{Mark::best, " best"}, {Mark::second, " second"}, {Mark::tied, " tied"}})
          classes += cell.mark == mark ? name : "";
        if (cell.muted) classes += " muted";
        html += fmt::format(
            "<td{}{}{}>{}</td>", classes.empty() ? "" : fmt::format(" class=\"{}\"", classes),
            cell.value.is_number() ? fmt::format(" data-value=\"{:.6g}\"", cell.value.get<double>()) : "",
            cell.hover.empty() ? "" : fmt::format(" title=\"{}\"", escape_html(cell.hover)), escape_html(cell.text));
      }
      html += "</tr>\n";
    }
    html += "</tbody></table></div>\n";
    for (const std::string& note : section.notes) html += fmt::format("<p class=\"note\">{}</p>\n", escape_html(note));
  }
  return html;
}

}  // namespace lra::report
