#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/compare.h"

namespace lra::report {

/// y(N) = constant + factor · N^exponent, by least squares of log(y - constant) on log N. `low` to `high` is the 95 %
/// interval of the exponent from the t distribution with n - 2 degrees of freedom of the residuals; it holds the
/// scatter and the misfit of the law, not the error of the constant.
struct PowerLaw {
  double exponent = 0, low = 0, high = 0;
  double factor = 0;
  double constant = 0;  ///< such that the law passes through what was measured at the shortest length, not below 0; 0
                        ///< unless `subtracted`
  bool subtracted =
      false;  ///< whether a length of at most 64 tokens was measured, from which the constant can be known
  std::int64_t n = 0, first = 0, last = 0;  ///< fitted points, their shortest and longest length
};

/// One model at one length; what was not measured is absent.
struct GrowthPoint {
  std::int64_t length = 0;
  std::string status;             ///< ok oom timeout ...
  std::optional<double> seconds;  ///< per training step
  std::optional<double>
      seconds_spread;  ///< as a fraction of `seconds`: the interquartile range over the steps, or the sd over records
  std::optional<double> bytes;  ///< the largest sum of tensors at any time
  std::optional<double> flops;  ///< declared, per training step
  std::optional<double> share;  ///< of the step that the mixer takes: 1 - time of `none` / time, not below 0
};

/// The length from which on one model is below another, at it and at all longer lengths that were measured of both.
struct Crossing {
  enum class Kind { always, from, never };  ///< below at all lengths, from `length` on, not at the longest
  Kind kind = Kind::never;
  double length = 0;  ///< for `from`: between two measured lengths, where the straight line of the logarithms crosses
  std::int64_t first = 0, last = 0;  ///< the shortest and longest length compared
};

/// One model over the lengths.
struct GrowthRow {
  std::string label, mixer, variant, model;  ///< as in SpeedRow
  std::vector<GrowthPoint> points;           ///< by length
  std::optional<PowerLaw> time, memory;      ///< of the whole model
  std::optional<PowerLaw> flops;             ///< the same fit of what the mathematics costs at the same lengths
  /// Of what the model has more than `none`, which only projects; absent where that is not over 5 % at every fitted
  /// length.
  std::optional<PowerLaw> mixer_time, mixer_memory;
  std::optional<double> declared_time, declared_memory;  ///< exponents as N → ∞: `growth` in configs/mixers/*.json
  std::optional<Crossing> faster_than_softmax, faster_than_flash, smaller_than_softmax,
      smaller_than_flash;  ///< absent for the model itself
};

/// Models measured under the same conditions at several lengths.
struct GrowthSet {
  std::string setting, condition;  ///< as in SpeedGroup
  std::vector<std::int64_t> lengths;
  std::vector<std::int64_t>
      fitted;  ///< those of the fits: from 1,024 on; where these are fewer than 4, all but the shortest
  std::vector<GrowthRow> rows;             ///< fastest at the longest length first
  std::vector<std::string> warnings = {};  ///< those of its groups
};

/// One for every setting of the benches that has at least 4 lengths.
std::vector<GrowthSet> growth(const std::vector<SpeedGroup>& speeds);

/// The law through the points (N, y) at `fitted` lengths; the constant from the point at the shortest length of all, if
/// that is not one of them. Absent with fewer than 3 fitted points or a value that is not above the constant.
std::optional<PowerLaw> fit_power_law(const std::vector<std::pair<std::int64_t, double>>& points,
                                      const std::vector<std::int64_t>& fitted);

/// Where y falls below `other` for good; absent without a common length. Both are (N, value), by length.
std::optional<Crossing> crossing(const std::vector<std::pair<std::int64_t, double>>& points,
                                 const std::vector<std::pair<std::int64_t, double>>& other);

}  // namespace lra::report
