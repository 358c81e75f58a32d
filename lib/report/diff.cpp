#include "report/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "core/error.h"
#include "core/suggest.h"
#include "report/collect.h"
#include "report/find_files.h"
#include "report/significance.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

/// Its objects are equal whatever the order of their keys, and have an order.
using Sorted = nlohmann::json;

/// Keys that neither say what is computed nor how much work a step is; the device that ran is a fact of the host.
std::set<std::string> keys_left_out() {
  std::set<std::string> keys = bookkeeping_keys();
  keys.insert({"threads", "device", "measure_warmup_steps", "measure_steps"});
  return keys;
}

// A bench times single steps, wherever in training they are.
const std::set<std::string> schedule = {"train_steps",    "warmup_steps",  "steps_per_cycle", "schedule",
                                        "cycle_momentum", "learning_rate", "eval_every",      "selection"};

Sorted identity(const Result& record, const std::set<std::string>& ignored) {
  static const std::set<std::string> bookkeeping = keys_left_out();
  Sorted kept = Sorted::object();
  for (const auto& [key, value] : record.settings.items()) {
    if (bookkeeping.count(key) == 0 && ignored.count(key) == 0 && (record.kind != "bench" || schedule.count(key) == 0))
      kept[key] = value;
  }
  kept["kind"] = record.kind;
  kept["task"] = record.task;
  kept["profile"] = record.profile;
  kept["variant"] = record.variant;
  return kept;
}

using Groups = std::map<Sorted, std::vector<const Result*>>;

Groups group(const Collection& collection, const std::set<std::string>& ignored) {
  Groups groups;
  for (const Result& record : collection.results) groups[identity(record, ignored)].push_back(&record);
  return groups;
}

struct Difference {
  std::vector<std::string> other_values, one_sided;  ///< keys; "mixer_options.k" inside objects
};

void compare(const Sorted& a, const Sorted& b, const std::string& prefix, Difference& difference) {
  for (const auto& [key, value] : a.items()) {
    const auto other = b.find(key);
    if (other == b.end())
      difference.one_sided.push_back(prefix + key);
    else if (value.is_object() && other->is_object())
      compare(value, *other, prefix + key + ".", difference);
    else if (value != *other)
      difference.other_values.push_back(prefix + key);
  }
  for (const auto& [key, value] : b.items()) {
    if (!a.contains(key)) difference.one_sided.push_back(prefix + key);
  }
}

Difference compare(const Sorted& a, const Sorted& b) {
  Difference difference;
  compare(a, b, "", difference);
  return difference;
}

bool same_run(const Sorted& a, const Sorted& b) {
  return a["kind"] == b["kind"] && a["task"] == b["task"] && a["profile"] == b["profile"] &&
         a["variant"] == b["variant"];
}

std::string name_of(const Sorted& config) {
  std::string name = fmt::format("{} {} {} {}", config["kind"].get<std::string>(), config["task"].get<std::string>(),
                                 config["profile"].get<std::string>(), config["variant"].get<std::string>());
  if (config.contains("seq_len")) name += " n" + config["seq_len"].dump();
  if (config.contains("batch_size")) name += " b" + config["batch_size"].dump();
  return name;
}

std::vector<const Result*> ok_of(const std::vector<const Result*>& records) {
  std::vector<const Result*> ok;
  std::copy_if(records.begin(), records.end(), std::back_inserter(ok),
               [](const Result* record) { return record->status == "ok"; });
  return ok;
}

/// Empty if all records agree on the fact; else a sentence.
template <class Fact>
std::string difference_of(const std::string& name, const std::vector<const Result*>& a,
                          const std::vector<const Result*>& b, Fact fact) {
  std::set<std::string> in_a, in_b;
  for (const Result* record : a) in_a.insert(fact(*record));
  for (const Result* record : b) in_b.insert(fact(*record));
  if (in_a.count("") != 0 || in_b.count("") != 0) return name + " not recorded";
  if (in_a == in_b && in_a.size() == 1) return "";
  return fmt::format("{} {} in A, {} in B", name, fmt::join(in_a, " and "), fmt::join(in_b, " and "));
}

std::string hash_of(const Result& record, const char* split) {
  const auto entry = record.data.find(split);
  return entry != record.data.end() && entry->is_object() ? text_at(*entry, "sha256") : "";
}

