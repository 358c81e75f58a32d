#include "report/json_access.h"

#include <cmath>

namespace lra::report {

const Json* find(const Json& json, const std::string& place) {
  const Json::json_pointer pointer(place);
  if (!json.contains(pointer)) return nullptr;
  const Json& value = json.at(pointer);
  return value.is_null() ? nullptr : &value;
}

std::optional<std::int64_t> integer(const Json& json, const std::string& place) {
  const Json* value = find(json, place);
  if (value == nullptr || !value->is_number() || std::abs(value->get<double>()) > 1e15) return std::nullopt;
  const Json whole = canonical(*value);
  return whole.is_number_integer() ? std::optional(whole.get<std::int64_t>()) : std::nullopt;
}

std::string text(const Json& json, const std::string& place) {
  const Json* value = find(json, place);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

}  // namespace lra::report
