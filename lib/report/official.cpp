#include "report/official.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/config_files.h"
#include "core/error.h"
#include "core/thousands.h"
#include "report/score_rows.h"

namespace lra::report {
namespace {

std::int64_t whole_at(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end() || !found->is_number()) return 0;
  const Json whole = canonical(*found);
  return whole.is_number_integer() && !whole.is_number_unsigned() ? whole.get<std::int64_t>() : 0;
}

}  // namespace

const std::map<std::string, Json>& task_configs() {
  static const std::map<std::string, Json> configs = [] {
    std::map<std::string, Json> found;
    try {
      for (const std::string& task : config_names("tasks")) found[task] = named_config("tasks", task);
    } catch (const Error&) {
      found.clear();
    }
    return found;
  }();
  return configs;
}

std::string easier_than_official(const Result& result) {
  const auto& tasks = arena_tasks();
  if (std::find(tasks.begin(), tasks.end(), result.task) == tasks.end()) return "not a task of Long Range Arena";
  const auto task = task_configs().find(result.task);
  if (task == task_configs().end()) return "the official numbers are not known: configs/tasks was not found";
  const auto official_examples = whole_at(task->second.value("official_examples", Json()), "train"),
             official_length = whole_at(task->second.value("defaults", Json()), "seq_len");
  if (!result.incomplete.empty()) return result.incomplete;
  if (const auto limit = whole_at(result.settings, "limit"); limit > 0)
    return fmt::format("only the first {} examples of each split", with_commas(limit));
  const Json train = result.data.value("train", Json()), generator = result.data.value("generator", Json());
  if (const auto examples = whole_at(train, "examples"); examples > 0 && 100 * examples < 95 * official_examples) {
    return fmt::format("{} training examples, the official task has {}", with_commas(examples),
                       with_commas(official_examples));
  }
  if (const auto longest = whole_at(generator, "max_length");
      result.task == "listops" && longest > 0 && longest < 2000) {
    return fmt::format(
        "expressions of more than {} and fewer than {} symbols, the official ones have more than 500 and fewer than "
        "2,000",
        whole_at(generator, "min_length"), longest);
  }
  const auto length = whole_at(result.config, "seq_len");
  if (length > 0 && length < official_length)
    return fmt::format("sequences of up to {}, the official task has up to {}", with_commas(length),
                       with_commas(official_length));
  return {};
}

}  // namespace lra::report
