#include <sys/wait.h>

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>

#include "core/data_files.h"
#include "core/json_file.h"
#include "report/diff.h"
#include "report/significance.h"

namespace {

using namespace lra;
using namespace lra::report;
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

Json measured_json(std::vector<double> samples) {
  return {{"median", median(samples)}, {"spread", 1.0}, {"count", samples.size()}, {"samples", samples}};
}

Json train_record(std::int64_t seed, double accuracy) {
  return {{"schema_version", 1},
          {"kind", "train"},
          {"status", "ok"},
          {"task", "listops"},
          {"mixer", "linear"},
          {"variant", "linear"},
          {"profile", "small"},
          {"seed", seed},
          {"config",
           {{"seq_len", 128},
            {"train_steps", 1500},
            {"batch_size", 64},
            {"seed", seed},
            {"mixer_options", {{"k", 4}, {"l", 5}}}}},
          {"metrics", {{"test_accuracy", accuracy}, {"test_examples", 4000}}},
          {"speed", {{"train_examples_per_second", measured_json({99, 100, 101})}}},
          {"memory", {{"peak_tensor_bytes", 1000}}},
          {"host", {{"name", "a"}, {"cpu", "x"}, {"device", "cpu"}, {"threads", 2}, {"allocator", "caching"}}},
          {"data", {{"train", {{"sha256", "1"}}}, {"test", {{"sha256", "2"}}}}}};
}

struct Sides {
  TestFolder folder{"diff"};
  fs::path a = folder.path / "a", b = folder.path / "b";
  int written = 0;

  void add(const fs::path& side, const Json& record) {
    write_json(side / std::to_string(written++) / "result.json", record);
  }
  Diff compared(const Tolerance& tolerance = {}) const { return diff(a, b, tolerance); }
};

/// The only row of one record against another.
DiffRow row_of(const Json& a, const Json& b, const Tolerance& tolerance = {}) {
  Sides sides;
  sides.add(sides.a, a);
  sides.add(sides.b, b);
  const Diff result = sides.compared(tolerance);
  REQUIRE(result.rows.size() == 1);
  CHECK(result.within() == (result.rows[0].verdict == "within"));
  return result.rows[0];
}

}  // namespace

TEST_CASE("p-values are those of SciPy 1.17", "[report]") {
  // 2 * scipy.stats.t.sf(t, degrees)
  CHECK(student_t_p(2, 10) == Approx(0.07338803477074037).epsilon(1e-12));
  CHECK(student_t_p(-1, 1) == Approx(0.5).epsilon(1e-12));
  CHECK(student_t_p(12.706204736432095, 1) == Approx(0.05).epsilon(1e-10));  // the 97.5 % quantile in every table
  CHECK(student_t_p(0.5, 2.5) == Approx(0.6576979198697148).epsilon(1e-12));
  CHECK(student_t_p(8, 3.7) == Approx(0.0018250909626747335).epsilon(1e-12));
  CHECK(student_t_p(30, 200.5) == Approx(4.5825026750750586e-76).epsilon(1e-9));
  CHECK(student_t_p(0, 4) == 1);
  // scipy.stats.ttest_ind(a, b, equal_var=False)
  CHECK(welch_p({0.385, 0.392, 0.401}, {0.371, 0.366, 0.379, 0.38}) == Approx(0.031784923797139174).epsilon(1e-10));
  CHECK(welch_p({1, 1}, {1, 1}) == 1);
  CHECK(welch_p({1, 1}, {0.5, 0.5}) == 0);
  // The z-test's square is the chi-squared test: scipy.stats.chi2_contingency([[1540, 2460], [1440, 2560]],
  // correction=False)
  CHECK(two_proportion_p(0.385, 4000, 0.36, 4000) == Approx(0.020749189409302104).epsilon(1e-10));
  CHECK(two_proportion_p(0.45, 100, 0.38, 1000) == Approx(0.17046296481532291).epsilon(1e-10));
  CHECK(two_proportion_p(1, 10, 1, 20) == 1);
}

