#include "report/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lra::report {
namespace {

constexpr double mebibyte = 1024.0 * 1024.0;

template <class T>
Cell number(const std::optional<T>& value, const char* format) {
  if (!value) return {};
  return {fmt::format(fmt::runtime(format), *value), *value};
}

Cell text(const std::string& value) { return {value, value.empty() ? Json() : Json(value)}; }

Cell megabytes(const std::optional<double>& bytes) {
  if (!bytes) return {};
  const double value = *bytes / mebibyte;
  return {fmt::format("{:.{}f}", value, value < 10 ? 2 : value < 100 ? 1 : 0), std::llround(*bytes)};
}

/// Four significant digits, no exponent.
std::string four_digits(double value) {
  const int before = value <= 0 ? 1 : static_cast<int>(std::floor(std::log10(value))) + 1;
  return fmt::format("{:.{}f}", value, std::clamp(4 - before, 0, 4));
}

Cell rate(const std::optional<double>& value) { return value ? Cell{four_digits(*value), *value} : Cell{}; }

/// A status, and for all but `ok` its reason.
Cell status_cell(const std::string& status, const std::string& message) {
  return {message.empty() ? status : status + ": " + message, status};
}

std::string escape_markdown(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '|' || c == '\\' || c == '`' || c == '*' || c == '_' || c == '<' || c == '[') result += '\\';
    result += c == '\n' || c == '\r' ? ' ' : c;
  }
  return result;
}

}  // namespace

Table accuracy_table(const std::vector<ScoreGroup>& groups) {
  Table table;
  table.title = "Accuracy";
  table.columns = {{"task", "", false}, {"profile", "", false}, {"host", "", false}, {"condition", "", false},
                   {"row", "", false}, {"model", "Model", false}, {"mixer", "", false}, {"variant", "", false},
                   {"status", "Status", false}, {"message", "", false}, {"test_accuracy_percent", "Test %"}, {"error_percent", "±"},
                   {"error_kind", "", false}, {"n", "n"}, {"seeds", "", false}, {"valid_accuracy_percent", "Valid %"},
                   {"train_accuracy_percent", "Train %"}, {"test_examples", "Test examples"}, {"train_steps", "Steps"},
                   {"parameters", "Parameters"}, {"published_percent", "Published %, other protocol"}, {"published_source", "Published as", false}};
  for (const ScoreGroup& group : groups) {
    TableSection section{group.title, group.notes, {}};
    section.notes.insert(section.notes.begin(), "±: standard deviation over seeds where n > 1, else the binomial standard error of the test set. Accuracies in percent; n: runs.");
    const auto row_start = [&](const char* kind) { return std::vector<Cell>{text(group.task), text(group.profile), text(group.host), text(group.condition), text(kind)}; };
    for (const ScoreRow& row : group.rows) {
      auto cells = row_start("run");
      const bool spread = row.test && !row.test->error_kind.empty();
      const std::int64_t n = row.test ? row.test->n : static_cast<std::int64_t>(row.seeds.size());
      for (const Cell& cell : {text(row.label), text(row.mixer), text(row.variant), status_cell(row.status, row.message), text(row.message),
                               row.test ? Cell{fmt::format("{:.2f}", row.test->mean), row.test->mean} : Cell{},
                               spread ? Cell{fmt::format("{:.2f}", row.test->error), row.test->error} : Cell{},
                               spread ? text(row.test->error_kind) : Cell{}, Cell{fmt::format("{}", n), n},
                               Cell{fmt::format("{}", fmt::join(row.seeds, " ")), row.seeds}, number(row.valid, "{:.2f}"), number(row.train, "{:.2f}"),
                               number(row.test_examples, "{}"), number(row.train_steps, "{}"), number(row.parameters, "{}"),
                               Cell{row.published_text, row.published ? Json(*row.published) : row.published_text.empty() ? Json() : Json(row.published_text)},
                               text(row.published_source)}) {
        cells.push_back(cell);
      }
      section.rows.push_back(cells);
    }
    for (const auto& [name, value] : group.reference_levels) {
      auto cells = row_start("reference_level");
      cells.resize(table.columns.size());
      std::string title = name;
      std::replace(title.begin(), title.end(), '_', ' ');
      cells[5] = {"reference: " + title, name};
      cells[10] = {fmt::format("{:.2f}", value), value};
      section.rows.push_back(cells);
    }
    table.sections.push_back(section);
  }
  return table;
}

