#include "report/paper_tables.h"

#include <fmt/format.h>

#include <algorithm>

#include "report/labels.h"

namespace lra::report {
namespace {

std::string text_or_unknown(const Json& object, const char* key) {
  const std::string text = text_at(object, key);
  return text.empty() ? "unknown" : text;
}

std::string source_text(const Json& row) {
  const Json& source = row["source"];
  std::string text = fmt::format("{}, {}", text_or_unknown(source, "paper"), text_or_unknown(source, "table"));
  if (source.contains("arxiv") && source["arxiv"].is_string()) text += ", arXiv " + source["arxiv"].get<std::string>();
  if (row.contains("note") && row["note"].is_string()) text += ". Note: " + row["note"].get<std::string>();
  if (row.contains("source_kind") && row["source_kind"] == "secondary") text += " (quoted by a later work)";
  return text;
}

Cell published_cell(const Json& row, const char* key) {
  if (!row.contains(key) || row[key].is_null()) return {};
  const Json& value = row[key];
  const std::string source = source_text(row);
  if (value.is_number()) return {fmt::format("{:.2f}", value.get<double>()), value, Mark::none, false, source};
  return {value.get<std::string>(), value, Mark::none, true, source};
}

/// Our number for the published row's model; empty where there is none.
Cell our_cell(const PaperComparison& comparison, const Json& row, const char* format) {
  for (const PaperPair& pair : comparison.pairs) {
    if (row["model"] == pair.model)
      return {fmt::format(fmt::runtime(format), pair.ours), pair.ours, Mark::none, false,
              pair.label + ", " + comparison.condition};
  }
  return {};
}

constexpr const char* table_columns[] = {"ListOps", "Text", "Retrieval", "Image", "Pathfinder", "Path-X"};

/// Ours on easier data than the paper's: its scores never stand beside them.
Table easier_table(const std::vector<PaperComparison>& comparisons) {
  Table table{"easier_than_official",
              "Our scores on easier or smaller tasks than the paper's, accuracy in percent",
              {{"model", "Model", false}},
              {}};
  TableSection section{"",
                       {"These are not the tasks of the 2020 paper, so its scores are not printed here; only the order "
                        "of the mechanisms is compared, below."},
                       {},
                       {}};
  std::vector<std::string> models;
  std::vector<const PaperComparison*> columns;
  for (const PaperComparison& comparison : comparisons) {
    if (comparison.quantity != "score" || comparison.easier.empty()) continue;
    columns.push_back(&comparison);
    table.columns.push_back({fmt::format("ours_{}", columns.size()), comparison.what});
    section.notes.push_back(fmt::format("{}: {}.", comparison.what, comparison.easier));
    for (const PaperPair& pair : comparison.pairs) {
      if (std::find(models.begin(), models.end(), pair.model) == models.end()) models.push_back(pair.model);
    }
  }
  for (const std::string& model : models) {
    std::vector<Cell> cells = {{model, model}};
    for (const PaperComparison* column : columns) cells.push_back(our_cell(*column, {{"model", model}}, "{:.2f}"));
    section.rows.push_back(cells);
  }
  if (!section.rows.empty()) table.sections.push_back(section);
  return table;
}

/// What stands in the table of rank correlations for our side.
std::string ours_of(const PaperComparison& comparison) {
  return comparison.condition +
         (comparison.easier.empty() ? "" : " · easier than the official task: " + comparison.easier);
}

}  // namespace

std::vector<Table> paper_tables(const std::vector<PaperComparison>& comparisons, const Json& published) {
  std::vector<Table> tables;

  Table scores{"paper_table1", "Table 1: accuracy in percent", {{"model", "Model", false}}, {}};
  for (const char* task : table_columns) scores.columns.push_back({task, task});
  scores.columns.push_back({"average_5", "Average of 5"});
  scores.columns.push_back({"average_printed", "Average as printed"});
  std::vector<const PaperComparison*> ours;
  for (const PaperComparison& comparison : comparisons) {
    if (comparison.quantity != "score" || !comparison.easier.empty()) continue;
    ours.push_back(&comparison);
    scores.columns.push_back({fmt::format("ours_{}", ours.size()), "Ours: " + comparison.what});
  }
  TableSection section{
      "",
      {"Tay et al., 2020 (arXiv 2011.04006), Table 1. Ours beside it, if there are any, are of the official data at "
       "the official length, but of other models and other training: no common ranking."},
      {},
      {}};
  for (const Json& row : published.at("lra_table1")) {
    std::vector<Cell> cells = {{row["model"], row["model"]}};
    for (const char* task : table_columns) cells.push_back(published_cell(row, task));
    cells.push_back(published_cell(row, "Avg_recomputed_5"));
    cells.push_back(published_cell(row, "Avg_printed"));
    for (const PaperComparison* comparison : ours) {
      cells.push_back(our_cell(*comparison, row, "{:.2f}"));
    }
    section.rows.push_back(cells);
  }
  scores.sections.push_back(section);
  tables.push_back(scores);
  if (Table easier = easier_table(comparisons); !easier.sections.empty()) tables.push_back(std::move(easier));

  for (const bool speed : {true, false}) {
    Table table{speed ? "paper_table2_speed" : "paper_table2_memory",
                speed ? "Table 2: training speed, steps/s (× Transformer)"
                      : "Table 2: peak memory, GB per device (× Transformer)",
                {{"model", "Model", false}},
                {}};
    const char* key = speed ? "steps_per_sec" : "peak_memory_gb_per_device";
    const Json& rows = published.at("lra_table2")["rows"];
    const auto base =
        std::find_if(rows.begin(), rows.end(), [](const Json& row) { return row["model"] == "Transformer"; });
    std::vector<const PaperComparison*> measured;
    for (const char* length : {"1K", "2K", "3K", "4K"}) table.columns.push_back({length, length});
    for (const PaperComparison& comparison : comparisons) {
      if (comparison.quantity != (speed ? "speed" : "memory") || comparison.pairs.size() < 4) continue;
      measured.push_back(&comparison);
      table.columns.push_back(
          {fmt::format("ours_{}", measured.size()),
           fmt::format(
               "Ours, {} tokens: {}", comparison.length,
               comparison.condition.substr(0, comparison.condition.find(" · ", comparison.condition.find("batch"))))});
    }
    TableSection part{"",
                      {"Tay et al., 2020, Table 2: byte-level text, batch 32, 16 TPU v3 chips. Ours: multiples of "
                       "softmax attention."},
                      {},
                      {}};
    for (const Json& row : rows) {
      std::vector<Cell> cells = {{row["model"], row["model"]}};
      for (const char* length : {"1K", "2K", "3K", "4K"}) {
        const double value = row[key][length], relative = value / (*base)[key][length].get<double>();
        cells.push_back({fmt::format("{:.{}f} ({:.{}f}×)", value, speed ? 1 : 2, relative, speed ? 1 : 2), value,
                         Mark::none, false, source_text(row)});
      }
      for (const PaperComparison* comparison : measured) {
        cells.push_back(our_cell(*comparison, row, "{:.2f}×"));
      }
      part.rows.push_back(cells);
    }
    table.sections.push_back(part);
    tables.push_back(table);
  }

  Table ranks{"rank_correlation",
              "Rank correlation of ours with the paper's",
              {{"what", "Quantity", false},
               {"n", "Mechanisms"},
               {"rho", "Spearman's ρ"},
               {"low", "95 % from"},
               {"high", "to"},
               {"ours", "Ours", false}},
              {}};
  TableSection list{"",
                    {"1: the same order, 0: none, -1: the opposite. With few mechanisms the interval is wide: read it "
                     "before the number."},
                    {},
                    {}};
  for (const PaperComparison& comparison : comparisons) {
    const auto& rho = comparison.correlation;
    if (!rho) continue;  // fewer than 4 mechanisms
    const auto number = [](double value) { return Cell{fmt::format("{:.2f}", value), value}; };
    const auto n = static_cast<std::int64_t>(comparison.pairs.size());
    list.rows.push_back({{comparison.what, comparison.what, Mark::none, false, comparison.source},
                         {fmt::format("{}", n), n},
                         number(rho->rho),
                         number(rho->low),
                         number(rho->high),
                         {ours_of(comparison), ours_of(comparison)}});
  }
  if (!list.rows.empty()) {
    ranks.sections.push_back(list);
    tables.push_back(ranks);
  }

  Table later{"later_results", "Later published results", {{"model", "Model", false}}, {}};
  for (const char* task : table_columns) later.columns.push_back({task, task});
  later.columns.push_back({"source", "Source", false});
  for (const auto& [key, title] : {std::pair{"Avg_recomputed_5", "Average of 5"},
                                   {"Avg_recomputed_6", "Average of 6"},
                                   {"Avg_recomputed_6_fail50", "of 6, failed Path-X = 50"}})
    later.columns.push_back({key, title});
  TableSection rows{"",
                    {"Other models, sizes and budgets than the 2020 paper's: not one ranking. The source of each "
                     "number is shown on hover."},
                    {},
                    {}};
  for (const Json& row : published.at("later")) {
    std::vector<Cell> cells = {{row["model"], row["model"], Mark::none, false, source_text(row)}};
    for (const char* task : table_columns) cells.push_back(published_cell(row, task));
    const std::string arxiv = text_at(row["source"], "arxiv"),
                      source = (arxiv.empty() ? text_at(row["source"], "paper") : "arXiv " + arxiv) + ", " +
                               text_at(row["source"], "table");
    cells.push_back({shorten(source, 90), source, Mark::none, false, source_text(row)});
    for (const char* key : {"Avg_recomputed_5", "Avg_recomputed_6", "Avg_recomputed_6_fail50"})
      cells.push_back(published_cell(row, key));
    rows.rows.push_back(cells);
  }
  later.sections.push_back(rows);
  tables.push_back(later);
  return tables;
}

}  // namespace lra::report
