#include "report/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>
#include <tuple>

#include "core/error.h"
#include "core/text.h"
#include "report/find_files.h"
#include "report/labels.h"
#include "report/official.h"

namespace lra::report {
namespace {

using TaskNames = std::vector<std::pair<std::string, std::string>>;
/// The tasks of the averages.
const TaskNames task_names = {{"listops", "ListOps"}, {"text", "Text"},
                              {"retrieval", "Retrieval"}, {"image", "Image"},
                              {"pathfinder", "Pathfinder"}, {"pathx", "Path-X"}};
/// Those that never count in them: stand-ins, and sizes of Pathfinder that the paper has no numbers for.
const TaskNames other_task_names = {{"text_standin", "Text stand-in (generated documents)"}, {"retrieval_standin", "Retrieval stand-in (generated pairs)"},
                                    {"image_standin", "Image stand-in (Fashion-MNIST)"}, {"pathfinder_standin", "Pathfinder stand-in (own generator)"},
                                    {"pathx_standin", "Path-X stand-in (own generator)"}, {"pathfinder64", "Pathfinder 64"},
                                    {"pathfinder64_standin", "Pathfinder 64 stand-in (own generator)"}, {"pathfinder256", "Pathfinder 256"},
                                    {"pathfinder256_standin", "Pathfinder 256 stand-in (own generator)"}};

std::optional<std::int64_t> integer_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<std::int64_t>();
}

/// The settings with the options of mixer and task as keys of their own: "mixer_options.features".
std::map<std::string, std::string> flat_settings(const Result& result) {
  std::map<std::string, std::string> flat;
  for (const auto& [key, value] : result.settings.items()) {
    if (!value.is_object()) flat[key] = text_at(result.settings, key.c_str());
    else for (const auto& [option, one] : value.items()) flat[key + "." + option] = text_at(value, option.c_str());
  }
  return flat;
}

/// The keys of the settings whose values differ, with all values.
std::map<std::string, std::set<std::string>> differing_keys(const std::vector<const Result*>& results) {
  std::map<std::string, std::set<std::string>> values;
  std::map<std::string, std::size_t> present;
  std::set<std::string> done;  // settings
  for (const Result* result : results) {
    if (!done.insert(result->signature).second) continue;
    for (const auto& [key, value] : flat_settings(*result)) {
      values[key].insert(shorten(value, 60));
      ++present[key];
    }
  }
  std::erase_if(values, [&](const auto& item) { return item.second.size() == 1 && present.at(item.first) == done.size(); });
  for (const std::string& key : bookkeeping_keys()) values.erase(key);
  return values;
}

/// Display names of the rows' configurations; where one variant has several, the keys that differ are added, so that no two are mixed up.
std::map<std::string, std::string> labels_of(const std::vector<const Result*>& results) {
  std::map<std::string, std::vector<const Result*>> by_variant;
  std::map<std::string, std::set<std::string>> variants_named;  // display name -> variants
  for (const Result* result : results) {
    by_variant[result->variant].push_back(result);
    variants_named[result->display_name].insert(result->variant);
  }
  std::map<std::string, std::string> labels;  // variant + signature -> label
  for (const auto& [variant, members] : by_variant) {
    const auto differing = differing_keys(members);
    for (const Result* result : members) {
      std::string& label = labels[variant + result->signature];
      if (!label.empty()) continue;
      const bool named = !result->display_name.empty() && (variant == result->mixer || variants_named[result->display_name].size() == 1);
      label = named ? result->display_name : variant;
      std::string details;
      const auto settings = flat_settings(*result);
      for (const auto& [key, values] : differing) {
        const auto value = settings.find(key);
        details += fmt::format("{}{}={}", details.empty() ? "" : ", ", key.substr(key.find('.') + 1), value == settings.end() ? "none" : shorten(value->second, 60));
      }
      if (!details.empty()) label += " (" + details + ")";
    }
  }
  return labels;
}

Summary summarise(const std::vector<double>& values, const char* error_kind) {
  Summary summary;
  summary.n = static_cast<std::int64_t>(values.size());
  summary.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  if (values.size() < 2) return summary;
  double squares = 0;
  for (double value : values) squares += (value - summary.mean) * (value - summary.mean);
  summary.error = std::sqrt(squares / static_cast<double>(values.size() - 1));
  summary.error_kind = error_kind;
  return summary;
}

template <class Get>
std::vector<double> values_of(const std::vector<const Result*>& results, Get get) {
  std::vector<double> values;
  for (const Result* result : results) {
    if (const auto value = get(*result)) values.push_back(static_cast<double>(*value));
  }
  return values;
}

template <class Get>
std::optional<double> mean_of(const std::vector<const Result*>& results, Get get) {
  const auto values = values_of(results, get);
  if (values.empty()) return std::nullopt;
  return summarise(values, "").mean;
}

std::string number_list(const std::vector<const Result*>& results, const char* key) {
  std::set<std::int64_t> values;
  for (const Result* result : results) {
    if (const auto value = integer_at(result->config, key)) values.insert(*value);
  }
  if (values.empty()) return "?";
  return values.size() == 1 ? fmt::format("{}", *values.begin()) : fmt::format("{} to {}", *values.begin(), *values.rbegin());
}

/// "2 layers, width 64, 2 heads"
std::string sizes_of(const Result& result) {
  const auto size = [&](const char* key) { return shorten(text_at(result.config, key), 20); };
  const auto layers = size("num_layers"), width = size("d_model"), heads = size("num_heads");
  if (layers.empty()) return "sizes unknown";
  return fmt::format("{} layer{}, width {}, {} head{}", layers, layers == "1" ? "" : "s", width, heads, heads == "1" ? "" : "s");
}

/// The same as a key: what the record lacks has its default value.
Json model_sizes(const Result& result) {
  return {text_at(result.settings, "num_layers"), text_at(result.settings, "d_model"), text_at(result.settings, "num_heads")};
}

/// What a training's own speed depends on besides model and machine.
std::string training_of(const Result& result) {
  return Json{result.task, text_at(result.settings, "seq_len"), text_at(result.settings, "limit"), text_at(result.settings, "batch_size"), data_identity(result)}.dump();
}

/// "revision 0123456789, LibTorch 2.13.0+cpu, Release": speeds of different ones are never averaged.
std::string build_of(const Result& result) {
  std::string text = "revision " + text_at(result.build, "revision").substr(0, 10) + (text_at(result.build, "dirty") == "true" ? " with changes" : "");
  if (const std::string libtorch = text_at(result.build, "libtorch"); !libtorch.empty()) text += ", LibTorch " + libtorch;
  if (const std::string type = text_at(result.build, "build_type"); !type.empty() && type != "Release") text += ", " + type;
  return text;
}

/// The host and its processor or device.
std::string machine_of(const Result& result) {
  const std::string name = text_at(result.host, "name"), cpu = text_at(result.host, "cpu"), device = text_at(result.host, "device");
  const std::string& computes = device.empty() || device == "cpu" ? cpu : device;
  return (name.empty() ? "unnamed host" : name) + (computes.empty() ? "" : ", " + computes);
}

/// The same with the number of threads, where these compute.
std::string describe_host(const Result& result) {
  const std::string device = text_at(result.host, "device"), threads = text_at(result.host, "threads");
  if (threads.empty() || !(device.empty() || device == "cpu")) return machine_of(result);
  return fmt::format("{}, {} thread{}", machine_of(result), threads, threads == "1" ? "" : "s");
}

/// The published row of a mixer, or null.
const Json* published_row(const Json& published, const std::string& mixer) {
  const auto link = published.at("mixers").find(mixer);
  if (link == published["mixers"].end()) return nullptr;
  for (const Json& row : published.at((*link)["table"].get<std::string>())) {
    if (row["model"] == (*link)["model"]) return &row;
  }
  return nullptr;
}

void set_published(ScoreRow& row, const Json& published, const std::string& column) {
  const Json* found = published_row(published, row.mixer);
  if (found == nullptr || !found->contains(column) || (*found)[column].is_null()) return;
  const Json& value = (*found)[column];
  row.published_text = value.is_string() ? value.get<std::string>() : fmt::format("{:.2f}", value.get<double>());
  if (value.is_number()) row.published = value.get<double>();
  row.published_source = fmt::format("{}, arXiv {}, {}", text_at(*found, "model"), text_at((*found)["source"], "arxiv"), text_at((*found)["source"], "table"));
}

std::string protocol_note(const std::string& profile) {
  return fmt::format("Published: as printed by the papers named in each row. Their models, training and hardware differ from this group (profile {}, "
                     "measured here), so the two columns are not one ranking.", profile);
}

bool no_better_than_chance(const ScoreRow& row) {
  if (!row.test) return row.status == "oom" || row.status == "timeout" || row.status == "nan" || row.status == "failed";
  const double examples = static_cast<double>(row.test_examples.value_or(20000));
  return row.test->mean < 50 + 2 * 100 * std::sqrt(0.25 / examples);
}

/// Sorts, best first, and marks the best and the second best where they lead by more than two standard errors of the difference.
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
    const auto level = [&](const ScoreRow* row) { return leader.test->mean - row->test->mean <= 2 * std::hypot(row->standard_error(), leader.standard_error()); };
    const auto end = static_cast<std::size_t>(std::find_if_not(rivals.begin() + static_cast<std::ptrdiff_t>(first), rivals.end(), level) - rivals.begin());
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
  row.at_chance = examples > 0 && trivial > 0 && row.test->mean <= trivial_level + 200 * std::sqrt(trivial * (1 - trivial) / examples / static_cast<double>(scores.size()));
  if ((row.valid = mean_of(records, [](const Result& r) { return r.valid_accuracy; }))) *row.valid *= 100;
  if ((row.train = mean_of(records, [](const Result& r) { return r.train_accuracy; }))) *row.train *= 100;
  return row;
}

