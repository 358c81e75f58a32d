#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/run.h"
#include "cli/suite_table.h"
#include "core/error.h"
#include "lra_program.h"
#include "train/threads.h"

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using lra::Json;
using namespace lra_program;

namespace {

using Words = std::vector<std::string>;

Words plain(const Words& words) {
  return lra::plain_arguments(words, {.options = {"--help", "--out", "--mixers", "--dry-run"},
                                      .list_options = {"--mixers"},
                                      .keys = {"seed", "learning_rate", "mixer", "mixers", "mixer_options", "data_dir"},
                                      .list_keys = {"mixers", "bench.lengths"}});
}

std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

/// A suite of trainings on the small ListOps that end in about a second.
fs::path small_suite(const std::string& name, const Json& mixers, const Json& changes = Json::object()) {
  Json suite = lra::read_json(small_run(name, changes));
  for (const char* key : {"task", "mixer", "seed"}) suite.erase(key);
  suite["suite"] = name;
  suite["tasks"] = {"listops"};
  suite["mixers"] = mixers;
  const fs::path file = workspace() / (name + ".json");
  lra::write_json(file, suite);
  return file;
}

}  // namespace

TEST_CASE("settings are understood as people type them", "[cli]") {
  CHECK(plain({"seed=3"}) == Words{"seed=3"});
  CHECK(plain({"--seed", "3"}) == Words{"seed=3"});
  CHECK(plain({"--seed=3"}) == Words{"seed=3"});
  CHECK(plain({"--learning-rate", "1e-3", "--learning_rate=2"}) == Words{"learning_rate=1e-3", "learning_rate=2"});
  CHECK(plain({"--mixer_options.k", "64"}) == Words{"mixer_options.k=64"});
  CHECK(plain({"seed", "=", "3", "seed=", "4", "seed", "=5"}) == Words{"seed=3", "seed=4", "seed=5"});
  CHECK(plain({"seed=", "mixer=linear"}) == Words{"seed=", "mixer=linear"});
  CHECK(plain({"mixers=a", "b,", "c", "seed=1", "d"}) == Words{"mixers=a,b,c", "seed=1", "d"});
  CHECK(plain({"--mixers", "a", "b", "--out", "x", "seed=1"}) == Words{"--mixers", "a,b", "--out", "x", "seed=1"});
  CHECK(plain({"bench.lengths=1", "2"}) == Words{"bench.lengths=1,2"});
  CHECK(plain({"seed=-1", "--seed", "-1", "-h", "--dry-run"}) == Words{"seed=-1", "seed=-1", "-h", "--dry-run"});
  CHECK(plain({"--data-dir", "a=b"}) == Words{"data_dir=a=b"});
  CHECK_THROWS_WITH(plain({"--seed"}), ContainsSubstring("--seed: expected a value"));
  CHECK_THROWS_WITH(plain({"--seed", "--out", "x"}), ContainsSubstring("--seed: expected a value"));
  const auto hint_of = [](const Words& words) {
    try {
      plain(words);
    } catch (const lra::Error& error) {
      return error.hint();
    }
    return std::string("no error");
  };
  CHECK(hint_of({"--lr", "3"}) == "did you mean 'learning_rate'?");
  CHECK(hint_of({"--sed", "3"}) == "did you mean 'seed'?");
  CHECK(hint_of({"--outt", "3"}) == "did you mean 'out'?");
}

TEST_CASE("without arguments the program shows five examples", "[cli]") {
  const auto shown = lra_run("");
  CHECK(shown.code == 0);
  CHECK_THAT(shown.out, ContainsSubstring("lra-run train --task listops --mixer linear"));
  std::size_t examples = 0;
  for (std::size_t place = 0; (place = shown.out.find("\n  lra-run ", place)) != std::string::npos; ++place) ++examples;
  CHECK(examples == 5);
}

TEST_CASE("a model is trained without a config file, and goes on when it is lengthened", "[cli]") {
  const fs::path out = workspace() / "train";
  const std::string settings =
      " --data-dir " + data_dir() +
      " seq_len=64 schedule=constant --warmup-steps 2 batch_size=8 eval_every=3 --seed 3 --out " + out.string();
  const auto run = lra_run("train --task listops mixer=linear train_steps=6" + settings);
  INFO(run.err);
  REQUIRE(run.code == 0);
  const Json record = lra::read_json(out / "listops/small/linear/n64/seed3/result.json");
  CHECK(record["config"]["profile"] == "small");
  CHECK(record["config"]["batch_size"] == 8);
  CHECK_THAT(run.err, ContainsSubstring("records: " + (out / "listops/small/linear/n64/seed3").string()));
  const auto longer = lra_run("train --task listops mixer=linear train_steps=8" + settings);
  CHECK(longer.code == 0);
  CHECK_THAT(longer.err, ContainsSubstring("goes on from step 6 of 8"));

  check_user_error(lra_run("train --task listops"), "expected a task and a mixer");
  check_user_error(lra_run("train --task listops --mixer linear lr=3" + settings), "did you mean 'learning_rate'?");
  check_user_error(lra_run("train --task listops --mixer linear --lr 3" + settings), "did you mean 'learning_rate'?");
  const auto missing = lra_run("train --task listops --mixer linear --data-dir /nowhere");
  check_user_error(missing, "/nowhere/listops: the data of the task listops are not there");
  CHECK_THAT(missing.err, ContainsSubstring("lra-run data prepare listops, with --data-dir /nowhere"));
  const auto above = lra_run("data show listops 0 --data-dir " + workspace().string());
  check_user_error(above, "or use those in " + data_dir());
  CHECK(lra_run("data show listops 0 --data-dir " + data_dir()).code == 0);
}

