#include <algorithm>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <functional>
#include <random>
#include <stdexcept>

#include "core/config_files.h"
#include "report/growth.h"

namespace {

using namespace lra;
using namespace lra::report;
using Catch::Approx;

using Law = std::function<double(double)>;

const std::vector<std::int64_t> lengths = {16, 256, 512, 1024, 2048, 4096, 8192};
const std::vector<std::int64_t> long_lengths = {1024, 2048, 4096, 8192};

std::vector<std::pair<std::int64_t, double>> points_of(const Law& law, const std::vector<std::int64_t>& at = lengths) {
  std::vector<std::pair<std::int64_t, double>> points;
  for (const std::int64_t n : at) points.emplace_back(n, law(static_cast<double>(n)));
  return points;
}

Result bench(const std::string& variant, std::int64_t length, double seconds, double bytes) {
  const std::string mixer = variant.substr(0, variant.find('_'));
  Json record = {{"schema_version", 1},
                 {"kind", "bench"},
                 {"status", "ok"},
                 {"task", "bytes"},
                 {"mixer", mixer},
                 {"variant", variant},
                 {"display_name", "The " + variant},
                 {"profile", "small"},
                 {"sequence_length", length},
                 {"config", {{"batch_size", 1}, {"num_layers", 1}}},
                 {"host", {{"name", "a"}, {"device", "cpu"}}},
                 {"memory", {{"peak_tensor_bytes", std::llround(bytes)}}},
                 {"cost", {{"flops_per_step", 3.0 * static_cast<double>(length * length)}}}};
  for (const char* rate : {"train_steps_per_second", "train_examples_per_second"})
    record["speed"][rate] = {{"median", 1 / seconds}, {"spread", 0.1 / seconds}, {"count", 20}};
  return parse_result(record, variant + std::to_string(length));
}

Result failed(const std::string& variant, std::int64_t length) {
  Result result = bench(variant, length, 1, 1);
  result.status = "oom";
  return result;
}

void add(std::vector<Result>& results, const std::string& variant, const Law& seconds, const Law& bytes,
         const std::vector<std::int64_t>& at = lengths) {
  for (const std::int64_t n : at)
    results.push_back(bench(variant, n, seconds(static_cast<double>(n)), bytes(static_cast<double>(n))));
}

const GrowthRow& row_of(const GrowthSet& set, const std::string& variant) {
  for (const GrowthRow& row : set.rows) {
    if (row.variant == variant) return row;
  }
  throw std::runtime_error("no row " + variant);
}

}  // namespace

TEST_CASE("the fit gives back the exponent of a known law", "[report]") {
  for (const double p : {0.5, 1.0, 1.5, 2.0}) {
    const auto law = fit_power_law(points_of([&](double n) { return 3 + 2e-3 * std::pow(n, p); }), long_lengths);
    REQUIRE(law);
    CHECK(law->exponent == Approx(p).epsilon(1e-9));
    CHECK(law->constant == Approx(3).epsilon(1e-9));
    CHECK(law->factor == Approx(2e-3).epsilon(1e-7));
    CHECK(law->low == Approx(p).epsilon(1e-6));
    CHECK((law->subtracted && law->n == 4 && law->first == 1024 && law->last == 8192));
  }
  // Nothing is measured where the constant alone counts: it is not guessed, and pulls the exponent down.
  const auto constant =
      fit_power_law(points_of([](double n) { return 3 + 2e-3 * n; }, {512, 1024, 2048, 4096}), {1024, 2048, 4096});
  REQUIRE(constant);
  CHECK_FALSE(constant->subtracted);
  CHECK(constant->constant == 0);
  CHECK(constant->exponent < 0.8);
  CHECK_FALSE(fit_power_law(points_of([](double n) { return n; }), {4096, 8192}));
  CHECK_FALSE(fit_power_law(points_of([](double n) { return n < 100 ? 9.0 : 5.0; }),
                            long_lengths));  // all below the shortest length's
}