constexpr std::size_t limit_level = 3;  // of the qualifiers below

/// Gives every group a name and a slug of its own: the task, its suite and limit, then as few of settings and host as it takes.
void name_groups(std::vector<ScoreGroup>& groups, const std::vector<std::vector<std::string>>& qualifiers) {
  std::vector<std::vector<std::string>> parts(groups.size());
  const auto name = [&](std::size_t i) { return groups[i].task + "/" + fmt::format("{}", fmt::join(parts[i], "/")); };
  for (std::size_t level = 0; !qualifiers.empty() && level < qualifiers.front().size(); ++level) {
    std::map<std::string, std::set<std::string>> values;
    for (std::size_t i = 0; i < groups.size(); ++i) values[name(i)].insert(qualifiers[i][level]);
    std::vector<bool> helps;
    for (std::size_t i = 0; i < groups.size(); ++i) helps.push_back(values[name(i)].size() > 1);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const bool always = level == 0 || level == limit_level;
      if ((helps[i] || always) && !qualifiers[i][level].empty()) parts[i].push_back(qualifiers[i][level]);
    }
  }
  std::map<std::string, int> used, slugs;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    ScoreGroup& group = groups[i];
    if (const int count = ++used[name(i)]; count > 1) parts[i].push_back(fmt::format("set {}", count));
    group.name = group.task_name + (parts[i].empty() ? "" : fmt::format(" ({})", fmt::join(parts[i], ", ")));
    for (const char c : fmt::format("{}_{}", group.task, fmt::join(parts[i], "_"))) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
      if (plain || (!group.slug.empty() && group.slug.back() != '_')) group.slug += plain ? c : '_';
    }
    group.slug.resize(std::min<std::size_t>(group.slug.size(), 80));
    while (!group.slug.empty() && group.slug.back() == '_') group.slug.pop_back();
    if (const int count = ++slugs[group.slug]; count > 1) group.slug += fmt::format("_{}", count);
  }
}

