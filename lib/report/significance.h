#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace lra::report {

/// P(|T| >= |t|) for Student's t distribution; `degrees` > 0 need not be whole.
double student_t_p(double t, double degrees);

/// The t with P(|T| >= t) = 5 %: half a 95 % interval in standard errors.
double student_t_quantile(double degrees);

/// Two-sided p-value of Welch's t-test for equal means; each sample has at least two values. Where neither varies: 1
/// for equal means, else 0.
double welch_p(const std::vector<double>& a, const std::vector<double>& b);

/// Two-sided p-value of the two-proportion z-test with pooled variance: fractions `a` of `n_a` and `b` of `n_b`
/// independent examples. On one test set the two fractions go together, and the true p is smaller.
double two_proportion_p(double a, std::int64_t n_a, double b, std::int64_t n_b);

double median(std::vector<double> values);

/// 95 % percentile interval of the ratio median(B) / median(A) over 1,000 bootstrap samples: runs are drawn with
/// replacement, then the raw samples in each; a run counts by its median. Every run has samples above 0. The same
/// numbers at every call.
std::pair<double, double> ratio_interval(const std::vector<std::vector<double>>& a,
                                         const std::vector<std::vector<double>>& b);

}  // namespace lra::report
