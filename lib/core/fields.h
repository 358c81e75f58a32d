#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace lra {

/// Closed interval of allowed values.
template <class T>
struct Range {
  T low = std::numeric_limits<T>::lowest();
  T high = std::numeric_limits<T>::max();
};

// Products of two such sizes fit into 64 bits.
inline constexpr std::int64_t largest_size = 2147483647;
inline constexpr Range<std::int64_t> positive{1, largest_size};
inline constexpr Range<std::int64_t> not_negative{0, largest_size};
inline constexpr Range<double> fraction{0.0, 1.0};
inline constexpr Range<double> not_negative_number{0.0, 3.4e38};  // computed with in float32

/// One definition of a configuration's keys serves reading, writing and the JSON Schema: a struct of options has
/// `void describe(FieldVisitor& fields)` that names each of its members once. `doc` is one line for people.
class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;
  virtual void integer(const char* key, std::int64_t& value, Range<std::int64_t> range, const char* doc) = 0;
  virtual void number(const char* key, double& value, Range<double> range, const char* doc) = 0;
  virtual void boolean(const char* key, bool& value, const char* doc) = 0;
  virtual void text(const char* key, std::string& value, const char* doc) = 0;
  virtual void integers(const char* key, std::vector<std::int64_t>& values, Range<std::int64_t> range,
                        const char* doc) = 0;
  virtual void choice(const char* key, std::string& value, const std::vector<std::string>& allowed,
                      const char* doc) = 0;
};

}  // namespace lra
