#include <sys/wait.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>

#include "core/config.h"
#include "core/data_files.h"
#include "core/record.h"
#include "core/sha256.h"
#include "report/check.h"

namespace {

using namespace lra;
using namespace lra::report;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

std::vector<double> samples(std::int64_t count) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(100 + static_cast<double>(i % 10));
  return values;
}

Json data_facts() {
  Json data = {{"generator", {{"seed", 1}}}};
  for (const char* split : {"train", "valid", "test"})
    data[split] = {
        {"file", std::string(split) + ".packed"}, {"bytes", 4}, {"sha256", sha256(split)}, {"examples", 400}};
  return data;
}

/// What lra-run would write of a training run of 30 steps, or of a bench; nothing is wrong with it.
Json good_record(const std::string& kind) {
  const bool bench = kind == "bench";
  RunConfig config;
  config.kind = kind;
  config.profile = "small";
  config.variant = config.display_name = config.model.mixer = "linear";
  config.task.task = bench ? "bytes" : "listops";
  config.task.seq_len = 128;
  config.train.train_steps = 30;
  config.train.batch_size = bench ? 1 : 8;
  config.train.eval_every = 10;
  config.train.selection = "best_valid";
  RunRecord record;
  record.config = config.to_json();
  record.steps_done = bench ? 25 : 30;
  record.parameters = 1000;
  record.peak_tensor_bytes = 16000;
  record.peak_rss_bytes = 1 << 20;
  record.wall_seconds = 1;
  record.train_steps_per_second = measured(samples(bench ? 20 : 25));
  record.train_examples_per_second = measured(samples(bench ? 20 : 25));
  record.host = {{"name", "a"}, {"cpu", "x"}, {"device", "cpu"}, {"threads", 2}};
  record.build = {{"revision", std::string(40, 'a')}, {"dirty", false}, {"libtorch", "2.13.0"}};
  if (bench) {
    record.inference_examples_per_second = measured(samples(20));
    record.sequence_length = 128;
    record.data = {{"generator", "random bytes"}};
  } else {
    record.valid_accuracy = 0.25;
    record.test_accuracy = 0.2425;
    record.test_examples = 400;
    record.selected_step = 20;
    record.data = data_facts();
  }
  return record.to_json();
}

const std::vector<std::string> good_curve = {
    R"({"step":10,"split":"train","accuracy":0.2})", R"({"step":10,"split":"valid","accuracy":0.2})",
    R"({"step":20,"split":"valid","accuracy":0.25})", R"({"step":30,"split":"valid","accuracy":0.2225})",
    R"({"step":20,"split":"test","accuracy":0.2425})"};

struct Runs {
  TestFolder folder{"check"};
  fs::path train = folder.path / "listops/small/linear/n128/seed0",
           bench = folder.path / "bench/bytes/small/linear/n128b1";

  Runs() {
    add(train, good_record("train"));
    add(bench, good_record("bench"));
  }
  void add(const fs::path& place, const Json& record, const std::vector<std::string>& curve = good_curve) const {
    write_json(place / "result.json", record);
    std::string text;
    for (const std::string& line : curve) text += line + "\n";
    if (record["kind"] == "train") write_file_atomically(place / "metrics.jsonl", text);
  }
  std::vector<Finding> findings(const CheckOptions& options = {}) const {
    return check({folder.path}, options).findings;
  }
};

/// What is said of a good record with one value changed (or, where `value` is null, taken away).
std::string changed(const std::string& kind, const std::string& place, const Json& value, bool problem = true) {
  const Runs runs;
  Json record = good_record(kind);
  const Json::json_pointer pointer(place);
  if (value.is_null())
    record.at(pointer.parent_pointer()).erase(pointer.back());
  else
    record[pointer] = value;
  runs.add(kind == "train" ? runs.train : runs.bench, record);
  std::string sentences;
  for (const Finding& finding : runs.findings()) {
    if (finding.problem == problem) sentences += finding.text + "\n";
  }
  return sentences.empty() ? "nothing" : sentences;
}