/// What differs between the rows of a ranking besides their mixers, and stamps.
void add_warnings(ScoreGroup& group, const std::vector<const Result*>& members) {
  auto differing = differing_keys(members);
  for (const char* key : {"mixer", "attention_dropout", "black_pixels"}) differing.erase(key);
  std::erase_if(differing, [](const auto& item) { return item.first.starts_with("mixer_options."); });
  for (const auto& [key, values] : differing) group.warnings.push_back(fmt::format("The rows differ in {}: {}.", key, fmt::join(values, ", ")));
  const std::pair<const char*, const char*> facts[] = {{"revision", "program revision"}, {"libtorch", "LibTorch version"}, {"build_type", "build type"}};
  for (const auto& [key, title] : facts) {
    std::set<std::string> values;
    for (const Result* member : members) values.insert(text_at(member->build, key).substr(0, 10));
    if (values.size() > 1) group.warnings.push_back(fmt::format("The rows differ in {}: {}.", title, fmt::join(values, ", ")));
  }
  std::set<std::string> threads;
  for (const Result* member : members) threads.insert(text_at(member->host, "threads"));
  threads.erase("");
  if (threads.size() > 1) group.warnings.push_back(fmt::format("The rows differ in the number of threads: {}.", fmt::join(threads, ", ")));
  const auto any = [&](auto test) { return std::any_of(members.begin(), members.end(), test); };
  if (any([](const Result* r) { return text_at(r->build, "dirty") == "true"; })) group.warnings.push_back("Some records come from programs with uncommitted changes.");
  if (!group.incomplete.empty()) group.warnings.push_back(fmt::format("INCOMPLETE DATA: {}.", group.incomplete));
  std::map<std::string, double> cut;
  for (const Result* member : members) {
    for (const auto& [split, share] : cut_shares(*member)) cut[split] = std::max(cut[split], share);
  }
  if (!cut.empty()) group.warnings.push_back(cut_text(cut) + ".");
  if (group.limited) group.warnings.push_back(fmt::format("LIMITED: only the first {} examples of each split were used.", text_at(members.front()->config, "limit")));
  if (any([](const Result* r) { return r->suite == "smoke"; })) group.warnings.push_back("SMOKE RUN: a few steps to see that everything runs; its scores mean nothing.");
}

