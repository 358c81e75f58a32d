#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "report/find_files.h"
#include "report/official.h"
#include "report/record_facts.h"
#include "report/score_rows.h"

namespace lra::report {
namespace {

/// What differs between the rows of a ranking besides their mixers, and stamps.
void add_warnings(ScoreGroup& group, const std::vector<const Result*>& members) {
  auto differing = differing_keys(members);
  for (const char* key : {"mixer", "attention_dropout", "black_pixels"}) differing.erase(key);
  std::erase_if(differing, [](const auto& item) { return item.first.starts_with("mixer_options."); });
  for (const auto& [key, values] : differing)
    group.warnings.push_back(fmt::format("The rows differ in {}: {}.", key, fmt::join(values, ", ")));
  const std::pair<const char*, const char*> facts[] = {
      {"revision", "program revision"}, {"libtorch", "LibTorch version"}, {"build_type", "build type"}};
  for (const auto& [key, title] : facts) {
    std::set<std::string> values;
    for (const Result* member : members) values.insert(text_at(member->build, key).substr(0, 10));
    if (values.size() > 1)
      group.warnings.push_back(fmt::format("The rows differ in {}: {}.", title, fmt::join(values, ", ")));
  }
  std::set<std::string> threads;
  for (const Result* member : members) threads.insert(text_at(member->host, "threads"));
  threads.erase("");
  if (threads.size() > 1)
    group.warnings.push_back(fmt::format("The rows differ in the number of threads: {}.", fmt::join(threads, ", ")));
  const auto any = [&](auto test) { return std::any_of(members.begin(), members.end(), test); };
  if (any([](const Result* r) { return is_dirty(*r); }))
    group.warnings.push_back("Some records come from programs with uncommitted changes.");
  if (!group.incomplete.empty()) group.warnings.push_back(fmt::format("INCOMPLETE DATA: {}.", group.incomplete));
  std::map<std::string, double> cut;
  for (const Result* member : members) {
    for (const auto& [split, share] : cut_shares(*member)) cut[split] = std::max(cut[split], share);
  }
  if (!cut.empty()) group.warnings.push_back(cut_text(cut) + ".");
  if (group.limited)
    group.warnings.push_back(fmt::format("LIMITED: only the first {} examples of each split were used.",
                                         text_at(members.front()->config, "limit")));
  if (any([](const Result* r) { return r->suite == "smoke"; }))
    group.warnings.push_back("SMOKE RUN: a few steps to see that everything runs; its scores mean nothing.");
}

/// Records that are ranked together.
using Members = std::vector<const Result*>;

/// Training records by setting, then by data.
std::map<std::string, std::map<std::string, Members>> settings_of(const std::vector<Result>& results) {
  std::map<std::string, std::map<std::string, Members>> by_setting;
  for (const Result& result : results) {
    if (result.kind != "train") continue;
    const auto known = std::find(arena_tasks().begin(), arena_tasks().end(), result.task);
    const Json key = {known - arena_tasks().begin(),
                      result.task,
                      result.profile,
                      text_at(result.settings, "seq_len"),
                      text_at(result.settings, "limit"),
                      fmt::format("{:>8}", text_at(result.settings, "train_steps")),
                      text_at(result.settings, "batch_size"),
                      text_at(result.settings, "precision"),
                      text_at(result.host, "name"),
                      text_at(result.host, "cpu"),
                      text_at(result.host, "device")};
    by_setting[key.dump()][data_identity(result)].push_back(&result);
  }
  for (auto& [setting, by_data] : by_setting) {
    // A run that died early may know nothing of its data: it belongs to the group of its settings.
    if (by_data.size() < 2 || by_data.count("{}") == 0) continue;
    Members unknown = by_data.extract("{}").mapped(), &members = by_data.rbegin()->second;
    std::copy_if(unknown.begin(), unknown.end(), std::back_inserter(members),
                 [](const Result* result) { return result->status != "ok"; });
    std::erase_if(unknown, [](const Result* result) { return result->status != "ok"; });
    if (!unknown.empty()) by_data["{}"] = unknown;
  }
  return by_setting;
}

/// The group without its rows. `data_set`: its number among those of this setting, of `data_sets`.
ScoreGroup empty_group(const Members& members, std::size_t data_set, std::size_t data_sets) {
  const Result& first = *members.front();
  ScoreGroup group;
  group.task = first.task;
  group.task_name = task_name(first.task);
  group.profile = first.profile;
  group.host = describe_host(first);
  group.machine = machine_of(first);
  group.device = text_at(first.host, "device");
  group.precision = text_at(first.settings, "precision");
  group.training = training_of(first);
  group.setting = fmt::format("{}/{}/{}/{}", group.profile, text_at(first.host, "name") + text_at(first.host, "cpu"),
                              group.device, group.precision);
  const auto limit = integer_at(first.config, "limit").value_or(0);
  group.limited = limit > 0;
  for (const Result* member : members) {
    if (group.incomplete.empty()) group.incomplete = member->incomplete;
    if (group.easier.empty()) group.easier = easier_than_official(*member);
  }
  const std::string lengths = number_list(members, "seq_len"), steps = number_list(members, "train_steps"),
                    batch = number_list(members, "batch_size");
  group.condition =
      fmt::format("profile {} · sequences up to {} · {} steps, batch {}", first.profile, lengths, steps, batch);
  if (!group.precision.empty() && group.precision != "float32") group.condition += " · " + group.precision;
  if (!group.incomplete.empty()) group.condition += " · incomplete data";
  if (group.limited) group.condition += fmt::format(" · first {} examples of each split", limit);
  if (first.suite == "smoke") group.condition += " · smoke run";
  if (data_sets > 1) group.condition += fmt::format(" · data set {} of {} of this task", data_set, data_sets);
  group.condition += " · " + group.host;
  group.title = group.task_name + ", " + group.condition;
  if (group.easier.empty()) group.notes = {protocol_note(first.profile)};
  add_warnings(group, members);
  std::set<std::string> suites;
  for (const Result* member : members) suites.insert(member->suite);
  suites.erase("");
  group.suites = fmt::format("{}", fmt::join(suites, " and "));
  const std::string data = group.limited              ? fmt::format("limit {}", limit)
                           : group.incomplete.empty() ? ""
                                                      : "incomplete data";
  group.qualifiers = {group.suites,
                      group.profile,
                      "up to " + lengths,
                      data,
                      steps + " steps",
                      "batch " + batch,
                      group.precision,
                      text_at(first.host, "name"),
                      text_at(first.host, "cpu"),
                      group.device};
  return group;
}

void add_levels(const Result& record, ScoreGroup& group) {
  for (const auto& [name, value] : record.reference_levels.items()) {
    const auto known = [&name = name](const auto& level) { return level.first == name; };
    if (std::none_of(group.reference_levels.begin(), group.reference_levels.end(), known))
      group.reference_levels.emplace_back(name, 100 * value.get<double>());
  }
}

void add_rows(const Members& members, const Json& published, ScoreGroup& group) {
  const auto labels = labels_of(members);
  std::map<std::string, Members> rows;
  std::set<std::string> seen;
  std::vector<std::string> repeated;
  for (const Result* record : members) {
    const std::string row = record->variant + record->signature;
    if (!seen.insert(fmt::format("{}/{}", row, record->seed)).second) {
      repeated.push_back(fmt::format("{} repeats seed {} of {} and is not counted.", shown(record->file), record->seed,
                                     labels.at(row)));
      continue;
    }
    rows[row + "/" + record->status].push_back(record);
    add_levels(*record, group);
  }
  if (repeated.size() > 3)
    repeated = {repeated[0], repeated[1],
                fmt::format("{} more records repeat a seed and are not counted.", repeated.size() - 2)};
  group.notes.insert(group.notes.end(), repeated.begin(), repeated.end());
  double trivial = 0;
  for (const auto& [name, value] : group.reference_levels)
    trivial = name == "chance" || name == "majority" ? std::max(trivial, value) : trivial;
  for (const auto& [key, records] : rows) {
    ScoreRow row = score_row(records, labels.at(records.front()->variant + records.front()->signature), trivial);
    row.model = model_of(*records.front());
    if (group.easier.empty()) set_published(row, published, group.task_name);
    group.rows.push_back(row);
  }
  rank(group.rows);
}

}  // namespace

std::string cut_text(const std::map<std::string, double>& shares) {
  std::vector<std::string> parts;
  for (const auto& [split, share] : shares)
    parts.push_back(fmt::format("{} % of the sequences of {}",
                                share < 0.01 ? fmt::format("{:.2g}", 100 * share) : fmt::format("{:.0f}", 100 * share),
                                split));
  return fmt::format("seq_len cuts {}", fmt::join(parts, ", "));
}

std::string task_name(const std::string& task) {
  const auto found = task_configs().find(task);
  return found == task_configs().end() ? task : found->second.value("display_name", task);
}

std::vector<ScoreGroup> compare_scores(const std::vector<Result>& results, const Json& published) {
  std::vector<ScoreGroup> scores;
  for (auto& [setting, by_data] : settings_of(results)) {
    std::size_t data_set = 0;
    for (auto [data, members] : by_data) {
      // Of a seed that was run twice, the run that ended well counts.
      std::stable_sort(members.begin(), members.end(),
                       [](const Result* a, const Result* b) { return a->status == "ok" && b->status != "ok"; });
      scores.push_back(empty_group(members, ++data_set, by_data.size()));
      add_rows(members, published, scores.back());
    }
  }
  std::vector<ScoreGroup> averages;
  for (const auto& members : side_by_side(scores)) {
    const std::string why = why_no_average(members);
    if (!why.empty()) scores[static_cast<std::size_t>(members.front() - scores.data())].notes.push_back(why);
    const auto more = averages_of(members, published);
    averages.insert(averages.end(), more.begin(), more.end());
  }
  scores.insert(scores.end(), averages.begin(), averages.end());
  name_groups(scores);
  return scores;
}

std::vector<std::vector<const ScoreGroup*>> side_by_side(const std::vector<ScoreGroup>& groups) {
  std::map<std::string, std::vector<const ScoreGroup*>> by_setting, result;
  for (const ScoreGroup& group : groups) by_setting[group.setting].push_back(&group);
  for (const auto& [setting, members] : by_setting) {
    std::map<std::string, int> tasks;
    const bool twice =
        std::any_of(members.begin(), members.end(), [&](const ScoreGroup* group) { return ++tasks[group->task] > 1; });
    for (const ScoreGroup* group : members) result[setting + (twice ? "/" + group->suites : "")].push_back(group);
  }
  std::vector<std::vector<const ScoreGroup*>> sets;
  for (const auto& [key, members] : result) sets.push_back(members);
  return sets;
}

}  // namespace lra::report
