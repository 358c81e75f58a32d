#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/fields.h"
#include "core/json_file.h"
#include "core/text.h"

namespace lra {

/// A value as messages show it: its JSON, cut after 40 bytes.
std::string shortened(const Json& value);

/// A JSON object assembled from layers, that knows which file (or "the command line") each value came from.
class LayeredJson {
 public:
  /// Merges `layer` over what is there: objects key by key, everything else replaced.
  void merge(const Json& layer, const std::string& origin);

  const Json& json() const { return json_; }
  /// Who set the value at this JSON pointer ("/mixer_options/k"): itself, or else its nearest parent.
  std::string origin(const std::string& pointer) const;

 private:
  void merge_at(Json& target, const Json& layer, const std::string& pointer, const std::string& origin);

  Json json_ = Json::object();
  std::map<std::string, std::string> origins_;
};

/// Reads the members of an options struct from JSON, with types and ranges checked, and remembers which keys were asked
/// for. Every error names the origin, the JSON pointer, what was expected and what was found.
class ConfigReader : public FieldVisitor {
 public:
  /// Reads the object at `pointer` ("" for the whole).
  explicit ConfigReader(const LayeredJson& source, std::string pointer = {});

  void integer(const char* key, std::int64_t& value, Range<std::int64_t> range, const char* doc) override;
  void number(const char* key, double& value, Range<double> range, const char* doc) override;
  void boolean(const char* key, bool& value, const char* doc) override;
  void text(const char* key, std::string& value, const char* doc) override;
  void integers(const char* key, std::vector<std::int64_t>& values, Range<std::int64_t> range,
                const char* doc) override;
  void choice(const char* key, std::string& value, const std::vector<std::string>& allowed, const char* doc) override;

  /// The raw value of a key (null if absent), counted as read.
  Json raw(const char* key);

  /// Throws Error for the first key that nobody asked for, with the nearest known key as a suggestion.
  void finish() const;

  /// Throws Error about `key`: "<origin>: <pointer>: <message>".
  [[noreturn]] void fail(const std::string& key, const std::string& message, const std::string& hint = {}) const;

 private:
  const Json* find(const char* key);

  const LayeredJson& source_;
  std::string pointer_;
  Json object_;
  std::vector<std::string> asked_;
};

/// Writes the members of an options struct as a JSON object.
class ConfigWriter : public FieldVisitor {
 public:
  explicit ConfigWriter(Json& object) : object_(object) {}
  void integer(const char* key, std::int64_t& value, Range<std::int64_t>, const char*) override {
    object_[key] = value;
  }
  void number(const char* key, double& value, Range<double>, const char*) override { object_[key] = value; }
  void boolean(const char* key, bool& value, const char*) override { object_[key] = value; }
  void text(const char* key, std::string& value, const char*) override { object_[key] = valid_utf8(value); }
  void integers(const char* key, std::vector<std::int64_t>& values, Range<std::int64_t>, const char*) override {
    object_[key] = values;
  }
  void choice(const char* key, std::string& value, const std::vector<std::string>&, const char*) override {
    object_[key] = value;
  }

 private:
  Json& object_;
};

/// Writes the members of an options struct as `properties` of a JSON Schema (draft 2020-12).
class SchemaWriter : public FieldVisitor {
 public:
  explicit SchemaWriter(Json& properties) : properties_(properties) {}
  void integer(const char* key, std::int64_t& value, Range<std::int64_t> range, const char* doc) override;
  void number(const char* key, double& value, Range<double> range, const char* doc) override;
  void boolean(const char* key, bool& value, const char* doc) override;
  void text(const char* key, std::string& value, const char* doc) override;
  void integers(const char* key, std::vector<std::int64_t>& values, Range<std::int64_t> range,
                const char* doc) override;
  void choice(const char* key, std::string& value, const std::vector<std::string>& allowed, const char* doc) override;

 private:
  Json& properties_;
};

/// All members of `options` as a JSON object.
template <class Options>
Json to_json_object(Options options) {
  Json object = Json::object();
  ConfigWriter writer(object);
  options.describe(writer);
  return object;
}

/// `options` read from `json` (an object that came from `origin`); keys that the struct does not have are errors.
template <class Options>
Options from_json_object(const Json& json, const std::string& origin) {
  LayeredJson source;
  source.merge(json, origin);
  ConfigReader reader(source);
  Options options;
  options.describe(reader);
  reader.finish();
  return options;
}

/// Options with every default filled in, from the object at `pointer`; unknown keys and values out of range are Errors
/// that name their origin.
template <class Options>
Json resolve_options(const LayeredJson& source, const std::string& pointer) {
  ConfigReader reader(source, pointer);
  Options options;
  options.describe(reader);
  reader.finish();
  return to_json_object(options);
}

/// JSON Schema `properties` of the options.
template <class Options>
Json options_schema() {
  Json properties = Json::object();
  SchemaWriter writer(properties);
  Options options;
  options.describe(writer);
  return properties;
}

/// For mixers and tasks without options.
struct NoOptions {
  void describe(FieldVisitor&) {}
};

}  // namespace lra
