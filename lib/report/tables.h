#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "report/compare.h"

namespace lra::report {

struct Column {
  std::string key;    ///< in CSV and JSON
  std::string title;  ///< in Markdown and HTML; empty: not shown there
  bool number = true;
};

/// One value: what a person reads and what a program reads (null: not measured).
struct Cell {
  std::string text;
  Json value;
};

struct TableSection {
  std::string title;
  std::vector<std::string> notes;
  std::vector<std::vector<Cell>> rows;
};

/// Sections with the same columns, each a ranking of its own.
struct Table {
  std::string title;
  std::vector<Column> columns;
  std::vector<TableSection> sections;
};

Table accuracy_table(const std::vector<ScoreGroup>& groups);
Table efficiency_table(const std::vector<SpeedGroup>& groups);

std::string to_markdown(const Table& table);
std::string to_csv(const Table& table);  ///< RFC 4180, one header line, all sections below one another
Json to_json(const Table& table);
std::string to_html(const Table& table);

/// Quotes a CSV field where it needs it.
std::string csv_field(std::string_view text);

/// Escapes & < > " ' for HTML text and attributes.
std::string escape_html(std::string_view text);

}  // namespace lra::report
