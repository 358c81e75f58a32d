#include <algorithm>
#include <set>
#include <tuple>

#include "report/compare.h"

namespace lra::report {

const SpeedGroup* speed_for(const ScoreGroup& scores, const std::vector<SpeedGroup>& speeds, std::int64_t length) {
  const auto candidates = speeds_for(scores, speeds);
  if (length == 0) return candidates.empty() ? nullptr : candidates.front();
  const auto found = std::find_if(candidates.begin(), candidates.end(),
                                  [&](const SpeedGroup* group) { return group->length == length; });
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
    const auto measured = std::count_if(scores.rows.begin(), scores.rows.end(), [&](const ScoreRow& row) {
      return row.test && speed_of(row, group) != nullptr;
    });
    if (measured > 0) candidates.emplace_back(measured, &group);
  }
  const auto scored =
      std::count_if(scores.rows.begin(), scores.rows.end(), [](const ScoreRow& row) { return row.test.has_value(); });
  std::stable_sort(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
    const auto order = [&](const auto& one) {
      const bool bench_of_most = one.second->length > 0 && 2 * one.first >= scored;
      return std::tuple(!bench_of_most, -one.first, -one.second->length, -one.second->batch_size,
                        one.second->host != scores.host);
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