std::string with_curve(const std::vector<std::string>& curve) {
  const Runs runs;
  runs.add(runs.train, good_record("train"), curve);
  const auto findings = runs.findings();
  return findings.empty() ? "nothing" : findings[0].text;
}

}  // namespace

TEST_CASE("good records have no findings", "[report]") {
  const Runs runs;
  const Check result = check({runs.folder.path}, {});
  CHECK(check_text(result) == "2 records: 0 problems, 0 warnings\n");
}

TEST_CASE("fields that a record of its kind and status has are missed", "[report]") {
  for (const char* place :
       {"/metrics/test_accuracy", "/metrics/test_examples", "/metrics/valid_accuracy", "/metrics/steps_done",
        "/metrics/selected_step", "/memory/peak_tensor_bytes", "/parameters", "/host/name", "/host/cpu",
        "/host/threads", "/build/revision", "/build/libtorch", "/data/valid", "/data/test/sha256",
        "/speed/train_examples_per_second", "/config/seq_len"}) {
    CAPTURE(place);
    CHECK_THAT(changed("train", place, {}), ContainsSubstring(place) && ContainsSubstring("is missing"));
  }
  for (const char* place : {"/sequence_length", "/speed/inference_examples_per_second", "/memory/peak_tensor_bytes",
                            "/speed/train_examples_per_second"}) {
    CAPTURE(place);
    CHECK_THAT(changed("bench", place, {}), ContainsSubstring(std::string(place) + " is missing"));
  }
  CHECK_THAT(changed("bench", "/status", "oom"), ContainsSubstring("/message is missing"));
  CHECK_THAT(changed("train", "/status", "nan"),
             ContainsSubstring("test accuracy, which a run with status nan never reached"));
  CHECK_THAT(changed("train", "/seed", 5), ContainsSubstring("/seed is 5, /config/seed is 0"));
  const Runs runs;
  write_file_atomically(runs.folder.path / "bad/result.json", "{\"a\": 1,,}");
  const auto findings = runs.findings();
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].file.filename() == "result.json");
  CHECK_THAT(findings[0].text, ContainsSubstring("broken JSON"));
}

TEST_CASE("numbers that cannot be are found", "[report]") {
  CHECK_THAT(changed("train", "/metrics/test_accuracy", 0.2426),
             ContainsSubstring("of 400 examples is 97.0400 of them"));
  CHECK_THAT(changed("train", "/metrics/valid_accuracy", 0.2512),
             ContainsSubstring("validation accuracy 0.2512 of 400"));
  CHECK_THAT(changed("train", "/metrics/test_examples", 200),
             ContainsSubstring("tested on 200 examples, the data have 400"));
  CHECK_THAT(changed("train", "/config/limit", 100), ContainsSubstring("tested on 400 examples, the data have 100"));
  CHECK_THAT(changed("train", "/metrics/steps_done", 29), ContainsSubstring("29 steps done of 30"));
  CHECK_THAT(changed("train", "/metrics/selected_step", 15),
             ContainsSubstring("step 15 were selected, where none were evaluated"));
  CHECK_THAT(changed("train", "/config/selection", "last"), ContainsSubstring("step 20 were selected"));
  CHECK_THAT(changed("bench", "/metrics/steps_done", 24), ContainsSubstring("24 steps done of 5 + 20"));
  CHECK_THAT(changed("bench", "/sequence_length", 127), ContainsSubstring("/sequence_length is 127"));
  CHECK_THAT(changed("bench", "/memory/peak_tensor_bytes", 3999),
             ContainsSubstring("less than the 1000 parameters take"));
  CHECK(changed("bench", "/memory/peak_rss_bytes", 1) == "nothing");  // memory never written is not resident
  CHECK_THAT(changed("bench", "/speed/train_steps_per_second/median", 99), ContainsSubstring("says median 99"));
  CHECK_THAT(changed("bench", "/speed/train_steps_per_second/median", 104.4), ContainsSubstring("says median 104.4"));
  CHECK_THAT(changed("bench", "/speed/train_steps_per_second/spread", 1), ContainsSubstring("spread 1"));
  CHECK_THAT(changed("bench", "/speed/train_examples_per_second/samples", {104.5}),
             ContainsSubstring("has 1 samples of 20"));
  CHECK_THAT(changed("bench", "/speed/train_examples_per_second/count", 21),
             ContainsSubstring("counts 21 steps, 20 were timed"));
  CHECK_THAT(changed("train", "/config/measure_warmup_steps", 6), ContainsSubstring("counts 25 steps, 24 were timed"));
  CHECK_THAT(changed("bench", "/wall_seconds", 0.1), ContainsSubstring("s of steps in a run of 0.100 s"));
  Json resumed = good_record("train");
  resumed["notes"] = {"resumed at step 10: speeds are of the steps after it"};
  resumed["speed"]["train_steps_per_second"] = resumed["speed"]["train_examples_per_second"] =
      good_record("bench")["speed"]["train_steps_per_second"];
  const Runs runs;
  runs.add(runs.train, resumed);
  CHECK(runs.findings().empty());
}

