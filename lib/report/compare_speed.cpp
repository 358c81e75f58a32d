#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "report/compare.h"
#include "report/record_facts.h"

namespace lra::report {
namespace {

using Members = std::vector<const Result*>;

/// Names of a setting's models and the programs that measured them, by variant + signature: the same at all its
/// lengths.
struct Setting {
  Members members;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::set<std::string>> builds;
};

std::string setting_of(const Result& result) {
  const bool bench = result.kind == "bench";
  const Json setting = {bench ? 0 : 1,
                        bench ? "" : training_of(result),
                        result.profile,
                        text_at(result.host, "name"),
                        text_at(result.host, "cpu"),
                        text_at(result.host, "device"),
                        text_at(result.host, "threads"),
                        text_at(result.host, "allocator"),
                        fmt::format("{:>6}", text_at(result.settings, "batch_size")),
                        text_at(result.settings, "precision"),
                        text_at(result.settings, "dropout"),
                        model_sizes(result),
                        result.task};
  return setting.dump();
}

SpeedGroup empty_group(const std::string& setting, const Members& members) {
  const Result& first = *members.front();
  SpeedGroup group;
  group.setting = setting;
  group.source = first.kind;
  group.task_name = task_name(first.task);
  group.profile = first.profile;
  group.host = describe_host(first);
  group.machine = machine_of(first);
  group.precision = text_at(first.settings, "precision");
  group.training = training_of(first);
  group.batch_size = integer_at(first.config, "batch_size").value_or(0);
  group.length = first.sequence_length.value_or(0);
  const std::string batch = group.batch_size > 0 ? fmt::format("batch {}", group.batch_size) : "batch size unknown",
                    dropout = text_at(first.config, "dropout");
  group.condition = fmt::format("profile {} ({}{}) · {}{} · {}", group.profile, sizes_of(first),
                                dropout.empty() ? "" : ", dropout " + dropout, batch,
                                group.precision.empty() ? "" : ", " + group.precision, group.host);
  if (const std::string allocator = text_at(first.host, "allocator"); !allocator.empty() && allocator != "caching")
    group.condition += " · allocator " + allocator;
  const std::string lengths = group.length > 0        ? fmt::format("{} tokens in every sequence", group.length)
                              : first.kind == "bench" ? fmt::format("Bench on {}'s own lengths", group.task_name)
                                                      : fmt::format("Seen while training on {}", group.task_name);
  group.title = fmt::format("{}, {}", lengths, group.condition);
  std::set<std::string> programs;
  for (const Result* record : members) programs.insert(build_of(*record));
  if (programs.size() > 1)
    group.warnings.push_back(fmt::format("The rows come from different programs: {}.", fmt::join(programs, "; ")));
  if (std::any_of(members.begin(), members.end(), [](const Result* r) { return is_dirty(*r); }))
    group.warnings.push_back("Some records come from programs with uncommitted changes.");
  return group;
}

void set_measured(const Members& records, SpeedRow& row) {
  const Result& record = *records.front();
  const auto median = [](const auto& measured) {
    return measured ? std::optional<double>(measured->median) : std::nullopt;
  };
  const auto rates = values_of(records, [&](const Result& r) { return median(r.train_examples_per_second); });
  if (!rates.empty()) row.examples_per_second = summarise(rates, "sd over records");
  if (rates.size() == 1 && record.train_examples_per_second) {
    row.examples_per_second->error = record.train_examples_per_second->spread;
    row.examples_per_second->error_kind = "IQR over steps";
  }
  row.steps_per_second = mean_of(records, [&](const Result& r) { return median(r.train_steps_per_second); });
  row.inference_examples_per_second =
      mean_of(records, [&](const Result& r) { return median(r.inference_examples_per_second); });
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

/// The row of records of one model, status and program.
SpeedRow speed_row(const Members& records, const Setting& setting) {
  const Result& record = *records.front();
  const std::string key = record.variant + record.signature;
  SpeedRow row{setting.labels.at(key),
               record.mixer,
               record.variant,
               record.status,
               record.message,
               {},
               {},
               {},
               {},
               {},
               {},
               {},
               {},
               0};
  row.n = static_cast<std::int64_t>(records.size());
  row.model = model_of(record);
  row.revision = text_at(record.build, "revision");
  row.dirty = std::any_of(records.begin(), records.end(), [](const Result* r) { return is_dirty(*r); });
  if (setting.builds.at(key).size() > 1) row.label += fmt::format(" ({})", build_of(record));
  if (record.status == "ok") set_measured(records, row);
  return row;
}

/// Speed and memory divided by those of `softmax`, of the same program revision where there is one.
void set_relative(std::vector<SpeedRow>& rows) {
  for (SpeedRow& row : rows) {
    const SpeedRow* base = nullptr;
    for (const SpeedRow& other : rows) {
      if (other.variant == "softmax" && other.status == "ok" && (base == nullptr || other.revision == row.revision))
        base = &other;
    }
    if (base == nullptr) continue;
    const auto& speed = base->examples_per_second;
    if (speed && speed->mean > 0 && row.examples_per_second)
      row.relative_speed = row.examples_per_second->mean / speed->mean;
    if (base->peak_tensor_bytes.value_or(0) > 0 && row.peak_tensor_bytes)
      row.relative_memory = *row.peak_tensor_bytes / *base->peak_tensor_bytes;
  }
}

}  // namespace

std::vector<SpeedGroup> compare_speed(const std::vector<Result>& results) {
  std::map<std::pair<std::string, std::int64_t>, Members> groups;  // setting, length
  std::map<std::string, Setting> settings;
  for (const Result& result : results) {
    const std::string key = setting_of(result);
    groups[{key, result.kind == "bench" ? result.sequence_length.value_or(0) : 0}].push_back(&result);
    settings[key].members.push_back(&result);
  }
  for (auto& [key, setting] : settings) {
    setting.labels = labels_of(setting.members);
    for (const Result* record : setting.members)
      setting.builds[record->variant + record->signature].insert(build_of(*record));
  }
  std::vector<SpeedGroup> speeds;
  for (const auto& [group_key, members] : groups) {
    SpeedGroup group = empty_group(group_key.first, members);
    std::map<std::string, Members> rows;
    for (const Result* record : members)
      rows[record->variant + record->signature + "/" + record->status + "/" + build_of(*record)].push_back(record);
    for (const auto& [row_key, records] : rows) group.rows.push_back(speed_row(records, settings.at(group_key.first)));
    set_relative(group.rows);
    std::stable_sort(group.rows.begin(), group.rows.end(), [](const SpeedRow& a, const SpeedRow& b) {
      const double x = a.examples_per_second ? a.examples_per_second->mean : -1,
                   y = b.examples_per_second ? b.examples_per_second->mean : -1;
      return x != y ? x > y : a.label < b.label;
    });
    speeds.push_back(std::move(group));
  }
  return speeds;
}

}  // namespace lra::report