TEST_CASE("medians, and intervals of the ratio of two", "[report]") {
  CHECK(median({3, 1, 2}) == 2);
  CHECK(median({4, 1, 3, 2}) == 2.5);
  CHECK(ratio_interval({{2, 2, 2}}, {{3, 3}}) == std::pair(1.5, 1.5));
  std::vector<double> slow, fast;
  for (int i = 0; i < 100; ++i) {
    slow.push_back(100 + i % 21);
    fast.push_back(200 + i % 21);
  }
  const auto [low, high] = ratio_interval({slow}, {fast});
  CHECK(low < 210.0 / 110);
  CHECK(high > 210.0 / 110);
  CHECK(high - low < 0.1);
  CHECK(high - low > 0.01);
  CHECK(ratio_interval({slow}, {fast}) == std::pair(low, high));
  const auto [low_of_two, high_of_two] = ratio_interval({slow, fast}, {fast});  // runs vary more than their steps
  CHECK(high_of_two - low_of_two > 0.5);
}

TEST_CASE("a score has dropped where it is far and significant", "[report]") {
  DiffRow row = row_of(train_record(0, 0.385), train_record(0, 0.36));
  CHECK(row.verdict == "beyond");
  REQUIRE(row.score);
  CHECK(row.score->b - row.score->a == Approx(-2.5));
  CHECK(*row.score->p == Approx(0.020749189409302104));
  CHECK(row.score->test == "z-test over 4000 and 4000 examples");
  CHECK_THAT(row.beyond.at(0), ContainsSubstring("dropped by 2.50 points (p = 0.021, z-test"));
  CHECK(row_of(train_record(0, 0.36), train_record(0, 0.385)).verdict == "within");
  CHECK(row_of(train_record(0, 0.385), train_record(0, 0.36), {.max_score_drop = 2.6}).verdict == "within");
  CHECK(row_of(train_record(0, 0.385), train_record(0, 0.37)).verdict == "within");  // 1.5 points, p = 0.17

  Sides sides;
  for (const auto& [seed, accuracy] : {std::pair(0, 0.40), std::pair(1, 0.42), std::pair(2, 0.41)})
    sides.add(sides.a, train_record(seed, accuracy));
  for (const auto& [seed, accuracy] : {std::pair(0, 0.38), std::pair(1, 0.385), std::pair(2, 0.39), std::pair(2, 0.99)})
    sides.add(sides.b, train_record(seed, accuracy));
  row = sides.compared().rows.at(0);
  CHECK(row.score->a == Approx(41));
  CHECK(row.score->b == Approx(38.5));                  // the second record of seed 2 is not counted
  CHECK(*row.score->p == Approx(0.03156223162567838));  // SciPy
  CHECK(row.score->test == "Welch's t-test over 3 and 3 seeds");
  CHECK(row.verdict == "beyond");
}

TEST_CASE("speed and memory have thresholds", "[report]") {
  Json b = train_record(0, 0.385);
  b["speed"]["train_examples_per_second"] = measured_json({79, 80, 81});
  b["memory"]["peak_tensor_bytes"] = 1101;
  DiffRow row = row_of(train_record(0, 0.385), b);
  CHECK(row.speed->value() == Approx(0.8));
  CHECK(row.speed->interval->first >= 79.0 / 101);
  CHECK(row.speed->interval->second <= 81.0 / 99);
  CHECK(row.memory->value() == Approx(1.101));
  CHECK(row.beyond == std::vector<std::string>{"trains at 0.80 times the speed", "takes 1.10 times the memory"});
  CHECK(row_of(train_record(0, 0.385), b, {.min_speed = 0.79, .max_memory = 1.11}).verdict == "within");
  CHECK(row_of(b, train_record(0, 0.385)).verdict == "within");

  // Of a bench at batch 1 the samples of the steps serve.
  Json bench = train_record(0, 0.385);
  bench["kind"] = "bench";
  bench["config"]["batch_size"] = 1;
  bench["speed"] = {{"train_examples_per_second", {{"median", 100}}},
                    {"train_steps_per_second", measured_json({99, 100, 101})}};
  CHECK(row_of(bench, bench).speed->interval);
  bench["config"]["batch_size"] = 2;
  CHECK_FALSE(row_of(bench, bench).speed->interval);
}