TEST_CASE("hashes are hashes, the same for the same file, and those of the files", "[report]") {
  CHECK_THAT(changed("train", "/data/test/sha256", "abc"), ContainsSubstring("'abc', not 64 hexadecimal digits"));
  Runs runs;
  Json second = good_record("train");
  second["config"]["seed"] = second["seed"] = 1;
  second["data"]["test"]["sha256"] = sha256("other");
  const fs::path place = runs.train.parent_path() / "seed1";
  runs.add(place, second);
  auto findings = runs.findings();
  REQUIRE(findings.size() == 1);
  CHECK_THAT(findings[0].text, ContainsSubstring("test.packed has SHA-256 " + sha256("other")) &&
                                   ContainsSubstring("seed0/result.json it is " + sha256("test")));
  second["data"]["generator"]["seed"] = 2;  // made anew in between
  runs.add(place, second);
  CHECK(runs.findings().empty());
  fs::remove_all(place);

  const TestFolder data("check_data");
  CHECK(runs.findings({.data = data.path, .partial = false}).empty());  // not there
  write_file_atomically(data.path / "listops/test.packed", "test");
  CHECK(runs.findings({.data = data.path, .partial = false}).empty());
  write_file_atomically(data.path / "listops/test.packed", "tess");
  CHECK_THAT(runs.findings({.data = data.path, .partial = false}).at(0).text,
             ContainsSubstring("listops/test.packed has " + sha256("tess")));
}

TEST_CASE("metrics.jsonl agrees with its record", "[report]") {
  const Runs runs;
  fs::remove(runs.train / "metrics.jsonl");
  CHECK(runs.findings().at(0).text == "metrics.jsonl is missing beside it");
  auto curve = good_curve;
  curve[1] = "{\"step\":10,";
  CHECK_THAT(with_curve(curve), ContainsSubstring("metrics.jsonl:2:"));
  curve = good_curve;
  curve.pop_back();
  CHECK(with_curve(curve) == "metrics.jsonl does not end with the test");
  curve.erase(curve.begin() + 3);
  CHECK_THAT(with_curve(curve), ContainsSubstring("ends with step 20, the record with 30"));
  curve = good_curve;
  curve[2] = R"({"step":20,"split":"valid","accuracy":0.245})";
  CHECK_THAT(with_curve(curve), ContainsSubstring("validation accuracy 0.25, in metrics.jsonl 0.245"));
  curve = good_curve;
  curve[4] = R"({"step":20,"split":"test","accuracy":0.245})";
  CHECK_THAT(with_curve(curve), ContainsSubstring("test accuracy 0.2425, in metrics.jsonl 0.245"));
  curve[4] = R"({"step":10,"split":"test","accuracy":0.2425})";
  CHECK_THAT(with_curve(curve), ContainsSubstring("step 10 was tested"));
}