// By hand: log2 y = 0 1 4 at log2 N = 10 11 12 has slope 2 and residuals 1/3 -2/3 1/3, so s² = 2/3, standard error
// √(1/3), and t(1; 0.975) = 12.7062.
TEST_CASE("the interval of an exponent is that of least squares", "[report]") {
  const auto law = fit_power_law({{1024, 1}, {2048, 2}, {4096, 16}}, long_lengths);
  REQUIRE(law);
  CHECK(law->exponent == Approx(2));
  CHECK(law->high - law->exponent == Approx(12.7062 * std::sqrt(1.0 / 3)));
  CHECK(law->exponent - law->low == Approx(12.7062 * std::sqrt(1.0 / 3)));
  // 9 points: t(7; 0.975) = 2.3646 (SciPy 1.17.1), from the expansion.
  std::vector<std::pair<std::int64_t, double>> zigzag;
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < 9; ++i) {
    all.push_back(std::int64_t{128} << i);
    zigzag.emplace_back(all.back(), std::pow(2.0, static_cast<double>(i) + (i % 2 == 0 ? 0.5 : -0.5)));
  }
  const auto wide = fit_power_law(zigzag, all);
  REQUIRE(wide);
  CHECK(wide->exponent == Approx(1));
  // Residuals ± 1/2 less their mean 1/18: squares 9/4 - 9/324; Σ (x - mean)² = 60.
  CHECK(wide->high - wide->exponent == Approx(2.3646 * std::sqrt((9.0 / 4 - 9.0 / 324) / 7 / 60)).epsilon(1e-3));
}

TEST_CASE("the interval covers the exponent of noisy measurements as often as it says", "[report]") {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal(0, 0.05);
  int covered = 0;
  for (int i = 0; i < 1000; ++i) {
    auto points = points_of([&](double n) { return 2e-6 * std::pow(n, 1.7) * std::exp(normal(random)); });
    const auto law = fit_power_law(points, long_lengths);
    REQUIRE(law);
    if (law->low <= 1.7 && 1.7 <= law->high) ++covered;
  }
  CHECK(covered > 920);
  CHECK(covered < 980);
}

TEST_CASE("one model is below another from a length on, always or never", "[report]") {
  const auto line = points_of([](double n) { return n; });
  const auto kind = [&](const Law& law) { return crossing(points_of(law), line)->kind; };
  CHECK(kind([](double n) { return n / 2; }) == Crossing::Kind::always);
  CHECK(kind([](double n) { return n * 2; }) == Crossing::Kind::never);
  CHECK(kind([](double n) { return n; }) == Crossing::Kind::never);
  CHECK(kind([](double n) { return n < 5000 ? n / 2 : n * 2; }) ==
        Crossing::Kind::never);  // below, but not at the longest
  // √N crosses N / 30 at 900, between 512 and 1024: two straight lines of logarithms.
  const auto from = crossing(points_of([](double n) { return 30 * std::sqrt(n); }), line);
  REQUIRE(from);
  CHECK(from->kind == Crossing::Kind::from);
  CHECK(from->length == Approx(900));
  CHECK((from->first == 16 && from->last == 8192));
  // Below at 256 already, but only from the last crossing on for good.
  const auto twice = crossing(points_of([](double n) { return n == 256 || n > 2000 ? n / 2 : n * 2; }), line);
  CHECK(twice->kind == Crossing::Kind::from);
  CHECK(twice->length == Approx(std::sqrt(1024.0 * 2048)));
  // Only what both have is compared.
  const auto common = crossing(line, points_of([](double n) { return n + 1; }, {8, 256, 1024, 16384}));
  REQUIRE(common);
  CHECK(common->kind == Crossing::Kind::always);
  CHECK((common->first == 256 && common->last == 1024));
  CHECK_FALSE(crossing(line, {}));
}

