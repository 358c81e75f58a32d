#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "report/collect.h"

namespace lra::report {

/// A mean over records. `error` is the standard deviation over seeds (or records) where there are several; of a single
/// test accuracy it is the binomial standard error of the test set, of a single speed the interquartile range over its
/// steps. `error_kind` says which.
struct Summary {
  double mean = 0;
  double error = 0;
  std::string error_kind;  ///< "sd over seeds" | "sd over records" | "binomial SE" | "IQR over steps" | ""
  std::int64_t n = 0;
};

/// Mean and standard deviation of at least one value.
Summary summarise(const std::vector<double>& values, const char* error_kind);

/// What `get` (std::optional of a Result) gives for the records that have it.
template <class Get>
std::vector<double> values_of(const std::vector<const Result*>& results, Get get) {
  std::vector<double> values;
  for (const Result* result : results) {
    if (const auto value = get(*result)) values.push_back(static_cast<double>(*value));
  }
  return values;
}

template <class Get>
std::optional<double> mean_of(const std::vector<const Result*>& results, Get get) {
  const auto values = values_of(results, get);
  if (values.empty()) return std::nullopt;
  return summarise(values, "").mean;
}

}  // namespace lra::report
