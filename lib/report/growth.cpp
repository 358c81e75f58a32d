#include "report/growth.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>

#include "core/config_files.h"
#include "core/error.h"
#include "report/significance.h"

namespace lra::report {
namespace {

using Points = std::vector<std::pair<std::int64_t, double>>;

constexpr std::int64_t short_length = 64;  // up to it, what grows with the length hardly counts
constexpr std::int64_t fitted_from = 1024;
constexpr double noise = 0.05;  // of a measurement: a smaller difference of two says nothing

Points series(const GrowthRow& row, std::optional<double> GrowthPoint::* value) {
  Points points;
  for (const GrowthPoint& point : row.points) {
    if (point.*value) points.emplace_back(point.length, *(point.*value));
  }
  return points;
}

std::optional<double> value_at(const Points& points, std::int64_t length) {
  for (const auto& [n, value] : points) {
    if (n == length) return value;
  }
  return std::nullopt;
}

/// The law of what `points` have more than `base`.
std::optional<PowerLaw> fit_difference(const Points& points, const Points& base,
                                       const std::vector<std::int64_t>& fitted) {
  Points more;
  for (const auto& [n, value] : points) {
    const auto less = value_at(base, n);
    const bool needed = std::find(fitted.begin(), fitted.end(), n) != fitted.end();
    if (needed && (!less || value - *less <= noise * value)) return std::nullopt;
    if (less) more.emplace_back(n, value - *less);
  }
  return fit_power_law(more, fitted);
}

std::optional<double> declared_exponent(const std::string& mixer, const char* of) {
  try {
    return named_config("mixers", mixer).at("growth").at(of).get<double>();
  } catch (const Error&) {  // a record of a mixer that is no longer there
  } catch (const Json::exception&) {
  }
  return std::nullopt;
}

GrowthPoint point_of(const SpeedRow& row, std::int64_t length) {
  GrowthPoint point{length, row.status, {}, {}, row.peak_tensor_bytes, row.flops_per_step, {}};
  if (row.steps_per_second.value_or(0) > 0) point.seconds = 1 / *row.steps_per_second;
  const auto& rate = row.examples_per_second;
  if (rate && rate->mean > 0 && !rate->error_kind.empty()) point.seconds_spread = rate->error / rate->mean;
  return point;
}

}  // namespace

std::optional<PowerLaw> fit_power_law(const Points& points, const std::vector<std::int64_t>& fitted) {
  Points used;
  for (const auto& point : points) {
    if (std::find(fitted.begin(), fitted.end(), point.first) != fitted.end()) used.push_back(point);
  }
  if (used.size() < 3) return std::nullopt;
  const auto [shortest, at_shortest] = *std::min_element(points.begin(), points.end());
  PowerLaw law;
  law.n = static_cast<std::int64_t>(used.size());
  law.first = std::min_element(used.begin(), used.end())->first;
  law.last = std::max_element(used.begin(), used.end())->first;
  law.subtracted = shortest <= short_length && shortest < law.first;
  const auto n = static_cast<double>(law.n);
  const double t = student_t_quantile(n - 2);
  // The shortest length has a share of the growth too; each round knows it better, by a factor of some hundreds.
  for (int round = 0; round < 20; ++round) {
    if (law.subtracted)
      law.constant = std::max(0.0, at_shortest - law.factor * std::pow(static_cast<double>(shortest), law.exponent));
    double x_mean = 0, y_mean = 0, xx = 0, xy = 0, squares = 0;
    for (const auto& [length, value] : used) {
      if (value <= law.constant) return std::nullopt;
      x_mean += std::log(static_cast<double>(length)) / n;
      y_mean += std::log(value - law.constant) / n;
    }
    for (const auto& [length, value] : used) {
      const double x = std::log(static_cast<double>(length)) - x_mean;
      xx += x * x;
      xy += x * (std::log(value - law.constant) - y_mean);
    }
    law.exponent = xy / xx;
    law.factor = std::exp(y_mean - law.exponent * x_mean);
    for (const auto& [length, value] : used) {
      const double residual =
          std::log(value - law.constant) - std::log(law.factor) - law.exponent * std::log(static_cast<double>(length));
      squares += residual * residual;
    }
    const double half = t * std::sqrt(squares / (n - 2) / xx);
    law.low = law.exponent - half;
    law.high = law.exponent + half;
  }
  return law;
}

std::optional<Crossing> crossing(const Points& points, const Points& other) {
  Points ratios;  // logarithms
  for (const auto& [n, value] : points) {
    const auto beside = value_at(other, n);
    if (beside && value > 0 && *beside > 0) ratios.emplace_back(n, std::log(value / *beside));
  }
  if (ratios.empty()) return std::nullopt;
  Crossing result{Crossing::Kind::always, 0, ratios.front().first, ratios.back().first};
  for (std::size_t i = 0; i < ratios.size(); ++i) {
    if (ratios[i].second < 0) continue;
    if (i + 1 == ratios.size()) {
      result.kind = Crossing::Kind::never;
    } else {
      const auto [n, above] = ratios[i];
      const auto [next, below] = ratios[i + 1];
      result.kind = Crossing::Kind::from;
      result.length = static_cast<double>(n) *
                      std::pow(static_cast<double>(next) / static_cast<double>(n), above / (above - below));
    }
  }
  return result;
}

std::vector<GrowthSet> growth(const std::vector<SpeedGroup>& speeds) {
  std::map<std::string, std::map<std::int64_t, const SpeedGroup*>> settings;
  for (const SpeedGroup& group : speeds) {
    if (group.source == "bench" && group.length > 0) settings[group.setting][group.length] = &group;
  }
  std::vector<GrowthSet> sets;
  for (const auto& [setting, groups] : settings) {
    if (groups.size() < 4) continue;
    const SpeedGroup& longest = *groups.rbegin()->second;
    GrowthSet set{setting, longest.condition, {}, {}, {}};
    std::set<std::string> warnings;
    for (const auto& [length, group] : groups) {
      set.lengths.push_back(length);
      warnings.insert(group->warnings.begin(), group->warnings.end());
    }
    set.warnings.assign(warnings.begin(), warnings.end());
    std::copy_if(set.lengths.begin(), set.lengths.end(), std::back_inserter(set.fitted),
                 [](std::int64_t n) { return n >= fitted_from; });
    if (set.fitted.size() < 4) set.fitted.assign(set.lengths.begin() + 1, set.lengths.end());

    for (auto group = groups.rbegin(); group != groups.rend(); ++group) {
      for (const SpeedRow& speed : group->second->rows) {
        const auto same = [&](const GrowthRow& row) {
          return row.label == speed.label && row.variant == speed.variant && row.model == speed.model;
        };
        auto row = std::find_if(set.rows.begin(), set.rows.end(), same);
        if (row == set.rows.end()) {
          row = set.rows.emplace(row);
          row->label = speed.label;
          row->mixer = speed.mixer;
          row->variant = speed.variant;
          row->model = speed.model;
        }
        // A length may have a failed record beside a good one, which comes first.
        if (row->points.empty() || row->points.front().length != group->first)
          row->points.insert(row->points.begin(), point_of(speed, group->first));
      }
    }

    const auto of = [&](const char* variant, std::optional<double> GrowthPoint::* value) {
      const auto row =
          std::find_if(set.rows.begin(), set.rows.end(), [&](const GrowthRow& r) { return r.variant == variant; });
      return row == set.rows.end() ? Points{} : series(*row, value);
    };
    const Points none_time = of("none", &GrowthPoint::seconds), none_memory = of("none", &GrowthPoint::bytes);
    for (GrowthRow& row : set.rows) {
      const Points time = series(row, &GrowthPoint::seconds), memory = series(row, &GrowthPoint::bytes);
      row.time = fit_power_law(time, set.fitted);
      row.memory = fit_power_law(memory, set.fitted);
      row.flops = fit_power_law(series(row, &GrowthPoint::flops), set.fitted);
      row.mixer_time = fit_difference(time, none_time, set.fitted);
      row.mixer_memory = fit_difference(memory, none_memory, set.fitted);
      row.declared_time = declared_exponent(row.mixer, "time");
      row.declared_memory = declared_exponent(row.mixer, "memory");
      const auto below = [&](const Points& own, const char* variant, std::optional<double> GrowthPoint::* value) {
        return row.variant == variant ? std::nullopt : crossing(own, of(variant, value));
      };
      row.faster_than_softmax = below(time, "softmax", &GrowthPoint::seconds);
      row.faster_than_flash = below(time, "flash", &GrowthPoint::seconds);
      row.smaller_than_softmax = below(memory, "softmax", &GrowthPoint::bytes);
      row.smaller_than_flash = below(memory, "flash", &GrowthPoint::bytes);
      for (GrowthPoint& point : row.points) {
        const auto none = value_at(none_time, point.length);
        if (none && point.seconds) point.share = std::max(0.0, 1 - *none / *point.seconds);
      }
    }
    sets.push_back(set);
  }
  return sets;
}

}  // namespace lra::report
