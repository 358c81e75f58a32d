#include "report/rank_correlation.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "core/record.h"

namespace lra::report {
namespace {

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<double> result;
  for (const double value : values) {
    const auto below = std::count_if(values.begin(), values.end(), [&](double other) { return other < value; });
    const auto equal = std::count(values.begin(), values.end(), value);
    result.push_back(static_cast<double>(below) + static_cast<double>(equal + 1) / 2);
  }
  return result;
}

/// Absent where one side is constant.
std::optional<double> spearman(const std::vector<std::pair<double, double>>& pairs) {
  std::vector<double> first, second;
  for (const auto& [x, y] : pairs) {
    first.push_back(x);
    second.push_back(y);
  }
  first = ranks(first);
  second = ranks(second);
  const double mean = (static_cast<double>(pairs.size()) + 1) / 2;
  double xx = 0, yy = 0, xy = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    xx += (first[i] - mean) * (first[i] - mean);
    yy += (second[i] - mean) * (second[i] - mean);
    xy += (first[i] - mean) * (second[i] - mean);
  }
  if (xx == 0 || yy == 0) return std::nullopt;
  return xy / std::sqrt(xx * yy);
}

}  // namespace

std::optional<RankCorrelation> rank_correlation(const std::vector<std::pair<double, double>>& pairs,
                                                std::int64_t resamples, std::uint64_t seed) {
  const auto rho = spearman(pairs);
  if (pairs.size() < 4 || !rho) return std::nullopt;
  std::mt19937_64 random(seed);
  std::vector<double> drawn;
  for (std::int64_t i = 0; i < resamples; ++i) {
    std::vector<std::pair<double, double>> sample;
    // Not std::uniform_int_distribution, which differs between standard libraries; so few pairs make the remainder's
    // bias nothing.
    for (std::size_t j = 0; j < pairs.size(); ++j) sample.push_back(pairs[random() % pairs.size()]);
    if (const auto value = spearman(sample)) drawn.push_back(*value);
  }
  if (drawn.empty()) return std::nullopt;
  std::sort(drawn.begin(), drawn.end());
  return RankCorrelation{*rho, quantile(drawn, 0.025), quantile(drawn, 0.975), static_cast<std::int64_t>(pairs.size()),
                         static_cast<std::int64_t>(drawn.size())};
}

}  // namespace lra::report
