#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "core/load.h"

using namespace lra;
using Catch::Approx;

namespace {

// Two cores; a guest's time (the last two numbers) is part of `user` and `nice`.
constexpr const char* stat_text =
    "cpu  1000 20 300 9000 50 6 7 80 500 10\n"
    "cpu0 600 20 200 4000 50 6 7 80 500 10\n"
    "cpu1 400 0 100 5000 0 0 0 0 0 0\n"
    "intr 12345 0 0\n"
    "ctxt 99\n";

}  // namespace

TEST_CASE("CPU time of all programs: the usable cores, without idle time and without counting guests twice") {
  CHECK(busy_seconds(stat_text, 100, [](int) { return true; }) == Approx(14.13));
  CHECK(busy_seconds(stat_text, 100, [](int core) { return core == 1; }) == Approx(5));
  CHECK(busy_seconds("", 100, [](int) { return true; }) == 0);
}

TEST_CASE("Others' load is what all used less what this process used, by the time between") {
  CHECK(other_load({10, 100, 5}, {12, 103.5, 6.5}).value() == Approx(1));
  CHECK(other_load({10, 100, 5}, {12, 101, 6.5}).value() == 0);           // counted in hundredths: never negative
  CHECK_FALSE(other_load({10, 100, 5}, {10.05, 100.1, 5}).has_value());   // too short to know
  CHECK_FALSE(other_load({10, 0, 5}, {12, 0, 6}).has_value());            // there is no /proc/stat
}

TEST_CASE("This process's own work counts for all and for itself") {
  const CpuTimes from = cpu_times();
  if (from.all == 0) SKIP("no /proc/stat");
  volatile double sum = 0;
  while (cpu_times().own - from.own < 0.3) sum = sum + 1;
  const CpuTimes to = cpu_times();
  CHECK(to.all - from.all > 0.2);
  CHECK(to.moment - from.moment >= 0.29);
  CHECK(from.all >= cpu_times_at_start().all);
}

TEST_CASE("A speed is not to be trusted beside other programs or when it varies") {
  const Measured steady{.median = 100, .spread = 20, .count = 20, .samples = {}}, unsteady{.median = 100, .spread = 40, .count = 20, .samples = {}};
  CHECK(disturbance({0.0, 0.4}, steady).empty());
  CHECK(disturbance({}, steady).empty());
  CHECK(disturbance({0.0, 1.84}, steady) == "other programs used 1.8 cores");
  CHECK(disturbance({1.84, {}}, steady) == "other programs used 1.8 cores");
  CHECK(disturbance({1.84, 0.1}, steady).empty());  // they had ended
  CHECK(disturbance({0.0, 0.4}, unsteady) == "spread is 40 % of the median");
  CHECK(disturbance({0.0, 0.6}, unsteady) == "other programs used 0.6 cores, spread is 40 % of the median");
  CHECK(Load{0.123, 1.456}.to_json() == Json{{"before", 0.12}, {"during", 1.46}});
  CHECK(Load{}.to_json() == Json::object());
}