Table efficiency_table(const std::vector<SpeedGroup>& groups) {
  Table table;
  table.title = "Speed and memory";
  table.columns = {{"source", "", false}, {"task", "", false}, {"profile", "", false}, {"host", "", false}, {"batch_size", ""}, {"sequence_length", ""},
                   {"model", "Model", false}, {"mixer", "", false}, {"variant", "", false}, {"status", "Status", false}, {"message", "", false},
                   {"train_examples_per_second", "Training examples/s"}, {"error", "±"}, {"error_kind", "", false},
                   {"relative_speed", "× softmax"}, {"train_steps_per_second", "Training steps/s"}, {"inference_examples_per_second", "Inference examples/s"},
                   {"peak_tensor_bytes", "Peak tensor memory (MiB)"}, {"relative_memory", "× softmax"}, {"peak_rss_bytes", "Process high-water mark (MiB)"},
                   {"n", "n"}};
  for (const SpeedGroup& group : groups) {
    TableSection section{group.title, {"±: standard deviation over records where n > 1, else the interquartile range over the timed steps. Speeds are medians over steps."}, {}};
    for (const SpeedRow& row : group.rows) {
      const auto& speed = row.examples_per_second;
      const bool spread = speed && !speed->error_kind.empty();
      section.rows.push_back({text(group.source), text(group.task_name), text(group.profile), text(group.host), Cell{fmt::format("{}", group.batch_size), group.batch_size},
                              group.length > 0 ? Cell{fmt::format("{}", group.length), group.length} : Cell{}, text(row.label), text(row.mixer),
                              text(row.variant), status_cell(row.status, row.message), text(row.message), rate(speed ? std::optional(speed->mean) : std::nullopt),
                              rate(spread ? std::optional(speed->error) : std::nullopt), spread ? text(speed->error_kind) : Cell{},
                              number(row.relative_speed, "{:.2f}"), rate(row.steps_per_second), rate(row.inference_examples_per_second),
                              megabytes(row.peak_tensor_bytes), number(row.relative_memory, "{:.3f}"), megabytes(row.peak_rss_bytes), Cell{fmt::format("{}", row.n), row.n}});
    }
    table.sections.push_back(section);
  }
  return table;
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\n\r") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '"': escaped += "&quot;"; break;
      case '\'': escaped += "&#39;"; break;
      default: escaped += c;
    }
  }
  return escaped;
}

std::string to_csv(const Table& table) {
  std::string csv;
  for (std::size_t i = 0; i < table.columns.size(); ++i) csv += (i == 0 ? "" : ",") + csv_field(table.columns[i].key);
  csv += "\n";
  for (const TableSection& section : table.sections) {
    for (const auto& row : section.rows) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        const Json& value = row[i].value;
        // Lists (seeds) as their text; numbers with all their digits.
        csv += (i == 0 ? "" : ",") + csv_field(value.is_null() ? "" : value.is_string() ? value.get<std::string>() : value.is_array() ? row[i].text : value.dump());
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
    sections.push_back({{"title", section.title}, {"notes", section.notes}, {"rows", rows}});
  }
  return {{"schema_version", 1}, {"table", table.title}, {"sections", sections}};
}

std::string to_markdown(const Table& table) {
  std::string markdown = "# " + table.title + "\n";
  for (const TableSection& section : table.sections) {
    markdown += fmt::format("\n## {}\n\n|", escape_markdown(section.title));
    std::string rule = "|";
    for (const Column& column : table.columns) {
      if (column.title.empty()) continue;
      markdown += " " + column.title + " |";
      rule += column.number ? "---:|" : ":---|";
    }
    markdown += "\n" + rule + "\n";
    for (const auto& row : section.rows) {
      markdown += "|";
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (!table.columns[i].title.empty()) markdown += " " + escape_markdown(row[i].text) + " |";
      }
      markdown += "\n";
    }
    for (const std::string& note : section.notes) markdown += "\n" + escape_markdown(note) + "\n";
  }
  return markdown;
}

std::string to_html(const Table& table) {
  std::string html;
  for (const TableSection& section : table.sections) {
    html += fmt::format("<h3>{}</h3>\n<div class=\"scroll\"><table>\n<thead><tr>", escape_html(section.title));
    for (const Column& column : table.columns) {
      if (!column.title.empty()) html += fmt::format("<th{}>{}</th>", column.number ? " class=\"number\"" : "", escape_html(column.title));
    }
    html += "</tr></thead>\n<tbody>\n";
    for (const auto& row : section.rows) {
      const bool reference = row.size() > 4 && row[4].text == "reference_level";
      html += reference ? "<tr class=\"reference\">" : "<tr>";
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (!table.columns[i].title.empty()) html += fmt::format("<td{}>{}</td>", table.columns[i].number ? " class=\"number\"" : "", escape_html(row[i].text));
      }
      html += "</tr>\n";
    }
    html += "</tbody></table></div>\n";
    for (const std::string& note : section.notes) html += fmt::format("<p class=\"note\">{}</p>\n", escape_html(note));
  }
  return html;
}

}  // namespace lra::report