/// Empty if all records were made with the same data; else a sentence.
std::string data_difference(const std::vector<const Result*>& a, const std::vector<const Result*>& b) {
  const auto data_of = [](const Result& record) { return record.data.empty() ? "" : data_identity(record); };
  const std::string difference = difference_of("data", a, b, data_of);
  if (difference.empty() || difference == "data not recorded") return difference;
  std::vector<std::string> splits;
  for (const char* split : {"train", "valid", "test"}) {
    if (!difference_of(split, a, b, [&](const Result& record) { return "hash " + hash_of(record, split); }).empty())
      splits.push_back(split);
  }
  return splits.empty() ? "the data differ" : fmt::format("the data differ ({})", fmt::join(splits, ", "));
}

/// One record for each seed: a second one of a seed is no independent sample.
std::map<std::int64_t, const Result*> by_seed(const std::vector<const Result*>& records) {
  std::map<std::int64_t, const Result*> seeds;
  for (const Result* record : records) seeds.emplace(record->seed, record);
  return seeds;
}

void judge_score(const std::vector<const Result*>& a, const std::vector<const Result*>& b, bool same_data,
                 const Tolerance& tolerance, DiffRow& row) {
  const auto scores = [](const std::vector<const Result*>& records) {
    std::vector<double> values;
    for (const auto& [seed, record] : by_seed(records)) {
      if (record->test_accuracy) values.push_back(*record->test_accuracy);
    }
    return values;
  };
  const auto in_a = scores(a), in_b = scores(b);
  if (in_a.empty() || in_b.empty()) {
    if (in_a.empty() != in_b.empty())
      row.not_comparable.push_back(fmt::format("no test accuracy in {}", in_a.empty() ? "A" : "B"));
    return;
  }
  const auto mean = [](const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  };
  ScoreChange score{100 * mean(in_a), 100 * mean(in_b), {}, ""};
  const auto examples_a = a.front()->test_examples.value_or(0), examples_b = b.front()->test_examples.value_or(0);
  if (in_a.size() > 1 && in_b.size() > 1) {
    score.p = welch_p(in_a, in_b);
    score.test = fmt::format("Welch's t-test over {} and {} seeds", in_a.size(), in_b.size());
  } else if (examples_a > 0 && examples_b > 0) {
    score.p = two_proportion_p(score.a / 100, examples_a, score.b / 100, examples_b);
    score.test = fmt::format("z-test over {} and {} examples", examples_a, examples_b);
  }
  row.score = score;
  if (!same_data) return;
  if (!score.p) row.not_comparable.push_back("score not judged: number of test examples not recorded");
  const double drop = score.a - score.b;
  if (score.p && *score.p < 0.05 && drop > tolerance.max_score_drop) {
    row.beyond.push_back(fmt::format("score dropped by {:.2f} points (p = {:.2g}, {})", drop, *score.p, score.test));
  }
}

/// The ratio of the medians over records; absent where one side has no values.
template <class Get>
std::optional<Ratio> ratio_of(const char* what, const std::vector<const Result*>& a,
                              const std::vector<const Result*>& b, Get get, DiffRow& row) {
  const auto values_of = [&](const std::vector<const Result*>& records) {
    std::vector<double> values;
    for (const Result* record : records) {
      if (const std::optional<double> value = get(*record); value && *value > 0) values.push_back(*value);
    }
    return values;
  };
  const auto in_a = values_of(a), in_b = values_of(b);
  if (in_a.empty() != in_b.empty())
    row.not_comparable.push_back(fmt::format("no {} in {}", what, in_a.empty() ? "A" : "B"));
  if (in_a.empty() || in_b.empty()) return std::nullopt;
  return Ratio{median(in_a), median(in_b), {}};
}

/// Raw examples per second of each record; empty if one of them has none.
std::vector<std::vector<double>> samples_of(const std::vector<const Result*>& records) {
  std::vector<std::vector<double>> runs;
  for (const Result* record : records) {
    if (!record->train_examples_per_second) continue;
    const Json json = parse_json(read_bounded(record->file), shown(record->file));
    std::vector<double> samples;
    for (const char* key : {"examples", "steps"}) {
      // At batch 1 a step is an example.
      if (!samples.empty() || (key == std::string("steps") && text_at(record->config, "batch_size") != "1")) continue;
      const Json::json_pointer place(fmt::format("/speed/train_{}_per_second/samples", key));
      if (!json.contains(place)) continue;
      for (const Json& sample : json.at(place)) {
        if (!sample.is_number() || sample.get<double>() <= 0) return {};
        samples.push_back(sample.get<double>());
      }
    }
    if (samples.empty()) return {};
    runs.push_back(samples);
  }
  return runs;
}

