#include "report/score_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/record_facts.h"

namespace lra::report {
namespace {

/// The published row of a mixer, or null.
const Json* published_row(const Json& published, const std::string& mixer) {
  const auto link = published.at("mixers").find(mixer);
  if (link == published["mixers"].end()) return nullptr;
  for (const Json& row : published.at((*link)["table"].get<std::string>())) {
    if (row["model"] == (*link)["model"]) return &row;
  }
  return nullptr;
}

}  // namespace

void set_published(ScoreRow& row, const Json& published, const std::string& column) {
  const Json* found = published_row(published, row.mixer);
  if (found == nullptr || !found->contains(column) || (*found)[column].is_null()) return;
  const Json& value = (*found)[column];
  row.published_text = value.is_string() ? value.get<std::string>() : fmt::format("{:.2f}", value.get<double>());
  if (value.is_number()) row.published = value.get<double>();
  row.published_source = fmt::format("{}, arXiv {}, {}", text_at(*found, "model"), text_at((*found)["source"], "arxiv"),
                                     text_at((*found)["source"], "table"));
}

std::string protocol_note(const std::string& profile) {
  return fmt::format(
      "Published: as printed by the papers named in each row. Their models, training and hardware differ from this "
      "group (profile {}, "
      "measured here), so the two columns are not one ranking.",
      profile);
}

double ScoreRow::standard_error() const {
  if (!test) return 0;
  const auto n = static_cast<double>(test->n);
  const double measured = test->error_kind == "sd over seeds" ? test->error / std::sqrt(n) : test->error;
  const double examples = n * static_cast<double>(test_examples.value_or(0));
  if (examples == 0) return measured;
  const double share = (test->mean / 100 * examples + 1) / (examples + 2);
  return std::max(measured, 100 * std::sqrt(share * (1 - share) / examples));
}

void rank(std::vector<ScoreRow>& rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const ScoreRow& a, const ScoreRow& b) {
    if (a.test.has_value() != b.test.has_value()) return a.test.has_value();
    if (a.test && a.test->mean != b.test->mean) return a.test->mean > b.test->mean;
    return a.label < b.label;
  });
  std::vector<ScoreRow*> rivals;
  for (ScoreRow& row : rows) {
    if (row.test && !row.at_chance) rivals.push_back(&row);
  }
  if (rivals.size() < 2) return;  // nobody to win against
  std::size_t first = 0;
  for (const Mark win : {Mark::best, Mark::second}) {
    if (first == rivals.size()) return;
    const ScoreRow& leader = *rivals[first];
    const auto level = [&](const ScoreRow* row) {
      return leader.test->mean - row->test->mean <= 2 * std::hypot(row->standard_error(), leader.standard_error());
    };
    const auto end = static_cast<std::size_t>(
        std::find_if_not(rivals.begin() + static_cast<std::ptrdiff_t>(first), rivals.end(), level) - rivals.begin());
    if (end - first > 1) {
      for (std::size_t i = first; i < end; ++i) rivals[i]->mark = win == Mark::best ? Mark::tied : Mark::none;
      return;
    }
    rivals[first]->mark = win;
    first = end;
  }
}

ScoreRow score_row(const std::vector<const Result*>& records, const std::string& label, double trivial_level) {
  const Result& first = *records.front();
  ScoreRow row{label, first.mixer, first.variant, first.status, first.message};
  row.records = records;
  row.test_examples = first.test_examples;
  row.parameters = first.parameters;
  row.train_steps = integer_at(first.config, "train_steps");
  row.batch_size = integer_at(first.config, "batch_size");
  row.wall_seconds = mean_of(records, [](const Result& r) { return r.wall_seconds; });
  for (const Result* record : records) row.seeds.push_back(record->seed);
  if (first.status != "ok") return row;
  const auto scores = values_of(records, [](const Result& r) { return r.test_accuracy; });
  if (scores.empty()) {
    row.message = "no test accuracy in the record";
    return row;
  }
  row.test = summarise(scores, "sd over seeds");
  const double examples = static_cast<double>(first.test_examples.value_or(0));
  if (scores.size() == 1 && examples > 0) {
    row.test->error = std::sqrt(scores[0] * (1 - scores[0]) / examples);
    row.test->error_kind = "binomial SE";
  }
  row.test->mean *= 100;
  row.test->error *= 100;
  const double trivial = trivial_level / 100;
  row.at_chance = examples > 0 && trivial > 0 &&
                  row.test->mean <= trivial_level + 200 * std::sqrt(trivial * (1 - trivial) / examples /
                                                                    static_cast<double>(scores.size()));
  if ((row.valid = mean_of(records, [](const Result& r) { return r.valid_accuracy; }))) *row.valid *= 100;
  if ((row.train = mean_of(records, [](const Result& r) { return r.train_accuracy; }))) *row.train *= 100;
  return row;
}

}  // namespace lra::report
