#include <fmt/format.h>

#include <algorithm>

#include "core/text.h"
#include "report/diff.h"

namespace lra::report {

std::string diff_text(const Diff& diff, bool all) {
  std::vector<std::vector<std::string>> table = {
      {"", "run", "score A", "B", "change", "p", "speed B/A (95 %)", "memory B/A"}};
  std::vector<std::vector<std::string>> below = {{}};
  for (const DiffRow& row : diff.rows) {
    if (!all && row.verdict == "within") continue;
    std::vector<std::string> cells = {row.verdict, printable(row.run), "", "", "", "", "", ""};
    if (row.score) {
      cells[2] = fmt::format("{:.2f}", row.score->a);
      cells[3] = fmt::format("{:.2f}", row.score->b);
      cells[4] = fmt::format("{:+.2f}", row.score->b - row.score->a);
      if (row.score->p)
        cells[5] = fmt::format("{:.2g} {}", *row.score->p, row.score->test.starts_with("W") ? "t" : "z");
    }
    if (row.speed) cells[6] = fmt::format("{:.2f}", row.speed->value());
    if (row.speed && row.speed->interval)
      cells[6] += fmt::format(" ({:.2f} to {:.2f})", row.speed->interval->first, row.speed->interval->second);
    if (row.memory) cells[7] = fmt::format("{:.2f}", row.memory->value());
    table.push_back(cells);
    below.emplace_back();
    for (const auto* sentences : {&row.beyond, &row.not_comparable, &row.notices}) {
      below.back().insert(below.back().end(), sentences->begin(), sentences->end());
    }
  }
  std::vector<std::size_t> widths(table[0].size());
  for (const auto& cells : table) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
  }
  std::string text;
  for (std::size_t i = 0; table.size() > 1 && i < table.size(); ++i) {
    std::string line;
    for (std::size_t j = 0; j < widths.size(); ++j) {
      line += j < 2 ? fmt::format("{:<{}}  ", table[i][j], widths[j]) : fmt::format("{:>{}}  ", table[i][j], widths[j]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    for (const std::string& sentence : below[i]) text += fmt::format("    {}\n", printable(sentence));
  }
  for (const std::string& sentence : diff.broken) text += fmt::format("unreadable: {}\n", printable(sentence));
  const auto within = diff.count("within"), beyond = diff.count("beyond"),
             not_comparable = diff.count("not comparable");
  return text + fmt::format(
                    "{} compared: {} within the thresholds, {} beyond, {} not comparable; {} missing in B, {} only in "
                    "B, {} unreadable\n",
                    within + beyond + not_comparable, within, beyond, not_comparable, diff.count("missing in B"),
                    diff.count("only in B"), diff.broken.size());
}

Json diff_json(const Diff& diff) {
  const Tolerance& tolerance = diff.tolerance;
  Json json = {{"a", diff.a.string()},
               {"b", diff.b.string()},
               {"thresholds",
                {{"max_score_drop", tolerance.max_score_drop},
                 {"min_speed", tolerance.min_speed},
                 {"max_memory", tolerance.max_memory},
                 {"allow_missing", tolerance.allow_missing},
                 {"allow_incomparable", tolerance.allow_incomparable}}},
               {"within", diff.within()},
               {"broken", diff.broken},
               {"rows", Json::array()}};
  const auto ratio = [](const Ratio& r) {
    Json object = {{"a", r.a}, {"b", r.b}, {"ratio", r.value()}};
    if (r.interval) object["interval"] = {r.interval->first, r.interval->second};
    return object;
  };
  for (const DiffRow& row : diff.rows) {
    Json object = {{"verdict", row.verdict}, {"run", row.run}, {"a", row.a}, {"b", row.b}};
    if (row.score) {
      const ScoreChange& score = *row.score;
      object["score"] = {{"a", score.a},
                         {"b", score.b},
                         {"points", score.b - score.a},
                         {"p", score.p ? Json(*score.p) : Json()},
                         {"test", score.test}};
    }
    if (row.speed) object["speed"] = ratio(*row.speed);
    if (row.memory) object["memory"] = ratio(*row.memory);
    object["beyond"] = row.beyond;
    object["not_comparable"] = row.not_comparable;
    object["notices"] = row.notices;
    object["config"] = row.config;
    json["rows"].push_back(object);
  }
  return json;
}

}  // namespace lra::report
