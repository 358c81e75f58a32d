#include "report/significance.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace lra::report {
namespace {

/// The regularised incomplete beta function I_x(a, b) by its continued fraction (DLMF 8.17.22), evaluated as Lentz
/// does.
double incomplete_beta(double a, double b, double x) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  // On this side of the mean the fraction converges fast.
  if (x > (a + 1) / (a + b + 2)) return 1 - incomplete_beta(b, a, 1 - x);
  const auto nonzero = [](double value) { return std::abs(value) < 1e-300 ? 1e-300 : value; };
  double c = 1, d = 1 / nonzero(1 - (a + b) * x / (a + 1)), fraction = d;
  for (double m = 1; m < 10000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double change = 1;
    for (const double term : {even, odd}) {
      d = 1 / nonzero(1 + term * d);
      c = nonzero(1 + term / c);
      change = c * d;
      fraction *= change;
    }
    if (std::abs(change - 1) < 1e-15) break;
  }
  return fraction / a *
         std::exp(a * std::log(x) + b * std::log1p(-x) + std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b));
}

/// Mean and squared standard error.
std::pair<double, double> mean_and_error(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, squares / (n - 1) / n};
}

double resampled_median(const std::vector<std::vector<double>>& runs, std::mt19937_64& random) {
  std::vector<double> medians(runs.size()), drawn;
  for (double& of_run : medians) {
    const auto& samples = runs[random() % runs.size()];
    drawn.resize(samples.size());
    for (double& sample : drawn) sample = samples[random() % samples.size()];
    of_run = median(drawn);
  }
  return median(medians);
}

}  // namespace

double student_t_p(double t, double degrees) { return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)); }

double student_t_quantile(double degrees) {
  double low = 0, high = 1000;  // 12.7 at one degree
  while (high - low > 1e-12 * high) {
    const double middle = (low + high) / 2;
    (student_t_p(middle, degrees) > 0.05 ? low : high) = middle;
  }
  return low;
}

double welch_p(const std::vector<double>& a, const std::vector<double>& b) {
  const auto [mean_a, error_a] = mean_and_error(a);
  const auto [mean_b, error_b] = mean_and_error(b);
  const double error = error_a + error_b;
  if (error == 0) return mean_a == mean_b ? 1 : 0;
  const double degrees =
      error * error /
      (error_a * error_a / static_cast<double>(a.size() - 1) + error_b * error_b / static_cast<double>(b.size() - 1));
  return student_t_p((mean_a - mean_b) / std::sqrt(error), degrees);
}

double two_proportion_p(double a, std::int64_t n_a, double b, std::int64_t n_b) {
  const auto size_a = static_cast<double>(n_a), size_b = static_cast<double>(n_b);
  const double pooled = (a * size_a + b * size_b) / (size_a + size_b);
  const double variance = pooled * (1 - pooled) * (1 / size_a + 1 / size_b);
  return variance <= 0 ? 1 : std::erfc(std::abs(a - b) / std::sqrt(2 * variance));
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return values.size() % 2 == 1 ? *middle : (*middle + *std::max_element(values.begin(), middle)) / 2;
}

std::pair<double, double> ratio_interval(const std::vector<std::vector<double>>& a,
                                         const std::vector<std::vector<double>>& b) {
  std::mt19937_64 random(0);
  std::vector<double> ratios(1000);
  for (double& ratio : ratios) {
    const double speed_a = resampled_median(a, random);
    ratio = resampled_median(b, random) / speed_a;
  }
  std::sort(ratios.begin(), ratios.end());
  return {ratios[24], ratios[974]};
}

}  // namespace lra::report
