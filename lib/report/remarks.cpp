#include "report/remarks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "report/compare.h"
#include "report/page_parts.h"
#include "report/record_facts.h"

namespace lra::report {
namespace {

/// What the records say, by what they may differ in.
struct Facts {
  std::map<std::string, std::set<std::string>> values;
  std::map<std::string, std::set<std::string>> data;         ///< task -> identities
  std::map<std::string, std::map<std::string, double>> cut;  ///< task -> split -> the largest share
  std::set<std::string> limited, dirty, standins, incomplete;
  bool smoke = false;
  std::size_t beside = 0, disturbed = 0;
};

void add_training(const Result& result, Facts& facts) {
  const std::string task = task_name(result.task);
  if (!result.data.empty()) facts.data[task].insert(data_identity(result));
  facts.values["maximal length of " + task].insert(text_at(result.config, "seq_len"));
}

Facts facts_of(const std::vector<Result>& results) {
  Facts facts;
  for (const Result& result : results) {
    const std::string task = task_name(result.task), device = recorded(result.host, "device");
    const std::string computes = device == "cpu" ? recorded(result.host, "cpu") : device;
    facts.values["profile"].insert(result.profile);
    facts.values["precision"].insert(text_at(result.config, "precision"));
    facts.values["host"].insert(recorded(result.host, "name") + " (" + computes + ")");
    facts.values["number of threads"].insert(text_at(result.host, "threads"));
    facts.values["program revision"].insert(text_at(result.build, "revision").substr(0, 10));
    facts.values["LibTorch"].insert(text_at(result.build, "libtorch"));
    if (result.kind == "train") add_training(result, facts);
    if (!result.incomplete.empty()) facts.incomplete.insert(fmt::format("{} ({})", task, result.incomplete));
    for (const auto& [split, share] : cut_shares(result)) {
      facts.cut[task][split] = std::max(facts.cut[task][split], share);
    }
    if (!result.disturbed.empty()) ++(trained_beside_another(result) ? facts.beside : facts.disturbed);
    const std::string limit = text_at(result.config, "limit");
    if (!limit.empty() && limit != "0") facts.limited.insert(fmt::format("{} ({})", task, limit));
    facts.smoke = facts.smoke || result.suite == "smoke";
    if (is_dirty(result)) facts.dirty.insert(text_at(result.build, "revision").substr(0, 10));
    if (result.task.find("_standin") != std::string::npos) facts.standins.insert(task);
  }
  return facts;
}

/// Those that make a record less than a measurement.
void add_flaws(const Facts& facts, std::size_t records, std::vector<Remark>& remarks) {
  const auto add = [&](const char* name, const std::string& sentence) { remarks.push_back({name, sentence}); };
  if (facts.smoke) add("smoke runs", "SMOKE RUNS: a few steps to see that everything runs; their scores mean nothing.");
  if (!facts.limited.empty()) {
    add("limited data",
        fmt::format("LIMITED: only the first examples of each split were used: {}.", fmt::join(facts.limited, ", ")));
  }
  if (!facts.incomplete.empty()) {
    add("data not the official ones",
        fmt::format("Not the official data, ranked apart: {}.", fmt::join(facts.incomplete, "; ")));
  }
  if (facts.beside > 0) {
    add("trained side by side",
        fmt::format("{} run{} trained beside others of the suite. Compare speeds by the benches, which ran alone, not "
                    "by these trainings.",
                    facts.beside, facts.beside == 1 ? "" : "s"));
  }
  if (facts.disturbed > 0) {
    add("busy machine",
        fmt::format("{} of {} speeds were measured on a busy machine (marked †). Do not compare them; `lra-report "
                    "check` names the cause of each.",
                    facts.disturbed, records));
  }
}

}  // namespace

std::vector<Remark> remarks_on(const std::vector<Result>& results) {
  const Facts facts = facts_of(results);
  std::vector<Remark> remarks;
  add_flaws(facts, results.size(), remarks);
  for (const auto& [task, shares] : facts.cut) {
    remarks.push_back({"sequences cut in " + task, fmt::format("{}: {}.", task, cut_text(shares))});
  }
  for (auto [what, found] : facts.values) {
    found.erase("");
    if (found.size() < 2) continue;
    remarks.push_back({what, fmt::format("The records differ in {}: {}.", what, fmt::join(found, ", "))});
  }
  for (const auto& [task, sets] : facts.data) {
    if (sets.size() < 2) continue;
    remarks.push_back({"data of " + task, fmt::format("{} was run on {} different data sets.", task, sets.size())});
  }
  if (!facts.dirty.empty()) {
    remarks.push_back(
        {"uncommitted changes", fmt::format("Some records come from programs with uncommitted changes (after {}).",
                                            fmt::join(facts.dirty, ", "))});
  }
  if (!facts.standins.empty()) {
    remarks.push_back(
        {"stand-ins", fmt::format("Stand-ins are tasks of their own and say nothing of those they stand for: {}.",
                                  fmt::join(facts.standins, ", "))});
  }
  return remarks;
}

}  // namespace lra::report