/// "average of 5" or "of 6" tasks from the groups of one profile and host; empty where a task is missing.
std::optional<ScoreGroup> average_group(const std::vector<const ScoreGroup*>& groups, bool with_path_x, const Json& published) {
  std::map<std::string, std::vector<const ScoreGroup*>> by_task;
  for (const ScoreGroup* group : groups) {
    if (!group->limited && group->incomplete.empty()) by_task[group->task].push_back(group);
  }
  for (const auto& [task, name] : task_names) {
    if (task != "pathx" && by_task[task].size() != 1) return std::nullopt;
  }
  if (with_path_x && by_task["pathx"].size() != 1) return std::nullopt;
  const ScoreGroup& first = *by_task["listops"].front();
  ScoreGroup average;
  average.task = with_path_x ? "average_6" : "average_5";
  average.task_name = with_path_x ? "LRA average of 6 tasks (failed Path-X = 50)" : "LRA average of 5 tasks (without Path-X)";
  average.profile = first.profile;
  average.host = first.host;
  average.machine = first.machine;
  average.device = first.device;
  average.setting = first.setting;
  average.suites = first.suites;
  average.precision = first.precision;
  average.condition = fmt::format("profile {} · {}", first.profile, first.host);
  for (const auto& [task, name] : task_names) {
    for (const ScoreGroup* group : by_task[task]) {
      for (const std::string& warning : group->warnings) average.warnings.push_back(name + ": " + warning);
      if (average.easier.empty() && !group->easier.empty()) average.easier = name + ": " + group->easier;
    }
  }
  if (average.easier.empty()) average.notes = {protocol_note(first.profile)};
  if (with_path_x) average.notes.push_back("A Path-X run that failed or did no better than chance (50 % plus two standard errors) counts as 50.");
  std::set<std::string> taken;
  for (const ScoreRow& start : first.rows) {
    if (!taken.insert(start.label + "\n" + start.variant).second) continue;  // its other seeds ended otherwise
    double sum = 0, variance = 0, tasks = 0;
    std::int64_t n = start.test ? start.test->n : 0;
    ScoreRow row{start.label, start.mixer, start.variant, "ok", ""};
    row.parameters = start.parameters;
    for (const auto& [task, name] : task_names) {
      if (task == "pathx" && !with_path_x) continue;
      const auto& rows = by_task[task].front()->rows;
      const auto found = std::find_if(rows.begin(), rows.end(), [&](const ScoreRow& r) { return r.variant == start.variant && r.label == start.label; });
      const bool failed_path_x = task == "pathx" && found != rows.end() && no_better_than_chance(*found);
      if (!failed_path_x && (found == rows.end() || !found->test)) {
        row.status = found == rows.end() ? "incomplete" : found->status;
        row.message = fmt::format("{}{}", row.message.empty() ? "no score on " : row.message + ", ", name);
        continue;
      }
      sum += failed_path_x ? 50.0 : found->test->mean;
      variance += failed_path_x ? 0 : found->standard_error() * found->standard_error();
      if (!failed_path_x) n = std::min(n, found->test->n);
      ++tasks;
    }
    if (row.message.empty()) row.test = Summary{sum / tasks, std::sqrt(variance) / tasks, "from the tasks' standard errors", n};
    average.rows.push_back(row);
    if (!average.easier.empty()) continue;
    ScoreRow& added = average.rows.back();
    set_published(added, published, with_path_x ? "Avg_recomputed_6_fail50" : "Avg_recomputed_5");
    const bool failed_in_paper = added.published_text.empty() && with_path_x;
    if (failed_in_paper) {
      set_published(added, published, "Avg_recomputed_5");
      if (added.published) {
        added.published = (*added.published * 5 + 50) / 6;
        added.published_text = fmt::format("{:.2f}", *added.published);
      }
    }
  }
  rank(average.rows);
  average.title = average.task_name + ", " + average.condition;
  return average;
}

}  // namespace

