#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "report/score_rows.h"

namespace lra::report {
namespace {

bool no_better_than_chance(const ScoreRow& row) {
  if (!row.test) return row.status == "oom" || row.status == "timeout" || row.status == "nan" || row.status == "failed";
  const double examples = static_cast<double>(row.test_examples.value_or(20000));
  return row.test->mean < 50 + 2 * 100 * std::sqrt(0.25 / examples);
}

/// The mean of a model's scores on the tasks of `groups`, one for each task; without a score where one is missing.
/// `start`: its row in one of them.
ScoreRow average_row(const ScoreRow& start, const std::vector<const ScoreGroup*>& groups) {
  ScoreRow row{start.label, start.mixer, start.variant, "ok", ""};
  row.parameters = start.parameters;
  double sum = 0, variance = 0, tasks = 0;
  std::int64_t n = start.test ? start.test->n : 0;
  for (const ScoreGroup* group : groups) {
    const auto same = [&](const ScoreRow& other) {
      return other.variant == start.variant && other.label == start.label;
    };
    const auto found = std::find_if(group->rows.begin(), group->rows.end(), same);
    const bool there = found != group->rows.end();
    const bool failed_path_x = group->task == "pathx" && there && no_better_than_chance(*found);
    if (!failed_path_x && !(there && found->test)) {
      row.status = there ? found->status : "incomplete";
      row.message += (row.message.empty() ? "no score on " : ", ") + group->task_name;
      continue;
    }
    sum += failed_path_x ? 50.0 : found->test->mean;
    variance += failed_path_x ? 0 : found->standard_error() * found->standard_error();
    if (!failed_path_x) n = std::min(n, found->test->n);
    ++tasks;
  }
  if (row.message.empty())
    row.test = Summary{sum / tasks, std::sqrt(variance) / tasks, "from the tasks' standard errors", n};
  return row;
}

/// The papers' averages; where they have none over six tasks, Path-X counts as failed.
void set_published_average(ScoreRow& row, const Json& published, bool with_path_x) {
  set_published(row, published, with_path_x ? "Avg_recomputed_6_fail50" : "Avg_recomputed_5");
  if (!with_path_x || !row.published_text.empty()) return;
  set_published(row, published, "Avg_recomputed_5");
  if (!row.published) return;
  row.published = (*row.published * 5 + 50) / 6;
  row.published_text = fmt::format("{:.2f}", *row.published);
}

/// The one group of each task that counts in an average; empty where a task has none or several.
std::vector<const ScoreGroup*> one_group_a_task(const std::vector<const ScoreGroup*>& groups, bool with_path_x) {
  std::vector<const ScoreGroup*> chosen;
  for (const std::string& task : arena_tasks()) {
    if (task == "pathx" && !with_path_x) continue;
    std::vector<const ScoreGroup*> found;
    std::copy_if(groups.begin(), groups.end(), std::back_inserter(found),
                 [&](const ScoreGroup* group) { return group->task == task && group->is_whole(); });
    if (found.size() != 1) return {};
    chosen.push_back(found.front());
  }
  return chosen;
}

std::optional<ScoreGroup> average_group(const std::vector<const ScoreGroup*>& groups, bool with_path_x,
                                        const Json& published) {
  const auto members = one_group_a_task(groups, with_path_x);
  if (members.empty()) return std::nullopt;
  const ScoreGroup& first = *members.front();
  ScoreGroup average;
  average.task = with_path_x ? "average_6" : "average_5";
  average.task_name =
      with_path_x ? "LRA average of 6 tasks (failed Path-X = 50)" : "LRA average of 5 tasks (without Path-X)";
  average.profile = first.profile;
  average.host = first.host;
  average.machine = first.machine;
  average.device = first.device;
  average.setting = first.setting;
  average.suites = first.suites;
  average.precision = first.precision;
  average.condition = fmt::format("profile {} · {}", first.profile, first.host);
  average.qualifiers = {average.suites, average.profile, "", "", "", "", average.setting, average.host, "",
                        average.device};
  average.title = average.task_name + ", " + average.condition;
  for (const ScoreGroup* group : members) {
    for (const std::string& warning : group->warnings) average.warnings.push_back(group->task_name + ": " + warning);
    if (average.easier.empty() && !group->easier.empty()) average.easier = group->task_name + ": " + group->easier;
  }
  if (average.easier.empty()) average.notes = {protocol_note(first.profile)};
  if (with_path_x)
    average.notes.push_back(
        "A Path-X run that failed or did no better than chance (50 % plus two standard errors) counts as 50.");
  std::set<std::string> taken;
  for (const ScoreRow& start : first.rows) {
    if (!taken.insert(start.label + "\n" + start.variant).second) continue;  // its other seeds ended otherwise
    average.rows.push_back(average_row(start, members));
    if (average.easier.empty()) set_published_average(average.rows.back(), published, with_path_x);
  }
  rank(average.rows);
  return average;
}

}  // namespace

const std::vector<std::string>& arena_tasks() {
  static const std::vector<std::string> tasks = {"listops", "text", "retrieval", "image", "pathfinder", "pathx"};
  return tasks;
}

std::vector<ScoreGroup> averages_of(const std::vector<const ScoreGroup*>& groups, const Json& published) {
  std::vector<ScoreGroup> averages;
  for (const bool with_path_x : {false, true}) {
    if (auto average = average_group(groups, with_path_x, published)) averages.push_back(std::move(*average));
  }
  return averages;
}

std::string why_no_average(const std::vector<const ScoreGroup*>& groups) {
  std::map<std::string, int> rankings;
  for (const ScoreGroup* group : groups) rankings[group->task] += group->is_whole() ? 1 : 0;
  std::string twice;
  for (const std::string& task : arena_tasks()) {
    if (task != "pathx" && rankings[task] == 0) return {};  // nobody expects one
    if (rankings[task] > 1) twice += (twice.empty() ? "" : ", ") + task_name(task);
  }
  return twice.empty()
             ? ""
             : fmt::format("No average over LRA's tasks: there is more than one ranking of {} in this setting.", twice);
}

}  // namespace lra::report
