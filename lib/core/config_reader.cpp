#include "core/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/suggest.h"

namespace lra {

void LayeredJson::merge(const Json& layer, const std::string& origin) { merge_at(json_, layer, "", origin); }

void LayeredJson::merge_at(Json& target, const Json& layer, const std::string& pointer, const std::string& origin) {
  for (const auto& [key, value] : layer.items()) {
    const std::string child = pointer + "/" + key;
    origins_[child] = origin;
    if (value.is_object() && target.contains(key) && target[key].is_object()) {
      merge_at(target[key], value, child, origin);
    } else {
      target[key] = value;
      origins_.erase(origins_.lower_bound(child + "/"), origins_.lower_bound(child + "0"));  // '0' follows '/' in ASCII
    }
  }
}

std::string LayeredJson::origin(const std::string& pointer) const {
  for (std::string place = pointer; !place.empty(); place.erase(place.rfind('/'))) {
    const auto found = origins_.find(place);
    if (found != origins_.end()) return found->second;
  }
  return "the configuration";
}

std::string shortened(const Json& value) {
  const std::string text = json_text(value);
  if (text.size() <= 40) return text;
  std::size_t end = 37;
  while ((static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // in the middle of a UTF-8 character
  return text.substr(0, end) + "...";
}

namespace {

template <class T>
std::string interval(Range<T> range) {
  const bool low = range.low > std::numeric_limits<T>::lowest();
  const bool high = range.high < std::numeric_limits<T>::max();
  if (low && high) return fmt::format(" between {} and {}", range.low, range.high);
  if (low) return fmt::format(" of at least {}", range.low);
  return high ? fmt::format(" of at most {}", range.high) : "";
}

}  // namespace

ConfigReader::ConfigReader(const LayeredJson& source, std::string pointer)
    : source_(source), pointer_(std::move(pointer)) {
  const Json::json_pointer place(pointer_);
  object_ = source.json().contains(place) ? source.json().at(place) : Json::object();
  if (!object_.is_object()) {
    throw Error(
        fmt::format("{}: {}: expected an object, found {}", source_.origin(pointer_), pointer_, shortened(object_)));
  }
}

void ConfigReader::fail(const std::string& key, const std::string& message, const std::string& hint) const {
  const std::string place = pointer_ + "/" + key;
  throw Error(fmt::format("{}: {}: {}", source_.origin(place), place, message), hint);
}

const Json* ConfigReader::find(const char* key) {
  asked_.emplace_back(key);
  const auto found = object_.find(key);
  return found == object_.end() ? nullptr : &*found;
}

Json ConfigReader::raw(const char* key) {
  const Json* value = find(key);
  return value == nullptr ? Json() : *value;
}

void ConfigReader::integer(const char* key, std::int64_t& value, Range<std::int64_t> range, const char*) {
  const Json* found = find(key);
  if (found == nullptr) return;
  const Json whole = canonical(*found);  // 1e3 is an integer
  if (!whole.is_number_integer()) fail(key, fmt::format("expected an integer, found {}", shortened(*found)));
  const auto number = whole.get<std::int64_t>();
  const bool overflow = whole.is_number_unsigned();
  if (overflow || number < range.low || number > range.high) {
    fail(key, fmt::format("expected an integer{}, found {}", interval(range), shortened(*found)));
  }
  value = number;
}

void ConfigReader::number(const char* key, double& value, Range<double> range, const char*) {
  const Json* found = find(key);
  if (found == nullptr) return;
  if (!found->is_number()) fail(key, fmt::format("expected a number, found {}", shortened(*found)));
  const auto number = found->get<double>();
  if (!std::isfinite(number) || number < range.low || number > range.high) {
    fail(key, fmt::format("expected a number{}, found {}", interval(range), shortened(*found)));
  }
  value = number;
}

void ConfigReader::boolean(const char* key, bool& value, const char*) {
  const Json* found = find(key);
  if (found == nullptr) return;
  if (!found->is_boolean()) fail(key, fmt::format("expected true or false, found {}", shortened(*found)));
  value = found->get<bool>();
}

void ConfigReader::text(const char* key, std::string& value, const char*) {
  const Json* found = find(key);
  if (found == nullptr) return;
  if (!found->is_string()) fail(key, fmt::format("expected a text, found {}", shortened(*found)));
  value = found->get<std::string>();
}

void ConfigReader::integers(const char* key, std::vector<std::int64_t>& values, Range<std::int64_t> range,
                            const char*) {
  const Json* found = find(key);
  if (found == nullptr) return;
  const auto good = [&](const Json& item) {
    return item.is_number_integer() && item >= range.low && item <= range.high;
  };
  const Json list = canonical(*found);
  if (!list.is_array() || !std::all_of(list.begin(), list.end(), good)) {
    fail(key, fmt::format("expected a list of integers{}, found {}", interval(range), shortened(*found)));
  }
  values = list.get<std::vector<std::int64_t>>();
}

void ConfigReader::choice(const char* key, std::string& value, const std::vector<std::string>& allowed,
                          const char* doc) {
  std::string chosen = value;
  text(key, chosen, doc);
  if (std::find(allowed.begin(), allowed.end(), chosen) == allowed.end()) {
    fail(key, fmt::format("expected one of {}, found \"{}\"", fmt::join(allowed, ", "), chosen),
         suggestion(chosen, allowed));
  }
  value = chosen;
}

void ConfigReader::finish() const {
  for (const auto& [key, value] : object_.items()) {
    if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) fail(key, "unknown key", suggestion(key, asked_));
  }
}

namespace {

template <class T>
Json bounded(const char* type, T value, Range<T> range, const char* doc) {
  Json schema = {{"type", type}, {"description", doc}, {"default", value}};
  if (range.low > std::numeric_limits<T>::lowest()) schema["minimum"] = range.low;
  if (range.high < std::numeric_limits<T>::max()) schema["maximum"] = range.high;
  return schema;
}

}  // namespace

void SchemaWriter::integer(const char* key, std::int64_t& value, Range<std::int64_t> range, const char* doc) {
  properties_[key] = bounded("integer", value, range, doc);
}
void SchemaWriter::number(const char* key, double& value, Range<double> range, const char* doc) {
  properties_[key] = bounded("number", value, range, doc);
}
void SchemaWriter::boolean(const char* key, bool& value, const char* doc) {
  properties_[key] = {{"type", "boolean"}, {"description", doc}, {"default", value}};
}
void SchemaWriter::text(const char* key, std::string& value, const char* doc) {
  properties_[key] = {{"type", "string"}, {"description", doc}, {"default", value}};
}
void SchemaWriter::integers(const char* key, std::vector<std::int64_t>& values, Range<std::int64_t> range,
                            const char* doc) {
  Json items = bounded("integer", std::int64_t{0}, range, doc);
  items.erase("default");
  items.erase("description");
  properties_[key] = {{"type", "array"}, {"items", items}, {"description", doc}, {"default", values}};
}
void SchemaWriter::choice(const char* key, std::string& value, const std::vector<std::string>& allowed,
                          const char* doc) {
  properties_[key] = {{"enum", allowed}, {"description", doc}, {"default", value}};
}

}  // namespace lra
