#include "report/paper.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <tuple>

#include "core/thousands.h"
#include "report/labels.h"

namespace lra::report {
namespace {

std::string source_of(const Json& row) {
  const Json& source = row.at("source");
  return fmt::format("{}, arXiv {}, {}", source.at("paper").get<std::string>(), source.at("arxiv").get<std::string>(),
                     source.at("table").get<std::string>());
}

/// The paper's models in the given rows of `published`, each with the one of our rows that stands for it; `ours` and
/// `theirs` are absent where there is no number.
template <class Row>
void add_pairs(PaperComparison& comparison, const std::vector<Row>& rows, const Json& published,
               const Json& published_rows, const std::function<std::optional<double>(const Row&)>& ours,
               const std::function<std::optional<double>(const Json&, const Row&)>& theirs) {
  for (const auto& [mixer, link] : published.at("mixers").items()) {
    const Json& model = link.at("model");
    const auto taken = [&](const PaperPair& pair) { return pair.model == model; };
    if (link.at("table") != "lra_table1" || std::any_of(comparison.pairs.begin(), comparison.pairs.end(), taken))
      continue;
    const std::string named = link.value("variant", mixer);
    const auto rank = [&, &name = mixer](const Row& row) {
      return std::tuple(row.variant != name, row.variant != named, row.variant);
    };
    const Row* best = nullptr;
    for (const Row& row : rows) {
      if (row.mixer == mixer && ours(row) && (best == nullptr || rank(row) < rank(*best))) best = &row;
    }
    const auto entry = std::find_if(published_rows.begin(), published_rows.end(),
                                    [&](const Json& row) { return row.at("model") == model; });
    if (best == nullptr || entry == published_rows.end()) continue;
    const auto value = theirs(*entry, *best);
    if (!value) continue;
    comparison.pairs.push_back(
        {best->label, best->variant, model.get<std::string>(), *ours(*best), *value, entry->value("note", "")});
    comparison.source = source_of(*entry);
  }
  std::vector<std::pair<double, double>> numbers;
  for (const PaperPair& pair : comparison.pairs) numbers.emplace_back(pair.ours, pair.theirs);
  comparison.correlation = rank_correlation(numbers);
}

/// The percentage of a model of Table 1 in the task or average of a group.
std::optional<double> published_score(const Json& model, const ScoreGroup& scores) {
  const auto number = [&](const std::string& column) {
    return model.contains(column) && model[column].is_number() ? std::optional(model[column].get<double>())
                                                               : std::nullopt;
  };
  if (!scores.is_average()) return number(scores.task_name);
  const auto five = number("Avg_recomputed_5");
  if (scores.task == "average_5" || !five) return five;
  const auto six = number("Avg_recomputed_6_fail50");
  return six ? six : (*five * 5 + 50) / 6;  // Path-X failed for all of them
}

std::optional<double> number_at(const Json& row, const char* key, const std::string& length) {
  const auto found = row.find(key);
  if (found == row.end() || !found->is_object() || !found->contains(length) || !(*found)[length].is_number())
    return std::nullopt;
  return (*found)[length].get<double>();
}

}  // namespace

std::optional<PaperComparison> paper_scores(const ScoreGroup& scores, const Json& published) {
  PaperComparison comparison{"score", scores.name + ", percent", scores.condition, "", 0, "", scores.easier, {}, {}};
  add_pairs<ScoreRow>(
      comparison, scores.rows, published, published.at("lra_table1"),
      [](const ScoreRow& row) { return row.test ? std::optional(row.test->mean) : std::nullopt; },
      [&](const Json& row, const ScoreRow&) { return published_score(row, scores); });
  if (comparison.pairs.empty()) return std::nullopt;
  return comparison;
}

std::vector<PaperComparison> paper_speeds(const std::vector<SpeedGroup>& speeds, const Json& published) {
  const Json& rows = published.at("lra_table2").at("rows");
  const auto full =
      std::find_if(rows.begin(), rows.end(), [](const Json& row) { return row.at("model") == "Transformer"; });
  std::vector<PaperComparison> comparisons;
  for (const SpeedGroup& group : speeds) {
    if (group.source != "bench" || group.length % 1024 != 0 || group.length < 1024 || group.length > 4096) continue;
    const std::string length = fmt::format("{}K", group.length / 1024), text = with_commas(group.length);
    const auto add = [&](const char* quantity, const char* what, std::optional<double> SpeedRow::* ours,
                         const char* key) {
      PaperComparison comparison{quantity,
                                 fmt::format("{} at {} tokens, relative to softmax attention", what, text),
                                 group.condition,
                                 group.setting,
                                 group.length,
                                 "",
                                 "",
                                 {},
                                 {}};
      add_pairs<SpeedRow>(
          comparison, group.rows, published, rows, [&](const SpeedRow& row) { return row.*ours; },
          [&](const Json& row, const SpeedRow&) -> std::optional<double> {
            const auto value = number_at(row, key, length), base = number_at(*full, key, length);
            return value && base ? std::optional(*value / *base) : std::nullopt;
          });
      if (!comparison.pairs.empty()) comparisons.push_back(comparison);
    };
    add("speed", "speed", &SpeedRow::relative_speed, "steps_per_sec");
    add("memory", "memory", &SpeedRow::relative_memory, "peak_memory_gb_per_device");
  }
  return comparisons;
}

}  // namespace lra::report
