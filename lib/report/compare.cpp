#include "report/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>

#include "core/error.h"

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

// Keys that neither change what is computed nor how fast a step is.
const std::set<std::string> bookkeeping_keys = {"seed", "suite", "variant", "display_name", "data_dir", "out", "checkpoint_every",
                                                "memory_limit_gb", "time_limit_minutes", "eval_batch_size"};

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::optional<std::int64_t> integer_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<std::int64_t>();
}

std::string signature(const Result& result) {
  std::map<std::string, std::string> kept;
  for (const auto& [key, value] : result.config.items()) {
    if (bookkeeping_keys.count(key) == 0) kept[key] = value.dump();
  }
  return Json(kept).dump();
}

/// Display names of the rows' configurations; where one variant has several, the keys that differ are added, so that no two are mixed up.
std::map<std::string, std::string> labels_of(const std::vector<const Result*>& results) {
  std::map<std::string, std::map<std::string, const Result*>> by_variant;
  std::map<std::string, std::set<std::string>> variants_named;  // display name -> variants
  for (const Result* result : results) {
    by_variant[result->variant].emplace(signature(*result), result);
    variants_named[result->display_name].insert(result->variant);
  }
  std::map<std::string, std::string> labels;  // variant + signature -> label
  for (const auto& [variant, configurations] : by_variant) {
    std::set<std::string> differing;
    for (const auto& [first, a] : configurations) {
      for (const auto& [second, b] : configurations) {
        for (const auto& [key, value] : a->config.items()) {
          if (bookkeeping_keys.count(key) == 0 && (!b->config.contains(key) || b->config[key] != value)) differing.insert(key);
        }
      }
    }
    for (const auto& [configuration, result] : configurations) {
      const bool named = !result->display_name.empty() && (variant == result->mixer || variants_named[result->display_name].size() == 1);
      std::string label = named ? result->display_name : variant;
      std::string details;
      for (const std::string& key : differing) details += fmt::format("{}{}={}", details.empty() ? "" : ", ", key, text_at(result->config, key.c_str()));
      if (!details.empty()) label += " (" + details + ")";
      labels[variant + configuration] = label;
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
  const auto layers = text_at(result.config, "num_layers"), width = text_at(result.config, "d_model"), heads = text_at(result.config, "num_heads");
  if (layers.empty()) return "sizes unknown";
  return fmt::format("{} layer{}, width {}, {} head{}", layers, layers == "1" ? "" : "s", width, heads, heads == "1" ? "" : "s");
}

std::string describe_host(const Result& result) {
  const std::string cpu = text_at(result.host, "cpu"), device = text_at(result.host, "device"), threads = text_at(result.host, "threads");
  std::string text = text_at(result.host, "name").empty() ? "unnamed host" : text_at(result.host, "name");
  if (!device.empty() && device != "cpu") return fmt::format("{}, {}", text, device);
  if (!cpu.empty()) text += ", " + cpu;
  return threads.empty() ? text : fmt::format("{}, {} thread{}", text, threads, threads == "1" ? "" : "s");
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

void rank(std::vector<ScoreRow>& rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const ScoreRow& a, const ScoreRow& b) {
    if (a.test.has_value() != b.test.has_value()) return a.test.has_value();
    if (a.test && a.test->mean != b.test->mean) return a.test->mean > b.test->mean;
    return a.label < b.label;
  });
}

ScoreRow score_row(const std::vector<const Result*>& records, const std::string& label) {
  const Result& first = *records.front();
  ScoreRow row{label, first.mixer, first.variant, first.status, first.message, {}, {}, {}, {}, first.test_examples, first.parameters,
               integer_at(first.config, "train_steps"), integer_at(first.config, "batch_size"), {}, {}, {}};
  for (const Result* record : records) row.seeds.push_back(record->seed);
  if (first.status != "ok") return row;
  const auto scores = values_of(records, [](const Result& r) { return r.test_accuracy; });
  if (scores.empty()) {
    row.message = "no test accuracy in the record";
    return row;
  }
  row.test = summarise(scores, "sd over seeds");
  if (scores.size() == 1 && first.test_examples.value_or(0) > 0) {
    row.test->error = std::sqrt(scores[0] * (1 - scores[0]) / static_cast<double>(*first.test_examples));
    row.test->error_kind = "binomial SE";
  }
  row.test->mean *= 100;
  row.test->error *= 100;
  if ((row.valid = mean_of(records, [](const Result& r) { return r.valid_accuracy; }))) *row.valid *= 100;
  if ((row.train = mean_of(records, [](const Result& r) { return r.train_accuracy; }))) *row.train *= 100;
  return row;
}

/// "average of 5" or "of 6" tasks from the groups of one profile and host; empty where a task is missing.
std::optional<ScoreGroup> average_group(const std::vector<const ScoreGroup*>& groups, bool with_path_x, const Json& published) {
  std::map<std::string, std::vector<const ScoreGroup*>> by_task;
  for (const ScoreGroup* group : groups) by_task[group->task].push_back(group);
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
  average.device = first.device;
  average.condition = fmt::format("profile {} · {}", first.profile, first.host);
  average.notes = {protocol_note(first.profile)};
  if (with_path_x) average.notes.push_back("A Path-X run that failed or did no better than chance (50 % plus two standard errors) counts as 50.");
  for (const ScoreRow& start : first.rows) {
    double sum = 0;
    std::int64_t n = 0;
    ScoreRow row{start.label, start.mixer, start.variant, "ok", "", {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}};
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
      ++n;
    }
    if (row.message.empty()) row.test = Summary{sum / static_cast<double>(n), 0, "", n};
    set_published(row, published, with_path_x ? "Avg_recomputed_6_fail50" : "Avg_recomputed_5");
    const bool failed_in_paper = row.published_text.empty() && with_path_x;
    if (failed_in_paper) {
      set_published(row, published, "Avg_recomputed_5");
      if (row.published) {
        row.published = (*row.published * 5 + 50) / 6;
        row.published_text = fmt::format("{:.2f}", *row.published);
      }
    }
    average.rows.push_back(row);
  }
  rank(average.rows);
  average.title = average.task_name + ", " + average.condition;
  return average;
}

}  // namespace

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
  for (const char* key : {"mixer_options", "num_layers", "d_model", "d_qkv", "d_ff", "num_heads"}) model += text_at(result.config, key) + " ";
  return model;
}

