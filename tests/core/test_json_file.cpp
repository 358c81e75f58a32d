#include <catch2/catch_test_macros.hpp>

#include "core/json_file.h"

using namespace lra;

TEST_CASE("Values that mean the same have one canonical form") {
  const auto same = [](const char* a, const char* b) {
    return canonical(parse_json(a, "a")).dump() == canonical(parse_json(b, "b")).dump();
  };
  CHECK(same("0.0", "0"));
  CHECK(same("-0.0", "0"));
  CHECK(same("1e3", "1000"));
  CHECK(same(R"({"a": 1, "b": [{"x": 2.0, "y": 0.1}]})", R"({"b": [{"y": 0.10, "x": 2}], "a": 1.0})"));
  CHECK_FALSE(same("0.5", "0"));
  CHECK_FALSE(same("1", "true"));
  CHECK_FALSE(same("1", "\"1\""));
  CHECK_FALSE(same("[1, 2]", "[2, 1]"));
  CHECK_FALSE(same("9007199254740993", "9007199254740992"));
  CHECK(same("18446744073709551615", "18446744073709551615"));
}
