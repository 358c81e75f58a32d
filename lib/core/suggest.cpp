#include "core/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

namespace lra {
namespace {

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

/// What other programs call a key of ours.
const std::map<std::string, std::string> other_names = {
    {"lr", "learning_rate"},   {"steps", "train_steps"},     {"iterations", "train_steps"}, {"bs", "batch_size"},
    {"batch", "batch_size"},   {"layers", "num_layers"},     {"depth", "num_layers"},       {"heads", "num_heads"},
    {"dim", "d_model"},        {"width", "d_model"},         {"hidden_size", "d_model"},    {"length", "seq_len"},
    {"max_length", "seq_len"}, {"wd", "weight_decay"},       {"warmup", "warmup_steps"},    {"clip", "clip_norm"},
    {"model", "mixer"},        {"attention", "mixer"},       {"dataset", "task"},           {"data", "data_dir"},
    {"gpu", "device"},         {"memory", "memory_limit_gb"}};

}  // namespace

std::string suggestion(const std::string& given, const std::vector<std::string>& known) {
  constexpr std::size_t longest = 100;  // a key of a megabyte is no misspelling
  if (given.size() > longest) return suggestion(given.substr(0, longest), known);
  if (const auto other = other_names.find(given);
      other != other_names.end() && std::find(known.begin(), known.end(), other->second) != known.end()) {
    return fmt::format("did you mean '{}'?", other->second);
  }
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, given.size() / 3) + 1;
  for (const auto& candidate : known) {
    const std::size_t distance = edit_distance(given, candidate);
    const bool contains = given.size() >= 3 && candidate.find(given) != std::string::npos;
    if (distance < best_distance || (contains && best.empty())) {
      best = candidate;
      best_distance = std::min(best_distance, distance);
    }
  }
  if (known.empty()) return "it takes none";
  if (!best.empty()) return "did you mean '" + best + "'?";
  std::string list;
  for (const auto& candidate : known) list += (list.empty() ? "" : ", ") + candidate;
  return "known: " + list;
}

}  // namespace lra
