#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

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
  CHECK(other_load({10, 100, 5}, {12, 101, 6.5}).value() == 0);          // counted in hundredths: never negative
  CHECK_FALSE(other_load({10, 100, 5}, {10.05, 100.1, 5}).has_value());  // too short to know
  CHECK_FALSE(other_load({10, 0, 5}, {12, 0, 6}).has_value());           // there is no /proc/stat
  CHECK(other_load({10, 100, 5, 7}, {12, 103.5, 6.5, 8}).value() ==
        Approx(0.5));  // runs of the same suite are no others
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

TEST_CASE(
    "The work of a suite's runs counts for the suite, while they run and afterwards, and not for other programs") {
  if (cpu_times().all == 0) SKIP("no /proc/stat");
  join_suite(::getpid());
  const CpuTimes from = cpu_times();
  const pid_t run = ::fork();
  if (run == 0) {
    volatile double sum = 0;
    while (cpu_times().own < 0.4) sum = sum + 1;
    ::pause();
  }
  while (cpu_times().suite - from.suite < 0.3) ::usleep(10000);
  const Load load = load_since(from);
  const CpuTimes to = cpu_times();
  CHECK(load.suite.value() > 0);
  CHECK(load.during.value() == Approx(other_load(from, to).value()).margin(0.3));
  CHECK(other_load(from, to).value() <
        other_load(CpuTimes{from.moment, from.all, from.own}, CpuTimes{to.moment, to.all, to.own}).value());
  ::kill(run, SIGKILL);
  ::waitpid(run, nullptr, 0);
  const CpuTimes after = cpu_times();
  CHECK(after.own - from.own > 0.25);
  CHECK(after.suite - from.suite < 0.1);
}

TEST_CASE("A speed is not to be trusted beside other programs or when it varies") {
  const Measured steady{.median = 100, .spread = 20, .count = 20, .samples = {}},
      unsteady{.median = 100, .spread = 40, .count = 20, .samples = {}};
  CHECK(disturbance({0.0, 0.4}, steady).empty());
  CHECK(disturbance({}, steady).empty());
  CHECK(disturbance({0.0, 1.84}, steady) == "other programs used 1.8 cores");
  CHECK(disturbance({1.84, {}}, steady) == "other programs used 1.8 cores");
  CHECK(disturbance({1.84, 0.1}, steady).empty());  // they had ended
  CHECK(disturbance({0.0, 0.4}, unsteady) == "spread is 40 % of the median");
  CHECK(disturbance({0.0, 0.6}, unsteady) == "other programs used 0.6 cores, spread is 40 % of the median");
  CHECK(disturbance({0.0, 0.4, 0.6}, steady) == beside_another_run);
  CHECK(disturbance({0.0, 0.6, 0.6}, steady) ==
        "other programs used 0.6 cores, trained beside another run of this suite");
  CHECK(disturbance({0.0, 0.4, 0.4}, steady).empty());
  CHECK(Load{0.123, 1.456, 0.7}.to_json() == Json{{"before", 0.12}, {"during", 1.46}, {"suite", 0.7}});
  CHECK(Load{0.123, 1.456}.to_json() == Json{{"before", 0.12}, {"during", 1.46}});
  CHECK(Load{}.to_json() == Json::object());
}