std::string cut_text(const std::map<std::string, double>& shares) {
  std::vector<std::string> parts;
  for (const auto& [split, share] : shares) parts.push_back(fmt::format("{} % of the sequences of {}", share < 0.01 ? fmt::format("{:.2g}", 100 * share) : fmt::format("{:.0f}", 100 * share), split));
  return fmt::format("seq_len cuts {}", fmt::join(parts, ", "));
}

std::string task_name(const std::string& task) {
  for (const TaskNames* names : {&task_names, &other_task_names}) {
    for (const auto& [key, name] : *names) {
      if (key == task) return name;
    }
  }
  return task;
}

/// What decides the speed of a model with given sequences.
std::string model_of(const Result& result) {
  std::string model;
  for (const char* key : {"mixer_options", "num_layers", "d_model", "d_qkv", "d_ff", "num_heads"}) model += text_at(result.settings, key) + " ";
  return model;
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

std::vector<ScoreGroup> compare_scores(const std::vector<Result>& results, const Json& published) {
  std::map<std::string, std::map<std::string, std::vector<const Result*>>> by_setting;  // setting -> data -> records
  for (const Result& result : results) {
    if (result.kind != "train") continue;
    const auto known = std::find_if(task_names.begin(), task_names.end(), [&](const auto& task) { return task.first == result.task; });
    const Json key = {known - task_names.begin(), result.task, result.profile, text_at(result.settings, "seq_len"), text_at(result.settings, "limit"),
                      fmt::format("{:>8}", text_at(result.settings, "train_steps")), text_at(result.settings, "batch_size"), text_at(result.settings, "precision"),
                      text_at(result.host, "name"), text_at(result.host, "cpu"), text_at(result.host, "device")};
    by_setting[key.dump()][data_identity(result)].push_back(&result);
  }
  std::vector<ScoreGroup> scores;
  std::vector<std::vector<std::string>> qualifiers;
  for (auto& [setting, by_data] : by_setting) {
    // A run that died early may know nothing of its data: it belongs to the group of its settings.
    if (by_data.size() > 1 && by_data.count("{}") != 0) {
      auto unknown = by_data.extract("{}").mapped();
      auto& members = by_data.rbegin()->second;
      std::copy_if(unknown.begin(), unknown.end(), std::back_inserter(members), [](const Result* result) { return result->status != "ok"; });
      std::erase_if(unknown, [](const Result* result) { return result->status != "ok"; });
      if (!unknown.empty()) by_data["{}"] = unknown;
    }
    std::int64_t data_set = 0;
    for (auto& [data, members] : by_data) {
      // Of a seed that was run twice, the run that ended well counts.
      std::stable_sort(members.begin(), members.end(), [](const Result* a, const Result* b) { return a->status == "ok" && b->status != "ok"; });
      const Result& first = *members.front();
      ScoreGroup group;
      group.task = first.task;
      group.task_name = task_name(first.task);
      group.profile = first.profile;
      group.host = describe_host(first);
      group.machine = machine_of(first);
      group.device = text_at(first.host, "device");
      const std::string precision = text_at(first.settings, "precision");
      group.precision = precision;
      group.training = training_of(first);
      group.setting = fmt::format("{}/{}/{}/{}", group.profile, text_at(first.host, "name") + text_at(first.host, "cpu"), group.device, precision);
      group.condition = fmt::format("profile {} · sequences up to {} · {} steps, batch {}", first.profile, number_list(members, "seq_len"),
                                    number_list(members, "train_steps"), number_list(members, "batch_size"));
      if (!precision.empty() && precision != "float32") group.condition += " · " + precision;
      const auto limit = integer_at(first.config, "limit");
      group.limited = limit.value_or(0) > 0;
      for (const Result* member : members) {
        if (group.incomplete.empty()) group.incomplete = member->incomplete;
        if (group.easier.empty()) group.easier = easier_than_official(*member);
      }
      if (!group.incomplete.empty()) group.condition += " · incomplete data";
      if (group.limited) group.condition += fmt::format(" · first {} examples of each split", *limit);
      if (first.suite == "smoke") group.condition += " · smoke run";
      if (by_data.size() > 1) group.condition += fmt::format(" · data set {} of {} of this task", ++data_set, by_data.size());
      group.condition += " · " + group.host;
      group.title = group.task_name + ", " + group.condition;
      if (group.easier.empty()) group.notes = {protocol_note(first.profile)};
      add_warnings(group, members);

      const auto labels = labels_of(members);
      std::map<std::string, std::vector<const Result*>> rows;
      std::set<std::string> seen, suites;
      std::vector<std::string> repeated;
      for (const Result* record : members) {
        if (!record->suite.empty()) suites.insert(record->suite);
        const std::string row = record->variant + record->signature;
        if (!seen.insert(fmt::format("{}/{}", row, record->seed)).second) {
          repeated.push_back(fmt::format("{} repeats seed {} of {} and is not counted.", shown(record->file), record->seed, labels.at(row)));
          continue;
        }
        rows[row + "/" + record->status].push_back(record);
        for (const auto& [name, value] : record->reference_levels.items()) {
          const auto known = [&name = name](const auto& level) { return level.first == name; };
          if (std::none_of(group.reference_levels.begin(), group.reference_levels.end(), known)) {
            group.reference_levels.emplace_back(name, 100 * value.get<double>());
          }
        }
      }
      if (repeated.size() > 3) repeated = {repeated[0], repeated[1], fmt::format("{} more records repeat a seed and are not counted.", repeated.size() - 2)};
      group.notes.insert(group.notes.end(), repeated.begin(), repeated.end());
      double trivial = 0;
      for (const auto& [name, value] : group.reference_levels) trivial = name == "chance" || name == "majority" ? std::max(trivial, value) : trivial;
      for (const auto& [row_key, records] : rows) {
        ScoreRow row = score_row(records, labels.at(records.front()->variant + records.front()->signature), trivial);
        row.model = model_of(*records.front());
        if (group.easier.empty()) set_published(row, published, group.task_name);
        group.rows.push_back(row);
      }
      rank(group.rows);
      group.suites = fmt::format("{}", fmt::join(suites, " and "));
      scores.push_back(group);
      qualifiers.push_back({scores.back().suites, group.profile, "up to " + number_list(members, "seq_len"),
                            group.limited ? fmt::format("limit {}", *limit) : group.incomplete.empty() ? "" : "incomplete data", number_list(members, "train_steps") + " steps", "batch " + number_list(members, "batch_size"),
                            precision, text_at(first.host, "name"), text_at(first.host, "cpu"), group.device});
    }
  }

  std::vector<ScoreGroup> averages;
  for (const auto& members : side_by_side(scores)) {
    std::map<std::string, int> tasks;
    for (const ScoreGroup* group : members) tasks[group->task] += group->limited || !group->incomplete.empty() ? 0 : 1;
    std::string twice;
    bool all = true;
    for (const auto& [task, name] : task_names) {
      if (tasks[task] > 1) twice += (twice.empty() ? "" : ", ") + name;
      all = all && (task == "pathx" || tasks[task] > 0);
    }
    if (all && !twice.empty()) {
      ScoreGroup& group = scores[static_cast<std::size_t>(members.front() - scores.data())];
      group.notes.push_back(fmt::format("No average over LRA's tasks: there is more than one ranking of {} in this setting.", twice));
    }
    for (const bool with_path_x : {false, true}) {
      if (auto average = average_group(members, with_path_x, published)) averages.push_back(*average);
    }
  }
  for (const ScoreGroup& average : averages) qualifiers.push_back({average.suites, average.profile, "", "", "", "", average.setting, average.host, "", average.device});
  scores.insert(scores.end(), averages.begin(), averages.end());
  name_groups(scores, qualifiers);
  return scores;
}

std::vector<std::vector<const ScoreGroup*>> side_by_side(const std::vector<ScoreGroup>& groups) {
  std::map<std::string, std::vector<const ScoreGroup*>> by_setting, result;
  for (const ScoreGroup& group : groups) by_setting[group.setting].push_back(&group);
  for (const auto& [setting, members] : by_setting) {
    std::map<std::string, int> tasks;
    const bool twice = std::any_of(members.begin(), members.end(), [&](const ScoreGroup* group) { return ++tasks[group->task] > 1; });
    for (const ScoreGroup* group : members) result[setting + (twice ? "/" + group->suites : "")].push_back(group);
  }
  std::vector<std::vector<const ScoreGroup*>> sets;
  for (const auto& [key, members] : result) sets.push_back(members);
  return sets;
}

std::vector<SpeedGroup> compare_speed(const std::vector<Result>& results) {
  std::map<std::pair<std::string, std::int64_t>, std::vector<const Result*>> groups;  // setting, length
  std::map<std::string, std::vector<const Result*>> settings;
  for (const Result& result : results) {
    const bool bench = result.kind == "bench";
    const Json setting = {bench ? 0 : 1, bench ? "" : training_of(result), result.profile, text_at(result.host, "name"), text_at(result.host, "cpu"), text_at(result.host, "device"),
                          text_at(result.host, "threads"), text_at(result.host, "allocator"), fmt::format("{:>6}", text_at(result.settings, "batch_size")),
                          text_at(result.settings, "precision"), text_at(result.settings, "dropout"), model_sizes(result), result.task};
    const std::string key = setting.dump();
    groups[{key, bench ? result.sequence_length.value_or(0) : 0}].push_back(&result);
    settings[key].push_back(&result);
  }
  // Names are given for all lengths of a setting at once, so that a model has the same one at each.
  std::map<std::string, std::map<std::string, std::string>> all_labels;                       // setting -> variant and signature -> label
  std::map<std::string, std::map<std::string, std::set<std::string>>> all_builds;  // likewise -> programs
  for (const auto& [setting, members] : settings) {
    all_labels[setting] = labels_of(members);
    for (const Result* record : members) all_builds[setting][record->variant + record->signature].insert(build_of(*record));
  }
  std::vector<SpeedGroup> speeds;
  for (const auto& [group_key, members] : groups) {
    const Result& first = *members.front();
    SpeedGroup group;
    group.setting = group_key.first;
    group.source = first.kind;
    group.task_name = task_name(first.task);
    group.profile = first.profile;
    group.host = describe_host(first);
    group.machine = machine_of(first);
    group.precision = text_at(first.settings, "precision");
    group.batch_size = integer_at(first.config, "batch_size").value_or(0);
    group.length = first.sequence_length.value_or(0);
    const std::string batch = group.batch_size > 0 ? fmt::format("batch {}", group.batch_size) : "batch size unknown";
    const std::string dropout = text_at(first.config, "dropout");
    group.condition = fmt::format("profile {} ({}{}) · {}{} · {}", group.profile, sizes_of(first), dropout.empty() ? "" : ", dropout " + dropout, batch,
                                  group.precision.empty() ? "" : ", " + group.precision, group.host);
    if (const std::string allocator = text_at(first.host, "allocator"); !allocator.empty() && allocator != "caching") group.condition += " · allocator " + allocator;
    const std::string lengths = group.length > 0          ? fmt::format("{} tokens in every sequence", group.length)
                                : first.kind == "bench" ? fmt::format("Bench on {}'s own lengths", group.task_name)
                                                        : fmt::format("Seen while training on {}", group.task_name);
    group.title = fmt::format("{}, {}", lengths, group.condition);
    const auto& labels = all_labels.at(group.setting);
    const auto& builds = all_builds.at(group.setting);
    group.training = training_of(first);
    std::map<std::string, std::vector<const Result*>> rows;
    std::set<std::string> programs;
    for (const Result* record : members) {
      rows[record->variant + record->signature + "/" + record->status + "/" + build_of(*record)].push_back(record);
      programs.insert(build_of(*record));
    }
    if (programs.size() > 1) group.warnings.push_back(fmt::format("The rows come from different programs: {}.", fmt::join(programs, "; ")));
    if (std::any_of(members.begin(), members.end(), [](const Result* r) { return text_at(r->build, "dirty") == "true"; })) group.warnings.push_back("Some records come from programs with uncommitted changes.");
    for (const auto& [row_key, records] : rows) {
      const Result& record = *records.front();
      SpeedRow row{labels.at(record.variant + record.signature), record.mixer, record.variant, record.status, record.message, {}, {}, {}, {}, {}, {}, {}, {}, 0};
      row.n = static_cast<std::int64_t>(records.size());
      row.model = model_of(record);
      row.revision = text_at(record.build, "revision");
      row.dirty = std::any_of(records.begin(), records.end(), [](const Result* r) { return text_at(r->build, "dirty") == "true"; });
      if (builds.at(record.variant + record.signature).size() > 1) row.label += fmt::format(" ({})", build_of(record));
      if (record.status == "ok") {
        const auto median = [](const auto& measured) { return measured ? std::optional<double>(measured->median) : std::nullopt; };
        const auto rates = values_of(records, [&](const Result& r) { return median(r.train_examples_per_second); });
        if (!rates.empty()) row.examples_per_second = summarise(rates, "sd over records");
        if (rates.size() == 1 && record.train_examples_per_second) {
          row.examples_per_second->error = record.train_examples_per_second->spread;
          row.examples_per_second->error_kind = "IQR over steps";
        }
        row.steps_per_second = mean_of(records, [&](const Result& r) { return median(r.train_steps_per_second); });
        row.inference_examples_per_second = mean_of(records, [&](const Result& r) { return median(r.inference_examples_per_second); });
        row.peak_tensor_bytes = mean_of(records, [](const Result& r) { return r.peak_tensor_bytes; });
        if (const auto bytes = values_of(records, [](const Result& r) { return r.peak_tensor_bytes; }); bytes.size() > 1) {
          const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
          row.peak_tensor_spread = *most - *least;
        }
        for (const Result* one : records) {
          if (row.disturbed.empty()) row.disturbed = one->disturbed;
        }
        row.peak_rss_bytes = mean_of(records, [](const Result& r) { return r.peak_rss_bytes; });
        row.flops_per_step = record.flops_per_step;
      }
      group.rows.push_back(row);
    }
    for (SpeedRow& row : group.rows) {
      const SpeedRow* base = nullptr;  // of the same program revision where there is one
      for (const SpeedRow& other : group.rows) {
        if (other.variant == "softmax" && other.status == "ok" && (base == nullptr || other.revision == row.revision)) base = &other;
      }
      if (base == nullptr) continue;
      const auto& speed = base->examples_per_second;
      if (speed && speed->mean > 0 && row.examples_per_second) row.relative_speed = row.examples_per_second->mean / speed->mean;
      if (base->peak_tensor_bytes.value_or(0) > 0 && row.peak_tensor_bytes) row.relative_memory = *row.peak_tensor_bytes / *base->peak_tensor_bytes;
    }
    std::stable_sort(group.rows.begin(), group.rows.end(), [](const SpeedRow& a, const SpeedRow& b) {
      const double x = a.examples_per_second ? a.examples_per_second->mean : -1, y = b.examples_per_second ? b.examples_per_second->mean : -1;
      return x != y ? x > y : a.label < b.label;
    });
    speeds.push_back(group);
  }
  return speeds;
}

const SpeedGroup* speed_for(const ScoreGroup& scores, const std::vector<SpeedGroup>& speeds, std::int64_t length) {
  const auto candidates = speeds_for(scores, speeds);
  if (length == 0) return candidates.empty() ? nullptr : candidates.front();
  const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const SpeedGroup* group) { return group->length == length; });
  return found == candidates.end() ? nullptr : *found;
}

