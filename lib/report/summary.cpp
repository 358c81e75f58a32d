#include "report/summary.h"

#include <cmath>
#include <numeric>

namespace lra::report {

Summary summarise(const std::vector<double>& values, const char* error_kind) {
  Summary summary;
  summary.n = static_cast<std::int64_t>(values.size());
  summary.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  if (values.size() < 2) return summary;
  double squares = 0;
  for (double value : values) squares += (value - summary.mean) * (value - summary.mean);
  summary.error = std::sqrt(squares / static_cast<double>(values.size() - 1));
  summary.error_kind = error_kind;
  return summary;
}

}  // namespace lra::report