void judge_cost(const std::vector<const Result*>& a, const std::vector<const Result*>& b, bool judged,
                const Tolerance& tolerance, DiffRow& row) {
  const auto speed = [](const Result& r) {
    return r.train_examples_per_second ? std::optional<double>(r.train_examples_per_second->median) : std::nullopt;
  };
  const auto memory = [](const Result& r) {
    return r.peak_tensor_bytes ? std::optional<double>(static_cast<double>(*r.peak_tensor_bytes)) : std::nullopt;
  };
  if ((row.speed = ratio_of("training speed", a, b, speed, row))) {
    const auto samples_a = samples_of(a), samples_b = samples_of(b);
    if (!samples_a.empty() && !samples_b.empty()) row.speed->interval = ratio_interval(samples_a, samples_b);
    for (const auto& [side, records] : {std::pair("A", &a), std::pair("B", &b)}) {
      const auto disturbed = std::find_if(records->begin(), records->end(),
                                          [](const Result* record) { return !record->disturbed.empty(); });
      if (disturbed != records->end())
        row.notices.push_back(fmt::format("the speed in {} is not to be trusted: {}", side, (*disturbed)->disturbed));
    }
    if (judged && row.speed->value() < tolerance.min_speed)
      row.beyond.push_back(fmt::format("trains at {:.2f} times the speed", row.speed->value()));
  }
  if ((row.memory = ratio_of("peak memory", a, b, memory, row)) && judged &&
      row.memory->value() > tolerance.max_memory) {
    row.beyond.push_back(fmt::format("takes {:.2f} times the memory", row.memory->value()));
  }
}

/// Whether a run that ended well in A did not in B.
void judge_status(const std::vector<const Result*>& a, const std::vector<const Result*>& b, DiffRow& row) {
  const auto seeds_a = by_seed(a), seeds_b = by_seed(b);
  std::string worse;
  for (const auto& [seed, record] : seeds_b) {
    const auto before = seeds_a.find(seed);
    if (record->status != "ok" && (before == seeds_a.end() || before->second->status == "ok")) {
      worse += fmt::format("{}seed {}: {}", worse.empty() ? "" : ", ", seed, record->status);
    }
    if (before == seeds_a.end() || before->second->status == record->status) continue;
    if (before->second->status != "ok")
      row.notices.push_back(fmt::format("seed {}: {} in A, {} in B", seed, before->second->status, record->status));
  }
  if (!worse.empty() && !ok_of(a).empty()) row.beyond.push_back("no longer ok: " + worse);
}

std::vector<std::string> statuses(const std::vector<const Result*>& records) {
  std::vector<std::string> texts;
  for (const Result* record : records) texts.push_back(fmt::format("seed {}: {}", record->seed, record->status));
  return texts;
}

DiffRow row_of(const Sorted& config, const char* verdict, const std::vector<const Result*>& a,
               const std::vector<const Result*>& b) {
  DiffRow row;
  row.verdict = verdict;
  row.run = name_of(config);
  row.config = config;
  row.a = statuses(a);
  row.b = statuses(b);
  return row;
}

DiffRow compare_pair(const Sorted& config, const std::vector<const Result*>& a, const std::vector<const Result*>& b,
                     const Tolerance& tolerance) {
  DiffRow row = row_of(config, "", a, b);
  judge_status(a, b, row);
  const auto seeds_a = by_seed(a).size(), seeds_b = by_seed(b).size();
  if (seeds_b < seeds_a)
    (tolerance.allow_missing ? row.notices : row.beyond)
        .push_back(fmt::format("{} of {} seeds missing in B", seeds_a - seeds_b, seeds_a));
  if (seeds_a < a.size() || seeds_b < b.size()) {
    row.notices.push_back(
        "some seeds have several records: the first of each counts for the score, all for speed and memory");
  }
  const auto ok_a = ok_of(a), ok_b = ok_of(b);
  if (!ok_a.empty() && !ok_b.empty()) {
    const std::string data = data_difference(ok_a, ok_b);
    std::vector<std::string> host;
    for (const auto& [name, key] : {std::pair("host", "name"), std::pair("processor", "cpu"),
                                    std::pair("device", "device"), std::pair("threads", "threads")}) {
      const std::string text =
          difference_of(name, ok_a, ok_b, [key = key](const Result& record) { return text_at(record.host, key); });
      if (!text.empty()) host.push_back(text);
    }
    // How long a task's sequences are decides how fast a step is.
    const bool train = row.config["kind"] == "train";
    if (!data.empty())
      row.not_comparable.push_back(
          fmt::format("{} not judged: {}", train ? "score, speed and memory" : "speed and memory", data));
    if (!host.empty())
      row.not_comparable.push_back(fmt::format("speed and memory not judged: {}", fmt::join(host, "; ")));
    if (train) judge_score(ok_a, ok_b, data.empty(), tolerance, row);
    judge_cost(ok_a, ok_b, data.empty() && host.empty(), tolerance, row);
    // May be what is compared, so that it is said and no more.
    const std::string allocator =
        difference_of("allocator", ok_a, ok_b, [](const Result& record) { return text_at(record.host, "allocator"); });
    if (!allocator.empty()) row.notices.push_back(allocator);
  }
  row.verdict = !row.beyond.empty() ? "beyond" : !row.not_comparable.empty() ? "not comparable" : "within";
  return row;
}