std::vector<ScoreGroup> compare_scores(const std::vector<Result>& results, const Json& published) {
  std::map<std::string, std::vector<const Result*>> groups;
  for (const Result& result : results) {
    if (result.kind != "train") continue;
    std::size_t place = 0;
    while (place < task_names.size() && task_names[place].first != result.task) ++place;
    // A run that died early may know nothing of its data: it belongs to the group of its settings, found below.
    const Json key = {place, result.task, result.profile, text_at(result.config, "seq_len"), text_at(result.config, "limit"),
                      text_at(result.host, "name"), text_at(result.host, "device"), result.data.dump()};
    groups[key.dump()].push_back(&result);
  }
  for (auto group = groups.begin(); group != groups.end();) {
    const Json key = Json::parse(group->first);
    auto target = groups.end();
    for (auto other = groups.begin(); key.back() == "{}" && other != groups.end(); ++other) {
      Json other_key = Json::parse(other->first);
      if (other == group || other_key.back() == "{}") continue;
      other_key.back() = "{}";
      if (other_key == key) target = other;
    }
    if (target == groups.end()) {
      ++group;
      continue;
    }
    target->second.insert(target->second.end(), group->second.begin(), group->second.end());
    group = groups.erase(group);
  }

  std::vector<ScoreGroup> scores;
  std::map<std::string, std::int64_t> data_sets;
  for (const auto& [group_key, members] : groups) {
    const Json key = Json::parse(group_key);
    const Result& first = *members.front();
    ScoreGroup group;
    group.task = first.task;
    group.task_name = task_name(first.task);
    group.profile = first.profile;
    group.host = describe_host(first);
    group.device = text_at(first.host, "device");
    const std::int64_t data_set = ++data_sets[first.task + "/" + first.profile + "/" + key[5].dump() + key[6].dump()];
    group.condition = fmt::format("profile {} · sequences up to {} · {} steps, batch {}", first.profile, number_list(members, "seq_len"),
                                  number_list(members, "train_steps"), number_list(members, "batch_size"));
    const auto limit = integer_at(first.config, "limit");
    group.limited = limit.value_or(0) > 0;
    if (group.limited) group.condition += fmt::format(" · first {} examples of each split", *limit);
    if (data_set > 1) group.condition += fmt::format(" · data set {} of this task", data_set);
    group.condition += " · " + group.host;
    group.title = group.task_name + ", " + group.condition;
    group.notes = {protocol_note(first.profile)};

    const auto labels = labels_of(members);
    std::map<std::string, std::vector<const Result*>> rows;
    std::set<std::string> seen;
    for (const Result* record : members) {
      const std::string row = record->variant + signature(*record);
      if (!seen.insert(fmt::format("{}/{}", row, record->seed)).second) {
        group.notes.push_back(fmt::format("{} repeats seed {} of {} and is not counted.", record->file.string(), record->seed, labels.at(row)));
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
    for (const auto& [row_key, records] : rows) {
      ScoreRow row = score_row(records, labels.at(records.front()->variant + signature(*records.front())));
      row.model = model_of(*records.front());
      set_published(row, published, group.task_name);
      group.rows.push_back(row);
    }
    rank(group.rows);
    scores.push_back(group);
  }

  std::map<std::string, std::vector<const ScoreGroup*>> by_profile;
  for (const ScoreGroup& group : scores) {
    if (!group.limited) by_profile[group.profile + "/" + group.host].push_back(&group);
  }
  std::vector<ScoreGroup> averages;
  for (const auto& [profile, members] : by_profile) {
    for (const bool with_path_x : {false, true}) {
      if (auto average = average_group(members, with_path_x, published)) averages.push_back(*average);
    }
  }
  scores.insert(scores.end(), averages.begin(), averages.end());
  return scores;
}

std::vector<SpeedGroup> compare_speed(const std::vector<Result>& results) {
  std::map<std::pair<std::string, std::int64_t>, std::vector<const Result*>> groups;  // setting, length
  for (const Result& result : results) {
    const bool bench = result.kind == "bench";
    const Json setting = {bench ? 0 : 1, result.profile, text_at(result.host, "name"), text_at(result.host, "cpu"), text_at(result.host, "device"),
                          text_at(result.host, "threads"), text_at(result.host, "allocator"), fmt::format("{:>6}", text_at(result.config, "batch_size")),
                          text_at(result.config, "precision"), text_at(result.config, "dropout"), sizes_of(result), result.task,
                          bench ? "" : text_at(result.config, "seq_len")};
    groups[{setting.dump(), bench ? result.sequence_length.value_or(0) : 0}].push_back(&result);
  }
  std::vector<SpeedGroup> speeds;
  for (const auto& [group_key, members] : groups) {
    const Result& first = *members.front();
    SpeedGroup group;
    group.setting = group_key.first;
    group.sizes = sizes_of(first);
    group.source = first.kind;
    group.task_name = task_name(first.task);
    group.profile = first.profile;
    group.host = describe_host(first);
    group.device = text_at(first.host, "device");
    group.threads = text_at(first.host, "threads");
    group.precision = text_at(first.config, "precision");
    group.batch_size = integer_at(first.config, "batch_size").value_or(0);
    group.length = first.sequence_length.value_or(0);
    const std::string batch = group.batch_size > 0 ? fmt::format("batch {}", group.batch_size) : "batch size unknown";
    const std::string dropout = text_at(first.config, "dropout");
    group.condition = fmt::format("profile {} ({}{}) · {}{} · {}", group.profile, group.sizes, dropout.empty() ? "" : ", dropout " + dropout, batch,
                                  group.precision.empty() ? "" : ", " + group.precision, group.host);
    const std::string lengths = group.length > 0          ? fmt::format("{} tokens in every sequence", group.length)
                                : first.kind == "bench" ? fmt::format("Bench on {}'s own lengths", group.task_name)
                                                        : fmt::format("Seen while training on {}", group.task_name);
    group.title = fmt::format("{}, {}", lengths, group.condition);
    const auto labels = labels_of(members);
    std::map<std::string, std::vector<const Result*>> rows;
    for (const Result* record : members) rows[record->variant + signature(*record) + "/" + record->status].push_back(record);
    for (const auto& [row_key, records] : rows) {
      const Result& record = *records.front();
      SpeedRow row{labels.at(record.variant + signature(record)), record.mixer, record.variant, record.status, record.message, {}, {}, {}, {}, {}, {}, {}, {}, 0};
      row.n = static_cast<std::int64_t>(records.size());
      row.model = model_of(record);
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
        row.peak_rss_bytes = mean_of(records, [](const Result& r) { return r.peak_rss_bytes; });
        row.flops_per_step = record.flops_per_step;
      }
      group.rows.push_back(row);
    }
    const auto base = std::find_if(group.rows.begin(), group.rows.end(), [](const SpeedRow& r) { return r.variant == "softmax" && r.status == "ok"; });
    if (base != group.rows.end()) {
      const auto speed = base->examples_per_second;
      const auto memory = base->peak_tensor_bytes;
      for (SpeedRow& row : group.rows) {
        if (speed && speed->mean > 0 && row.examples_per_second) row.relative_speed = row.examples_per_second->mean / speed->mean;
        if (memory && *memory > 0 && row.peak_tensor_bytes) row.relative_memory = *row.peak_tensor_bytes / *memory;
      }
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
  std::set<std::string> scored;
  for (const ScoreRow& row : scores.rows) {
    if (row.test) scored.insert(row.variant);
  }
  const auto measured_in = [&](const SpeedGroup& group) {
    std::set<std::string> variants;
    for (const SpeedRow& row : group.rows) {
      if (row.examples_per_second && row.peak_tensor_bytes && scored.count(row.variant) != 0) variants.insert(row.variant);
    }
    return variants;
  };
  std::set<std::string> measured;  // at any length
  std::vector<const SpeedGroup*> candidates;
  const auto host_name = [](const std::string& host) { return host.substr(0, host.find(',')); };
  for (const SpeedGroup& group : speeds) {
    if (group.source != "bench" || group.profile != scores.profile || group.device != scores.device || host_name(group.host) != host_name(scores.host)) continue;
    if (length != 0 && group.length != length) continue;
    const auto variants = measured_in(group);
    if (variants.empty()) continue;
    measured.insert(variants.begin(), variants.end());
    candidates.push_back(&group);
  }
  // All of the measured variants first; then the longest; then the larger batch.
  const auto better = [&](const SpeedGroup* a, const SpeedGroup* b) {
    const auto size_a = measured_in(*a).size(), size_b = measured_in(*b).size();
    if (size_a != size_b) return size_a < size_b;
    return std::pair(a->length, a->batch_size) < std::pair(b->length, b->batch_size);
  };
  if (!candidates.empty()) return *std::max_element(candidates.begin(), candidates.end(), better);
  for (const SpeedGroup& group : speeds) {
    if (group.source == "train" && group.profile == scores.profile && group.task_name == scores.task_name && group.host == scores.host) return &group;
  }
  return nullptr;
}

}  // namespace lra::report