TEST_CASE("a record lies where its configuration belongs", "[report]") {
  const Runs runs;
  fs::rename(runs.train, runs.train.parent_path() / "seed1");
  CHECK(runs.findings().at(0).text == "its configuration belongs into listops/small/linear/n128/seed0");
  fs::rename(runs.train.parent_path() / "seed1", runs.train);
  fs::rename(runs.bench, runs.bench.parent_path() / "n128b2");
  CHECK(runs.findings().at(0).text == "its configuration belongs into bench/bytes/small/linear/n128b1");
}

TEST_CASE("warnings are no problems", "[report]") {
  CHECK_THAT(changed("bench", "/build/dirty", true, false), ContainsSubstring("with changed files"));
  CHECK(changed("bench", "/build/dirty", true) == "nothing");
  Json failed = good_record("bench");
  failed["status"] = "failed";
  failed["message"] = "killed by signal 11";
  const Runs runs;
  runs.add(runs.bench, failed);
  CHECK(check_text(check({runs.folder.path}, {}))
            .ends_with("n128b1/result.json: failed: killed by signal 11\n2 records: 0 problems, 1 warnings\n"));

  Json transformer = good_record("bench");
  transformer["mixer"] = transformer["variant"] = transformer["config"]["mixer"] = transformer["config"]["variant"] =
      "softmax";
  runs.add(runs.bench, good_record("bench"));
  transformer["parameters"] = 910;
  runs.add(runs.folder.path / "bench/bytes/small/softmax/n128b1", transformer);
  CHECK(runs.findings().empty());  // 1000 / 910 = 1.099
  transformer["parameters"] = 909;
  runs.add(runs.folder.path / "bench/bytes/small/softmax/n128b1", transformer);
  CHECK_THAT(runs.findings().at(0).text, ContainsSubstring("1000 parameters, the Transformer of its sizes has 909"));
  CHECK_FALSE(runs.findings().at(0).problem);
}

TEST_CASE("the files for which a record vouches are those beside it", "[report]") {
  const Runs runs;
  Json record = good_record("train");
  const auto found = [&](const Json& files) {
    record["files"] = files;
    runs.add(runs.train, record);
    const auto findings = runs.findings();
    return findings.empty() ? "nothing" : findings[0].text;
  };
  const std::string curve = read_file(runs.train / "metrics.jsonl");
  const Json good = {{"bytes", curve.size()}, {"sha256", sha256(curve)}};
  CHECK(found({{"metrics.jsonl", good}}) == "nothing");
  CHECK_THAT(found({{"metrics.jsonl", {{"bytes", curve.size() + 1}, {"sha256", sha256(curve)}}}}),
             ContainsSubstring("metrics.jsonl has"));
  CHECK_THAT(found({{"metrics.jsonl", {{"bytes", curve.size()}, {"sha256", sha256(curve + "x")}}}}),
             ContainsSubstring("metrics.jsonl has SHA-256"));
  CHECK_THAT(found({{"profile.json", good}}),
             ContainsSubstring("profile.json, for which the record vouches, is missing"));
  CHECK(found({{"model.safetensors", good}}) == "nothing");
  CHECK_THAT(found({{"../result.json", good}}), ContainsSubstring("which is no file beside it"));
  CHECK_THAT(found({{"metrics.jsonl", 3}}), ContainsSubstring("lacks bytes or sha256"));
}

