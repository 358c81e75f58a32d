#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace lra::report {

struct RankCorrelation {
  double rho = 0;              ///< Spearman: the correlation of the ranks, equal values sharing the mean of theirs
  double low = 0, high = 0;    ///< 2.5 % and 97.5 % of its values over the resamples
  std::int64_t n = 0;          ///< pairs
  std::int64_t resamples = 0;  ///< those in which both sides varied
};

/// With a percentile bootstrap of `resamples` draws of whole pairs, the same for the same seed on every platform.
/// Absent with fewer than 4 pairs or where one side is constant.
std::optional<RankCorrelation> rank_correlation(const std::vector<std::pair<double, double>>& pairs,
                                                std::int64_t resamples = 2000, std::uint64_t seed = 0);

}  // namespace lra::report
