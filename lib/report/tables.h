#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "report/compare.h"
#include "report/growth.h"

namespace lra::report {

struct Column {
  std::string key;    ///< in CSV and JSON
  std::string title;  ///< in Markdown, HTML and LaTeX; empty: not shown there
  bool number = true;
};

/// One value: what a person reads and what a program reads (null: not measured).
struct Cell {
  std::string text = {};
  Json value = {};
  Mark mark = Mark::none;
  bool muted = false;      ///< a failure or a score at chance
  std::string hover = {};  ///< where it comes from
};

struct TableSection {
  std::string title;
  std::vector<std::string> notes, warnings;
  std::vector<std::vector<Cell>> rows;
};

/// Sections with the same columns, each a ranking of its own.
struct Table {
  std::string name, title;  ///< name: of its files
  std::vector<Column> columns;
  std::vector<TableSection> sections;
};

/// Every ranking, one row for each mechanism with all that is known of its runs.
Table accuracy_table(const std::vector<ScoreGroup>& groups);

/// Every group of speeds, likewise.
Table efficiency_table(const std::vector<SpeedGroup>& groups);

/// As papers print it, one table for each setting: mechanisms down, tasks and averages across, parameters, training
/// time.
std::vector<Table> score_tables(const std::vector<ScoreGroup>& groups);

/// One table of speeds and one of memory for each setting of a bench: mechanisms down, lengths across, absolute and
/// relative to full attention.
std::vector<Table> length_tables(const std::vector<SpeedGroup>& groups);

/// Exponents, crossings with full attention and shares, one table for each setting.
std::vector<Table> growth_tables(const std::vector<GrowthSet>& sets);

std::string to_markdown(const Table& table);
std::string to_csv(const Table& table);  ///< RFC 4180, one header line, all sections below one another
Json to_json(const Table& table);
std::string to_html(const Table& table);   ///< sortable by the page's script
std::string to_latex(const Table& table);  ///< tabular with booktabs' rules, one for each section

/// A text as a CSV field, quoted where it needs it; one that a spreadsheet would take for a formula gets a ' in front.
std::string csv_field(std::string_view text);

/// 1,234 or 0.01234: four significant digits, no exponent.
std::string four_digits(double value);

/// Escapes & < > " ' for HTML text and attributes.
std::string escape_html(std::string_view text);

}  // namespace lra::report