TEST_CASE("what was measured under other conditions is not judged and not passed", "[report]") {
  Json slow = train_record(0, 0.30);
  slow["speed"]["train_examples_per_second"] = measured_json({10});
  for (const auto& [key, value] :
       {std::pair<const char*, Json>("threads", 1), {"name", "b"}, {"cpu", "y"}, {"device", "NVIDIA H100"}}) {
    Json b = slow;
    b["metrics"]["test_accuracy"] = 0.385;
    b["host"][key] = value;
    const DiffRow row = row_of(train_record(0, 0.385), b);
    CHECK(row.verdict == "not comparable");
    CHECK_THAT(row.not_comparable.at(0), ContainsSubstring("speed and memory not judged") && ContainsSubstring("in A"));
    b["metrics"]["test_accuracy"] = 0.30;  // the score still is judged
    CHECK(row_of(train_record(0, 0.385), b).verdict == "beyond");
  }
  Json b = slow;
  b["data"]["test"]["sha256"] = "3";
  const DiffRow row = row_of(train_record(0, 0.385), b);
  CHECK(row.verdict == "not comparable");
  CHECK(row.not_comparable == std::vector<std::string>{"score, speed and memory not judged: the data differ (test)"});
  b = train_record(0, 0.385);
  b.erase("data");
  CHECK(row_of(b, b).not_comparable.at(0) == "score, speed and memory not judged: data not recorded");
  b = train_record(0, 0.385);
  b["host"]["allocator"] = "system";  // may be what is compared
  CHECK(row_of(train_record(0, 0.385), b).notices == std::vector<std::string>{"allocator caching in A, system in B"});
  b["metrics"] = Json::object();
  CHECK(row_of(train_record(0, 0.385), b).not_comparable.at(0) == "no test accuracy in B");

  Sides sides;
  sides.add(sides.a, train_record(0, 0.385));
  b = train_record(0, 0.385);
  b["host"]["threads"] = 1;
  sides.add(sides.b, b);
  CHECK_FALSE(sides.compared().within());
  CHECK(sides.compared({.allow_incomparable = true}).within());
  CHECK_THAT(diff_text(sides.compared(), false),
             ContainsSubstring("threads 2 in A, 1 in B") && ContainsSubstring("1 not comparable"));
}

TEST_CASE("runs that end otherwise, or are missing, count", "[report]") {
  for (const char* status : {"oom", "nan", "failed", "timeout"}) {
    Json b = train_record(0, 0.385);
    b["status"] = status;
    CHECK(row_of(train_record(0, 0.385), b).beyond ==
          std::vector<std::string>{std::string("no longer ok: seed 0: ") + status});
    CHECK(row_of(b, train_record(0, 0.385)).verdict == "within");
    CHECK(row_of(b, b).verdict == "within");
  }
  Sides sides;
  sides.add(sides.a, train_record(0, 0.385));
  sides.add(sides.a, train_record(1, 0.385));
  sides.add(sides.b, train_record(0, 0.385));
  CHECK(sides.compared().rows.at(0).beyond == std::vector<std::string>{"1 of 2 seeds missing in B"});
  CHECK(sides.compared({.allow_missing = true}).within());
  Json other = train_record(0, 0.385);
  other["variant"] = "other";
  sides.add(sides.a, other);
  CHECK_FALSE(sides.compared().within());
  CHECK(sides.compared({.allow_missing = true}).within());
  CHECK_THAT(diff_text(sides.compared(), false), ContainsSubstring("missing in B  train listops small other n128 b64"));
  sides.add(sides.b, other);
  sides.add(sides.b, train_record(1, 0.385));
  CHECK(sides.compared().within());
  other["task"] = "text";
  sides.add(sides.b, other);
  CHECK(sides.compared().within());
  CHECK_THAT(diff_text(sides.compared(), false), ContainsSubstring("only in B  train text small other n128 b64"));
  write_file_atomically(sides.b / "bad/result.json", "{");
  CHECK_FALSE(sides.compared().within());
  CHECK_THAT(diff_text(sides.compared(), false),
             ContainsSubstring("bad/result.json:1:") && ContainsSubstring("1 unreadable"));
}