TEST_CASE("a suite is found by its name from any folder, and says how its data are made", "[cli]") {
  fs::create_directories(workspace() / "elsewhere");
  const auto lecture = lra_run("suite lecture --jobs 2", workspace() / "elsewhere");
  check_user_error(lecture, "data/quickstart/listops: the data of the task listops are not there");
  CHECK_THAT(lecture.err, ContainsSubstring("scripts/prepare_quickstart.sh"));
  CHECK_THAT(lra_run("--config lecture", workspace() / "elsewhere").err,
             ContainsSubstring("scripts/prepare_quickstart.sh"));
  check_user_error(lra_run("train --task listops --mixer linear listops"), "expected KEY=VALUE");
  check_user_error(lra_run("suite lectrue"), "did you mean 'lecture'?");
  check_user_error(lra_run("suite " + small_run("no_suite").string()), "is no suite");
  const auto dry = lra_run("suite roofline --dry-run mixers=none bench.lengths=16 32", workspace() / "elsewhere");
  CHECK(dry.code == 0);
  CHECK_THAT(dry.err, ContainsSubstring("2 runs"));
}

TEST_CASE("a suite ends with a table, its folder and the next command, and says when it goes on", "[cli]") {
  const fs::path out = workspace() / "table", file = small_suite("table", {"linear", "none"}, {{"train_steps", 6}});
  const auto first = lra_run("suite " + file.string() + " seeds=0,1 --out " + out.string());
  INFO(first.err << first.out);
  REQUIRE(first.code == 0);
  CHECK_THAT(first.out,
             ContainsSubstring("task         mixer") && ContainsSubstring("±") && ContainsSubstring("learned nothing"));
  CHECK_THAT(first.out, ContainsSubstring("records: " + out.string()));
  CHECK_THAT(first.out, ContainsSubstring("next:    lra-report " + out.string() + " -o report"));
  CHECK(first.err.find("done before") == std::string::npos);
  fs::remove(out / "listops/small/none/n64/seed1/result.json");
  const auto second = lra_run("suite " + file.string() + " seeds=0,1 --out " + out.string());
  CHECK_THAT(second.err, ContainsSubstring("3 of 4 runs were done before, in " + out.string()));
  CHECK_THAT(second.err, ContainsSubstring("[4/4] train listops none seed 1: goes on from step 6 of 6"));
}

TEST_CASE("the table of a suite has a line for each mixer of each task, over all seeds, and one for each bench",
          "[cli]") {
  const fs::path out = workspace() / "records";
  std::vector<lra::RunConfig> runs;
  const auto add = [&](const char* kind, const char* variant, std::int64_t seed, const char* folder, Json record) {
    lra::RunConfig run;
    run.kind = kind;
    run.profile = "small";
    run.variant = variant;
    run.task.task = "listops";
    run.task.seq_len = 64;
    run.train.seed = seed;
    run.train.batch_size = 2;
    runs.push_back(run);
    if (!record.is_null()) lra::write_json(out / folder / "result.json", record);
  };
  const auto trained = [](double accuracy, double speed) {
    return Json{{"status", "ok"},
                {"metrics", {{"test_accuracy", accuracy}}},
                {"speed", {{"train_examples_per_second", {{"median", speed}}}}},
                {"memory", {{"peak_tensor_bytes", 2500000}}}};
  };
  Json beside = trained(0.6, 300);
  beside["speed"]["disturbed"] = "trained beside another run of this suite";
  Json guessing = trained(0.1, 50);
  guessing["notes"] = {lra::nothing_learned};
  add("train", "linear", 0, "listops/small/linear/n64/seed0", trained(0.5, 100));
  add("train", "linear", 1, "listops/small/linear/n64/seed1", beside);
  add("train", "none", 0, "listops/small/none/n64/seed0", guessing);
  add("train", "none", 1, "listops/small/none/n64/seed1", {{"status", "oom\n"}});
  add("train", "none", 2, "", nullptr);
  add("bench", "linear", 0, "bench/listops/small/linear/n64b2", {{"status", "timeout"}});
  const std::string table = lra::suite_table(runs, out);
  INFO(table);
  CHECK_THAT(table, ContainsSubstring("listops n64  linear  55.00 ± 5.00 %        200†  2.5  ok\n"));
  CHECK_THAT(table, ContainsSubstring(
                        "listops n64  none           10.00 %          50  2.5  1 ok, 1 oom\\n; learned nothing\n"));
  CHECK_THAT(table,
             ContainsSubstring("linear      64      2        -           -         -   -          -  timeout\n"));
  CHECK_THAT(table, ContainsSubstring("† not to be trusted"));
}

