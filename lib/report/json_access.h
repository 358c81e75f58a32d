#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/json_file.h"

namespace lra::report {

// The value at a place ("/config/seed") of a record.

/// Null where there is none, or a null.
const Json* find(const Json& json, const std::string& place);

/// Empty where there is no whole number of at most 1e15 in magnitude, so that sums of them do not overflow.
std::optional<std::int64_t> integer(const Json& json, const std::string& place);

/// Empty where there is no text.
std::string text(const Json& json, const std::string& place);

}  // namespace lra::report