TEST_CASE("pairs have the same configuration, but for bookkeeping", "[report]") {
  Json b = train_record(0, 0.385);
  for (const char* key : {"threads", "data_dir", "checkpoint_every", "eval_batch_size", "time_limit_minutes", "suite"})
    b["config"][key] = 7;
  b["config"]["mixer_options"] = {{"l", 5}, {"k", 4}};  // the order does not count
  CHECK(row_of(train_record(0, 0.385), b).notices.empty());

  Sides sides;
  sides.add(sides.a, train_record(0, 0.385));
  b["config"]["mixer_options"]["k"] = 8;
  b["config"]["train_steps"] = 3000;
  sides.add(sides.b, b);
  Diff result = sides.compared();
  REQUIRE(result.rows.size() == 2);
  CHECK(result.rows[0].verdict == "missing in B");
  CHECK(result.rows[0].notices == std::vector<std::string>{"B has it with another mixer_options.k, train_steps"});
  CHECK_THAT(result.rows[1].run, ContainsSubstring("train_steps=3000"));
  CHECK(sides.compared({.ignored = {"train_steps"}}).rows.size() == 2);
  CHECK(sides.compared({.ignored = {"train_steps", "mixer_options"}}).rows.size() == 1);
  CHECK_THROWS_WITH(sides.compared({.ignored = {"train_step"}}), ContainsSubstring("no record has this key"));

  // A key that only newer records have does not part them, unless it leaves a choice.
  b = train_record(0, 0.385);
  b["config"]["black_pixels"] = "tokens";
  b["config"]["mixer_options"]["m"] = 1;
  sides.add(sides.b, b);
  result = sides.compared();
  REQUIRE(result.rows.size() == 2);
  CHECK(result.rows[0].verdict == "within");
  CHECK(result.rows[0].notices == std::vector<std::string>{"recorded on one side only: mixer_options.m"});
  b["config"]["black_pixels"] = "padding";
  sides.add(sides.b, b);
  CHECK(sides.compared().rows.size() == 3);  // another than the default, which A's record has
  b["config"]["black_pixels"] = "tokens";
  b["config"]["mixer_options"]["m"] = 2;
  sides.add(sides.b, b);
  CHECK(sides.compared().rows.size() == 5);

  // A bench times steps: where its schedule ends does not matter, its length does.
  Json bench = train_record(0, 0.385), longer = bench;
  bench["kind"] = longer["kind"] = "bench";
  longer["config"]["train_steps"] = 3000;
  row_of(bench, longer);
  longer["config"]["seq_len"] = 256;
  Sides lengths;
  lengths.add(lengths.a, bench);
  lengths.add(lengths.b, longer);
  CHECK(lengths.compared().rows.size() == 2);
}

TEST_CASE("lra-report diff says it with its exit code", "[report]") {
  Sides sides;
  sides.add(sides.a, train_record(0, 0.385));
  sides.add(sides.b, train_record(0, 0.30));
  const auto exit_code = [&](const std::string& arguments) {
    return WEXITSTATUS(std::system(
        (LRA_BIN_DIR "/lra-report " + arguments + " > " + (sides.folder.path / "out").string() + " 2>&1").c_str()));
  };
  const std::string a = sides.a.string(), b = sides.b.string(), json = (sides.folder.path / "diff.json").string();
  CHECK(exit_code("diff " + a + " " + a) == 0);
  CHECK(exit_code("diff " + a + " " + b + " --json " + json) == 1);
  CHECK(exit_code("diff " + a + " " + b + " --max-score-drop 9") == 0);
  CHECK(exit_code("diff " + a + " " + b + " --max-score-drop 9 --ignore train_steps --ignore seq_len") == 0);
  CHECK(exit_code("diff " + a + " " + b + " --ignore train_step") == 2);
  CHECK(exit_code("diff " + a) == 2);
  CHECK(exit_code("diff " + a + " " + b + "/nowhere") == 2);
  CHECK(exit_code(a + " diff " + a + " " + b) == 2);
  CHECK(exit_code(a) == 2);
  const Json written = read_json(json);
  CHECK(written["within"] == false);
  CHECK(written["rows"][0]["score"]["points"] == Approx(-8.5));
  CHECK(written["rows"][0]["verdict"] == "beyond");
}