TEST_CASE("with --jobs trainings share the threads side by side, whatever their size", "[cli]") {
  if (lra::most_threads() < 2) SKIP("one core");
  // Large enough for more than one thread.
  const fs::path file =
      small_suite("jobs", {"linear", "none"},
                  {{"threads", 0}, {"batch_size", 1000}, {"train_steps", 20}, {"eval_every", 20}, {"seq_len", 60}});
  const auto run = [&](const std::string& how, const std::string& name) {
    const fs::path out = workspace() / name;
    const auto done = lra_run("suite " + file.string() + how + " --out " + out.string());
    INFO(done.err);
    CHECK(done.code == 0);
    return std::pair(done.err, result_in(out / "listops/small/none")["host"]["threads"].get<int>());
  };
  const auto [alone, all_threads] = run("", "jobs_none");
  const auto [beside, share] = run(" --jobs 2", "jobs_2");
  CHECK(all_threads > share);
  CHECK(share == std::max(1, lra::most_threads() / 2));
  const std::string second = "[2/2] train listops none\n", end_of_first = "[1/2] train listops linear: ok";
  CHECK(alone.find(second) > alone.find(end_of_first));
  CHECK(beside.find(second) < beside.find(end_of_first));
}

TEST_CASE("lists are a line for each name, or all about one, or JSON", "[cli]") {
  for (const char* kind : {"tasks", "mixers", "profiles", "suites"}) {
    const auto list = lra_run(std::string("ls ") + kind);
    const Json json = Json::parse(lra_run(std::string("ls --json ") + kind).out);
    CHECK(lines(list.out) == json.size());
    for (const auto& one : json) {
      const auto name = one["name"].get<std::string>();
      INFO(kind << " " << name);
      CHECK((list.out.starts_with(name + " ") || list.out.find("\n" + name + " ") != std::string::npos));
    }
  }
  CHECK_THAT(lra_run("ls mixers").out, ContainsSubstring("low rank") && ContainsSubstring("N k d"));
  const auto linformer = lra_run("ls mixers linformer").out;
  CHECK_THAT(linformer, ContainsSubstring("256") &&
                            ContainsSubstring("length to which keys and values are projected") &&
                            ContainsSubstring("share  heads    none: "));
  CHECK(Json::parse(lra_run("ls mixers linformer --json").out)["option_schema"]["k"]["type"] == "integer");
  CHECK_THAT(lra_run("ls suites lecture").out, ContainsSubstring("scripts/prepare_quickstart.sh"));
  CHECK(lra_run("ls tasks listops").code == 0);
  check_user_error(lra_run("ls mixers linfromer"), "did you mean 'linformer'?");
}

TEST_CASE("data that were made are told in five lines, or as JSON", "[cli]") {
  const std::string where = (workspace() / "five lines").string();
  const auto made = lra_run(
      "data prepare listops --train 20 --valid 10 --test 10 --min-length 5 --max-length 60 --data-dir '" + where + "'");
  INFO(made.out);
  REQUIRE(made.code == 0);
  CHECK(lines(made.out) == 5);
  CHECK_THAT(made.out,
             ContainsSubstring("listops: generated, seed 0\n") && ContainsSubstring("in " + where + "/listops, ") &&
                 ContainsSubstring("20 train, 10 valid, 10 test examples\n") && ContainsSubstring(" tokens each, "));
  CHECK_THAT(made.out,
             ContainsSubstring("next: lra-run train --task listops --mixer linear --data-dir '" + where + "'\n"));
  const Json manifest = Json::parse(
      lra_run(
          "data prepare listops --json --train 20 --valid 10 --test 10 --min-length 5 --max-length 60 --data-dir '" +
          where + "'")
          .out);
  CHECK(manifest["files"]["train"]["examples"] == 20);
  CHECK_THAT(lra_run("data verify listops --data-dir '" + where + "'").out,
             ContainsSubstring("nothing is wrong: 20 train, 10 valid, 10 test examples"));
  for (const auto& task : Json::parse(lra_run("data status --json --data-dir '" + where + "'").out)) {
    CHECK(task["ready"] == (task["task"] == "listops"));
  }
}

TEST_CASE("bench answers in JSON", "[cli]") {
  const auto bench = lra_run("bench --json --mixers none linear --lengths 16 --out " +
                             (workspace() / "bench_json").string() + " measure_steps=2 measure_warmup_steps=0");
  INFO(bench.err);
  REQUIRE(bench.code == 0);
  const Json records = Json::parse(bench.out);
  REQUIRE(records.size() == 2);
  CHECK(records[1]["mixer"] == "linear");
  CHECK(lra::read_json(records[1]["folder"].get<std::string>() + "/result.json")["status"] == "ok");
}