TEST_CASE("equal kinds of warnings are one line", "[report]") {
  const Runs runs;
  for (int i = 0; i < 5; ++i) {
    Json record = good_record("bench");
    record["speed"]["disturbed"] = "other programs used " + std::to_string(i) + " cores";
    record["seed"] = record["config"]["seed"] = i;
    record["config"]["batch_size"] = i + 2;
    runs.add(runs.folder.path / ("bench/bytes/small/linear/n128b" + std::to_string(i + 2)), record);
  }
  const Check result = check({runs.folder.path}, {});
  const std::string text = check_text(result), whole = check_text(result, true);
  CHECK(std::count(text.begin(), text.end(), '\n') == 4);  // the kind, two examples, the sum
  CHECK_THAT(text, ContainsSubstring("warning: 5 times a speed that is not to be trusted, for example\n") &&
                       ContainsSubstring("5 warnings (--all lists them)"));
  CHECK(std::count(whole.begin(), whole.end(), '\n') == 6);
  CHECK_THAT(whole, ContainsSubstring("used 4 cores"));
  for (const auto& [place, value] :
       {std::pair{"/data/train/cut_share", Json(1.5)}, {"/host/threads", Json(0)}, {"/host/load/during", Json(-1)}}) {
    Json record = good_record("train");
    record["host"]["load"] = {{"before", 0.1}, {"during", 0.1}};
    record[Json::json_pointer(place)] = value;
    runs.add(runs.train, record);
    CHECK_THAT(runs.findings().at(0).text + runs.findings().back().text, ContainsSubstring(place));
  }
}

TEST_CASE("runs that a suite names and that are not there are missed", "[report]") {
  // The suite standins: flash and none, two tasks, seeds 0, 1, 2.
  const Runs runs;
  const fs::path root = runs.folder.path;
  Json record = good_record("train");
  record["suite"] = record["config"]["suite"] = "standins";
  record["task"] = record["config"]["task"] = "text_standin";
  record["mixer"] = record["variant"] = record["config"]["mixer"] = record["config"]["variant"] = "none";
  record["config"]["seq_len"] = 1024;
  runs.add(root / "text_standin/small/none/n1024/seed0", record);
  const auto findings = runs.findings();
  std::vector<std::string> missing;
  for (const Finding& finding : findings) {
    if (finding.problem) missing.push_back(finding.file.lexically_relative(fs::canonical(root)).string());
  }
  CHECK(missing.size() == 11);
  CHECK(std::count(missing.begin(), missing.end(), "text_standin/small/none/n1024/seed1") == 1);
  CHECK(std::count(missing.begin(), missing.end(), "text_standin/small/none/n1024/seed0") == 0);
  // Its other settings are said, no more.
  const auto other =
      std::find_if(findings.begin(), findings.end(), [](const Finding& finding) { return !finding.problem; });
  REQUIRE(other != findings.end());
  CHECK_THAT(other->text, ContainsSubstring("other settings than in configs/suites/standins.json") &&
                              ContainsSubstring("train_steps = 30, not 600") && !ContainsSubstring("threads"));
  CHECK(check({root}, {.data = {}, .partial = true}).problems() == 0);
  // Only what lies below the given folders is expected.
  CHECK(check({root / "text_standin/small/none"}, {}).problems() == 2);
  // Also where the folder is given as seen from the working directory.
  CHECK(check({fs::proximate(root)}, {}).problems() == 11);

  record["suite"] = record["config"]["suite"] = "of-my-own";
  runs.add(root / "text_standin/small/none/n1024/seed0", record);
  CHECK_THAT(runs.findings().at(0).text, ContainsSubstring("completeness not checked: no suite 'of-my-own'"));
}

TEST_CASE("lra-report check says it with its exit code", "[report]") {
  const Runs runs;
  const auto exit_code = [&](const std::string& arguments) {
    return WEXITSTATUS(std::system(
        (LRA_BIN_DIR "/lra-report check " + arguments + " > " + (runs.folder.path / "out").string() + " 2>&1")
            .c_str()));
  };
  CHECK(exit_code(runs.folder.path.string()) == 0);
  Json bad = good_record("bench");
  bad.erase("parameters");
  runs.add(runs.bench, bad);
  CHECK(exit_code(runs.folder.path.string()) == 1);
  CHECK_THAT(read_file(runs.folder.path / "out"),
             ContainsSubstring("problem: ") && ContainsSubstring("/parameters is missing"));
  CHECK(exit_code(runs.folder.path.string() + "/nowhere") == 2);
  CHECK(exit_code("") == 2);
}