const SpeedRow* speed_of(const ScoreRow& score, const SpeedGroup& speeds) {
  const SpeedRow* found = nullptr;
  for (const SpeedRow& row : speeds.rows) {
    const bool complete = row.examples_per_second && row.examples_per_second->mean > 0 && row.peak_tensor_bytes;
    if (!complete || row.variant != score.variant || !(score.model.empty() || row.model == score.model)) continue;
    const bool own = !score.records.empty() && text_at(score.records.front()->build, "revision") == row.revision;
    if (found == nullptr || own) found = &row;
  }
  return found;
}

std::vector<const SpeedGroup*> speeds_for(const ScoreGroup& scores, const std::vector<SpeedGroup>& speeds) {
  std::vector<std::pair<std::int64_t, const SpeedGroup*>> candidates;  // how many of the scored models were measured
  for (const SpeedGroup& group : speeds) {
    const bool bench = group.source == "bench" && group.length > 0;
    const bool training = group.source == "train" && !scores.is_average() && group.training == scores.training;
    // A bench's steps may be larger than those of training, and have more threads.
    if (bench ? group.machine != scores.machine : group.host != scores.host) continue;
    if (!(bench || training) || group.profile != scores.profile || group.precision != scores.precision) continue;
    const auto measured = std::count_if(scores.rows.begin(), scores.rows.end(), [&](const ScoreRow& row) { return row.test && speed_of(row, group) != nullptr; });
    if (measured > 0) candidates.emplace_back(measured, &group);
  }
  const auto scored = std::count_if(scores.rows.begin(), scores.rows.end(), [](const ScoreRow& row) { return row.test.has_value(); });
  std::stable_sort(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
    const auto order = [&](const auto& one) {
      const bool bench_of_most = one.second->length > 0 && 2 * one.first >= scored;
      return std::tuple(!bench_of_most, -one.first, -one.second->length, -one.second->batch_size, one.second->host != scores.host);
    };
    return order(a) < order(b);
  });
  std::vector<const SpeedGroup*> groups;
  std::set<std::int64_t> lengths;
  for (const auto& [count, group] : candidates) {
    if (lengths.insert(group->length).second) groups.push_back(group);
  }
  return groups;
}

}  // namespace lra::report