TEST_CASE("growth with the length from bench records", "[report]") {
  std::vector<Result> results;
  const Law base_time = [](double n) { return 1e-3 + 1e-6 * n; }, base_memory = [](double n) { return 1e6 + 4e3 * n; };
  add(results, "none", base_time, base_memory);
  add(
      results, "softmax", [&](double n) { return base_time(n) + 4e-9 * n * n; },
      [&](double n) { return base_memory(n) + 8 * n * n; });
  add(
      results, "flash", [&](double n) { return base_time(n) + 2e-9 * n * n; },
      [&](double n) { return base_memory(n) + 512 * n; });
  add(
      results, "linear", [&](double n) { return base_time(n) + 4e-6 * n; },
      [&](double n) { return base_memory(n) + 8192 * n; });
  add(results, "fnet", [&](double n) { return base_time(n) * 0.99; }, base_memory);
  add(
      results, "efficient", [&](double n) { return base_time(n) * 1.04; },
      [&](double n) { return base_memory(n) * 1.04; });
  add(results, "reformer", [&](double n) { return 5 * base_time(n); }, base_memory, {16, 256, 512, 1024, 2048, 4096});
  results.push_back(failed("reformer", 8192));
  add(results, "rfa", [](double n) { return n; }, [](double n) { return n; }, {16, 8192});
  results.push_back(bench("softmax_wide", 16, 1, 1));
  const auto sets = growth(compare_speed(results));
  REQUIRE(sets.size() == 1);
  const GrowthSet& set = sets[0];
  CHECK(set.lengths == lengths);
  CHECK(set.fitted == long_lengths);
  CHECK(set.condition.find("profile small") == 0);
  CHECK(set.rows[0].variant == "fnet");  // the fastest at 8,192

  const GrowthRow& softmax = row_of(set, "softmax");
  CHECK(softmax.label == "The softmax");
  CHECK(softmax.points.size() == 7);
  CHECK(softmax.points[3].length == 1024);
  CHECK(softmax.points[3].seconds == Approx(base_time(1024) + 4e-9 * 1024 * 1024));
  CHECK(softmax.points[3].seconds_spread == Approx(0.1));
  CHECK(softmax.points[3].share == Approx(1 - base_time(1024) / (base_time(1024) + 4e-9 * 1024 * 1024)));
  CHECK(softmax.time->exponent < softmax.mixer_time->exponent);
  CHECK(softmax.mixer_time->exponent == Approx(2).epsilon(1e-6));
  CHECK(softmax.mixer_memory->exponent == Approx(2).epsilon(1e-6));
  CHECK(softmax.flops->exponent == Approx(2).epsilon(1e-6));
  CHECK(softmax.declared_time == 2);
  CHECK_FALSE(softmax.faster_than_softmax);
  CHECK(softmax.faster_than_flash->kind == Crossing::Kind::never);

  // 4e-6 N = 4e-9 N² at 1,000 tokens, but for the straight line between 512 and 1,024; no later than flash at 2,000.
  const GrowthRow& linear = row_of(set, "linear");
  CHECK(linear.time->exponent == Approx(1).epsilon(1e-6));
  CHECK(linear.memory->exponent == Approx(1).epsilon(1e-6));
  CHECK(linear.mixer_time->exponent == Approx(1).epsilon(1e-6));
  CHECK(linear.faster_than_softmax->kind == Crossing::Kind::from);
  CHECK(linear.faster_than_softmax->length == Approx(1000).epsilon(0.02));
  CHECK(linear.faster_than_flash->length == Approx(2000).epsilon(0.02));
  CHECK(linear.smaller_than_softmax->length == Approx(1024));  // equal there: smaller beyond
  CHECK(linear.smaller_than_flash->kind == Crossing::Kind::never);
  CHECK(row_of(set, "flash").smaller_than_softmax->length < 256);

  const GrowthRow& fnet = row_of(set, "fnet");  // no dearer than `none`: nothing to fit beyond it
  CHECK_FALSE(fnet.mixer_time);
  CHECK_FALSE(fnet.mixer_memory);
  CHECK(fnet.points[3].share == 0);
  CHECK_FALSE(row_of(set, "efficient").mixer_time);  // 4 % dearer may be noise
  CHECK_FALSE(row_of(set, "efficient").mixer_memory);

  const GrowthRow& reformer = row_of(set, "reformer");  // out of memory at the longest length
  CHECK(reformer.points.back().status == "oom");
  CHECK_FALSE(reformer.points.back().seconds);
  CHECK((reformer.time->n == 3 && reformer.time->last == 4096));
  CHECK(reformer.faster_than_softmax->last == 4096);
  CHECK_FALSE(row_of(set, "rfa").time);

  // Without `none` no share and nothing beyond it; with three lengths no set.
  results.erase(std::remove_if(results.begin(), results.end(), [](const Result& r) { return r.mixer == "none"; }),
                results.end());
  const auto without = growth(compare_speed(results));
  CHECK_FALSE(row_of(without.at(0), "linear").mixer_time);
  CHECK_FALSE(row_of(without.at(0), "linear").points[3].share);
  CHECK(row_of(without.at(0), "linear").time);
  results.clear();
  add(results, "linear", base_time, base_memory, {16, 1024, 2048});
  CHECK(growth(compare_speed(results)).empty());
  // Few long lengths: all but the shortest are fitted.
  add(results, "linear", base_time, base_memory, {256, 512});
  CHECK(growth(compare_speed(results)).at(0).fitted == std::vector<std::int64_t>{256, 512, 1024, 2048});
}

TEST_CASE("every mixer's configuration declares how time and memory grow", "[report]") {
  for (const std::string& mixer : config_names("mixers")) {
    INFO(mixer);
    const Json config = named_config("mixers", mixer);
    REQUIRE(config.contains("growth"));
    CHECK(config["growth"].size() == 2);
    for (const char* of : {"time", "memory"}) {
      const double exponent = config["growth"].at(of).get<double>();
      CHECK((exponent >= 1 && exponent <= 2));
    }
    CHECK_NOTHROW(layer_run({{"task", "bytes"}, {"mixer", mixer}, {"profile", "small"}}, "test", Json::object()));
  }
}
