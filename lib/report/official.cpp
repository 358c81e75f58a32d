#include "report/official.h"

#include <fmt/format.h>

#include <map>

#include "core/config_files.h"
#include "core/error.h"
#include "report/labels.h"

namespace lra::report {
namespace {

/// Training examples of the official data.
const std::map<std::string, std::int64_t> official_examples = {{"listops", 96000}, {"text", 25000}, {"retrieval", 147086}, {"image", 45000}, {"pathfinder", 160000}, {"pathx", 160000}};

std::int64_t whole_at(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end() || !found->is_number()) return 0;
  const Json whole = canonical(*found);
  return whole.is_number_integer() && !whole.is_number_unsigned() ? whole.get<std::int64_t>() : 0;
}

std::int64_t official_length(const std::string& task) {
  try {
    return whole_at(named_config("tasks", task).value("defaults", Json::object()), "seq_len");
  } catch (const Error&) {
    return 0;
  }
}

}  // namespace

std::string easier_than_official(const Result& result) {
  const auto official = official_examples.find(result.task);
  if (official == official_examples.end()) return "not a task of Long Range Arena";
  if (!result.incomplete.empty()) return result.incomplete;
  if (const auto limit = whole_at(result.settings, "limit"); limit > 0) return fmt::format("only the first {} examples of each split", with_separator(limit));
  const Json train = result.data.value("train", Json()), generator = result.data.value("generator", Json());
  if (const auto examples = whole_at(train, "examples"); examples > 0 && 100 * examples < 95 * official->second) {
    return fmt::format("{} training examples, the official task has {}", with_separator(examples), with_separator(official->second));
  }
  if (const auto longest = whole_at(generator, "max_length"); result.task == "listops" && longest > 0 && longest < 2000) {
    return fmt::format("expressions of more than {} and fewer than {} symbols, the official ones have more than 500 and fewer than 2,000", whole_at(generator, "min_length"), longest);
  }
  const auto length = whole_at(result.config, "seq_len"), whole = official_length(result.task);
  if (length > 0 && length < whole) return fmt::format("sequences of up to {}, the official task has up to {}", with_separator(length), with_separator(whole));
  return {};
}

}  // namespace lra::report