/// Where runs have the same name, what they differ in is added.
void tell_apart(std::vector<DiffRow>& rows) {
  std::map<std::string, std::vector<DiffRow*>> named;
  for (DiffRow& row : rows) named[row.run].push_back(&row);
  for (auto& [name, same] : named) {
    std::set<std::string> keys;
    for (const DiffRow* row : same) {
      for (const std::string& key : compare(Sorted(same.front()->config), Sorted(row->config)).other_values)
        keys.insert(key.substr(0, key.find('.')));
    }
    for (DiffRow* row : same) {
      for (const std::string& key : keys) row->run += fmt::format(" {}={}", key, text_at(row->config, key.c_str()));
    }
  }
}

}  // namespace

std::size_t Diff::count(const std::string& verdict) const {
  return static_cast<std::size_t>(
      std::count_if(rows.begin(), rows.end(), [&](const DiffRow& row) { return row.verdict == verdict; }));
}

bool Diff::within() const {
  const bool missing = count("missing in B") > 0 && !tolerance.allow_missing;
  const bool not_comparable = count("not comparable") > 0 && !tolerance.allow_incomparable;
  return count("beyond") == 0 && broken.empty() && !missing && !not_comparable;
}

Diff diff(const fs::path& a, const fs::path& b, const Tolerance& tolerance) {
  const Collection records_a = collect({a}), records_b = collect({b});
  Diff result{a, b, tolerance, {}, records_a.broken};
  result.broken.insert(result.broken.end(), records_b.broken.begin(), records_b.broken.end());
  for (const std::string& key : tolerance.ignored) {
    std::set<std::string> known;
    for (const auto* records : {&records_a, &records_b}) {
      for (const Result& record : records->results) {
        for (const auto& [name, value] : record.config.items()) known.insert(name);
      }
    }
    if (known.count(key) == 0)
      throw Error("--ignore " + key + ": no record has this key", suggestion(key, {known.begin(), known.end()}));
  }
  Groups only_a = group(records_a, tolerance.ignored), only_b = group(records_b, tolerance.ignored);
  for (auto it = only_a.begin(); it != only_a.end();) {
    const auto other = only_b.find(it->first);
    if (other == only_b.end()) {
      ++it;
      continue;
    }
    result.rows.push_back(compare_pair(it->first, it->second, other->second, tolerance));
    only_b.erase(other);
    it = only_a.erase(it);
  }
  // Versions of the program differ in which keys they record: those that both have decide, where that leaves one
  // choice.
  std::map<Sorted, std::vector<Sorted>> choices_a, choices_b;
  for (const auto& [config_a, runs_a] : only_a) {
    for (const auto& [config_b, runs_b] : only_b) {
      if (!compare(config_a, config_b).other_values.empty()) continue;
      choices_a[config_a].push_back(config_b);
      choices_b[config_b].push_back(config_a);
    }
  }
  for (const auto& [config_a, choices] : choices_a) {
    if (choices.size() != 1 || choices_b[choices[0]].size() != 1) continue;
    DiffRow row = compare_pair(config_a, only_a[config_a], only_b[choices[0]], tolerance);
    row.notices.push_back(
        fmt::format("recorded on one side only: {}", fmt::join(compare(config_a, choices[0]).one_sided, ", ")));
    result.rows.push_back(row);
    only_a.erase(config_a);
    only_b.erase(choices[0]);
  }
  for (const auto& [config, runs] : only_a) {
    DiffRow row = row_of(config, "missing in B", runs, {});
    std::vector<std::string> nearest;
    for (const auto& [other, runs_b] : only_b) {
      const auto keys = compare(config, other).other_values;
      if (same_run(config, other) && (nearest.empty() || keys.size() < nearest.size())) nearest = keys;
    }
    if (!nearest.empty()) row.notices.push_back(fmt::format("B has it with another {}", fmt::join(nearest, ", ")));
    result.rows.push_back(row);
  }
  for (const auto& [config, runs] : only_b) result.rows.push_back(row_of(config, "only in B", {}, runs));
  tell_apart(result.rows);
  std::stable_sort(result.rows.begin(), result.rows.end(),
                   [](const DiffRow& x, const DiffRow& y) { return x.run < y.run; });
  return result;
}

}  // namespace lra::report
