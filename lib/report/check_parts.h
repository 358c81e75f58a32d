#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "report/check.h"
#include "report/collect.h"

namespace lra::report {

/// The files that a record vouches for (`files`: name -> {bytes, sha256}) against those in its folder: a sentence for
/// each that is missing or another.
std::vector<std::string> check_files(const Json& record, const std::filesystem::path& folder);

/// What makes a record less than a measurement, by itself no fault: disturbed speed, incomplete data, sequences that
/// are cut. `file` of the findings is empty.
std::vector<Finding> check_quality(const Result& result);

/// Values that no run has: shares beyond 0 to 1, negative load, no threads.
std::vector<std::string> check_values(const Json& record);

/// metrics.jsonl beside the record of a finished training against the record.
std::vector<std::string> check_curve(const Result& result, const Json& record);

/// LRA's rule: at most 10 % more parameters than the Transformer of the same sizes.
std::vector<Finding> check_parameters(const std::vector<Result>& results);

}  // namespace lra::report
