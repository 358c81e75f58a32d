#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/file_lock.h"
#include "core/json_file.h"
#include "lra_program.h"

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using lra::Json;
using namespace lra_program;

TEST_CASE("every mistake is one clear line and exit code 2", "[cli]") {
  const std::string out = " --out " + (workspace() / "errors").string() + " ";
  check_user_error(lra_run("--dry-run"), "nothing to do");
  check_user_error(lra_run("--config /nowhere/x.json"), "/nowhere/x.json: cannot be read");
  check_user_error(lra_run("--conifg x.json"), "--conifg");
  check_user_error(lra_run("sl mixers"), "unknown command 'sl'");
  check_user_error(lra_run("sl mixers"), "did you mean 'ls'?");
  std::ofstream(workspace() / "broken.json") << "{\"task\": \"listops\",\n \"mixer\" \"linear\"}";
  check_user_error(lra_run("--config " + (workspace() / "broken.json").string()), "broken.json:2:17: broken JSON");
  const std::string run = "--config " + small_run("errors").string() + out;
  check_user_error(lra_run(run + "d_modle=3"), "the command line: /d_modle: unknown key");
  check_user_error(lra_run(run + "d_modle=3"), "did you mean 'd_model'?");
  check_user_error(lra_run(run + "mixer=linaer"), "unknown mixer 'linaer'");
  check_user_error(lra_run(run + "mixer_options.k=3"), "/mixer_options/k: unknown key");
  check_user_error(lra_run(run + "num_heads=3"), "/num_heads: 3 heads do not divide the width 64");
  check_user_error(lra_run(run + "dropout=2"), "/dropout: expected a number between 0 and 0.99, found 2");
  check_user_error(lra_run(run + "device=cuda:7"), "cuda:7");
  check_user_error(lra_run(run + "data_dir=/nowhere"), "/nowhere");
  check_user_error(lra_run("--config " + small_run("errors").string() + " --out /dev/null/x"), "/dev/null/x");

  fs::copy(data_dir(), workspace() / "bad", fs::copy_options::recursive);
  fs::remove(workspace() / "bad/listops/manifest.json");  // which would say already that the file is another one
  std::ofstream(workspace() / "bad/listops/basic_train.tsv", std::ios::app) << "( ( [MAX 1 ) ] )\tten\r\n";
  check_user_error(lra_run(run + "data_dir=" + (workspace() / "bad").string()), "basic_train.tsv:202: ");

  check_user_error(lra_run("eval --checkpoint /nowhere"), "/nowhere");
  REQUIRE(
      lra_run("--config " + small_run("truncated").string() + " --out " + (workspace() / "truncated").string()).code ==
      0);
  const fs::path folder = workspace() / "truncated/listops/small/linear/n64/seed0";
  fs::resize_file(folder / "model.safetensors", fs::file_size(folder / "model.safetensors") - 100);
  check_user_error(lra_run("eval --checkpoint " + folder.string()), "model.safetensors");
  CHECK_FALSE(fs::exists(workspace() / "errors/listops/small/linear/n64/seed0/result.json"));
}

TEST_CASE("a dry run prints a configuration that is a valid --config and resolves to itself", "[cli]") {
  const auto first = lra_run("--dry-run --config " + small_run("dry").string() + " mixer=linformer mixer_options.k=16");
  REQUIRE(first.code == 0);
  CHECK_THAT(first.err, ContainsSubstring("parameters"));
  CHECK_THAT(first.err, ContainsSubstring("FLOPs per step"));
  std::ofstream(workspace() / "resolved.json") << first.out;
  const auto second = lra_run("--dry-run --config " + (workspace() / "resolved.json").string());
  CHECK(second.out == first.out);
  CHECK(Json::parse(first.out)["mixer_options"]["k"] == 16);
}

TEST_CASE("a record repeats its run, a suite may be a bench alone", "[cli]") {
  const fs::path out = workspace() / "recorded";
  REQUIRE(lra_run("--config " + small_run("recorded").string() + " --out " + out.string()).code == 0);
  const fs::path record = out / "listops/small/linear/n64/seed0/result.json";
  const auto dry = lra_run("--dry-run --config " + record.string());
  CHECK(dry.code == 0);
  CHECK(lra::parse_json(dry.out, "the dry run") == lra::read_json(record)["config"]);
  const fs::path again = workspace() / "again";
  REQUIRE(lra_run("--config " + record.string() + " --out " + again.string()).code == 0);
  CHECK(lra::read_json(again / "listops/small/linear/n64/seed0/result.json")["metrics"] ==
        lra::read_json(record)["metrics"]);

  lra::write_json(
      workspace() / "bench.json",
      {{"suite", "b"}, {"profile", "small"}, {"mixers", {"linear"}}, {"threads", 1}, {"bench", {{"lengths", {16}}}}});
  REQUIRE(
      lra_run("--config " + (workspace() / "bench.json").string() + " --out " + (workspace() / "b").string()).code ==
      0);
  CHECK(lra::read_json(workspace() / "b/bench/bytes/small/linear/n16b1/result.json")["status"] == "ok");
  lra::write_json(workspace() / "neither.json", {{"suite", "b"}, {"profile", "small"}, {"mixers", {"linear"}}});
  CHECK_THAT(lra_run("--config " + (workspace() / "neither.json").string()).err,
             ContainsSubstring("the suite has neither \"tasks\" nor \"bench\""));
}

TEST_CASE("a run is evaluated again from its folder with the same accuracy, and predicts every example", "[cli]") {
  const fs::path out = workspace() / "eval";
  REQUIRE(lra_run("--config " + small_run("eval").string() + " --out " + out.string()).code == 0);
  const fs::path folder = out / "listops/small/linear/n64/seed0";
  const Json record = lra::read_json(folder / "result.json");
  CHECK(record["status"] == "ok");
  for (const char* key : {"schema_version", "task", "mixer", "profile", "seed", "config", "metrics", "speed", "memory",
                          "parameters", "host", "build", "data"}) {
    CHECK(record.contains(key));
  }
  const auto eval =
      lra_run("eval --checkpoint " + folder.string() + " --predictions " + (workspace() / "p.jsonl").string());
  REQUIRE(eval.code == 0);
  CHECK(Json::parse(eval.out)["accuracy"] == record["metrics"]["test_accuracy"]);
  std::ifstream predictions(workspace() / "p.jsonl");
  int lines = 0, correct = 0;
  for (std::string line; std::getline(predictions, line); ++lines) {
    const Json p = Json::parse(line);
    CHECK(p["index"] == lines);
    const auto logits = p["logits"].get<std::vector<double>>();
    REQUIRE(logits.size() == 10);
    CHECK(std::max_element(logits.begin(), logits.end()) - logits.begin() == p["prediction"].get<std::int64_t>());
    correct += p["prediction"] == p["label"] ? 1 : 0;
  }
  CHECK(lines == 50);
  CHECK(correct / 50.0 == Json::parse(eval.out)["accuracy"].get<double>());
  const auto file =
      lra_run("eval --checkpoint " + folder.string() + " --data " + data_dir() + "/listops/basic_test.tsv");
  CHECK(Json::parse(file.out)["accuracy"] == record["metrics"]["test_accuracy"]);
  const auto whole =
      lra_run("eval --checkpoint " + folder.string() + " --data " + data_dir() + "/listops/basic_test.tsv limit=7");
  CHECK(Json::parse(whole.out)["examples"] == 50);
}

TEST_CASE("a record with a relative data_dir is repeated from another folder, and says what its data are", "[cli]") {
  const fs::path here = workspace() / "here";
  fs::create_directories(here / "below");
  fs::copy(data_dir(), here / "my_data", fs::copy_options::recursive);
  const fs::path config = small_run("relative", {{"data_dir", "my_data"}, {"seq_len", 20}, {"batch_size", 300}});
  const auto first = lra_run("--config " + config.string() + " --out a", here);
  REQUIRE(first.code == 0);
  const Json record = lra::read_json(here / "a/listops/small/linear/n20/seed0/result.json");
  CHECK(record["config"]["data_dir"] == "my_data");
  CHECK(lra_run("--config ../a/listops/small/linear/n20/seed0/result.json --out b", here / "below").code == 0);
  CHECK(lra::read_json(here / "below/b/listops/small/linear/n20/seed0/result.json")["metrics"] == record["metrics"]);

  const std::string incomplete = record["data"]["incomplete"];
  CHECK_THAT(incomplete, ContainsSubstring("train has 200 examples, the official task has 96,000"));
  const double cut = record["data"]["train"]["cut_share"];
  CHECK((cut > 0 && cut < 1));
  CHECK(record["data"]["examples_per_step"] == 200);
  CHECK_THAT(
      first.err,
      ContainsSubstring("not the official data") && ContainsSubstring("seq_len 20 cuts ") &&
          ContainsSubstring("batch_size is 300, but the train split has 200 examples: each step takes all of them"));
}

TEST_CASE("eval scores with the weights, the mixer and the data of the run, or says what differs", "[cli]") {
  const fs::path out = workspace() / "eval_identity";
  const std::string config = small_run("eval_identity", {{"schedule", "constant"}}).string();
  REQUIRE(lra_run("--config " + config + " --out " + out.string() + " limit=20").code == 0);
  const fs::path folder = out / "listops/small/linear/n64/seed0";
  const std::string eval = "eval --checkpoint " + folder.string();
  CHECK(Json::parse(lra_run(eval).out)["examples"] == 20);
  // A file is scored from its first line to its last.
  CHECK(Json::parse(lra_run(eval + " --data " + data_dir() + "/listops/basic_test.tsv").out)["examples"] == 50);
  check_user_error(lra_run(eval + " mixer=none"), "which this model does not have");
  check_user_error(lra_run(eval + " d_ff=32"), "this model's is");
  const std::string other = (workspace() / "eval_identity_data").string();
  REQUIRE(lra_run("data prepare listops --data-dir " + other +
                  " --seed 1 --train 20 --valid 10 --test 10 --min-length 5 --max-length 60")
              .code == 0);
  check_user_error(lra_run(eval + " data_dir=" + other), "comes from a run on other data than those in " + other);
  CHECK(Json::parse(lra_run(eval + " --data " + other + "/listops/basic_test.tsv").out)["examples"] == 10);
  check_user_error(lra_run("--config " + config + " --out " + out.string() + " limit=20 data_dir=" + other),
                   "is the record of a run on other data");
  // A longer run goes on from the record of a shorter one.
  REQUIRE(lra_run("--config " + config + " --out " + out.string() + " limit=20 train_steps=8").code == 0);
  CHECK(lra::read_json(folder / "result.json")["metrics"]["steps_done"] == 8);
  CHECK_THAT(lra::read_json(folder / "result.json")["notes"].dump(), ContainsSubstring("resumed at step 6"));
  std::string weights = lra::read_file(folder / "model.safetensors");
  fs::remove(folder / "model.safetensors");
  fs::create_symlink("model.safetensors", folder / "model.safetensors");
  check_user_error(lra_run(eval), "model.safetensors: cannot be used (Too many levels of symbolic links)");
  fs::remove(folder / "model.safetensors");
  weights[weights.size() - 5] ^= 4;
  lra::write_file_atomically(folder / "model.safetensors", weights);
  check_user_error(lra_run(eval), "model.safetensors: damaged");
}

TEST_CASE("a suite goes on past runs that fail, records why, and starts again where it stopped", "[cli]") {
  Json suite = Json::parse(lra::read_file(small_run("suite_base")));
  for (const char* key : {"task", "mixer", "seed"}) suite.erase(key);
  suite["suite"] = "mixed";
  suite["tasks"] = {"listops"};
  suite["mixers"] = {{{"mixer", "softmax"}, {"variant", "too_big"}, {"memory_limit_gb", 1e-4}},
                     {{"mixer", "linear"},
                      {"variant", "explodes"},
                      {"learning_rate", 1e30},
                      {"schedule", "constant"},
                      {"train_steps", 30}},
                     {{"mixer", "linear"}, {"variant", "too_slow"}, {"time_limit_minutes", 1e-9}},
                     {{"mixer", "linear"}, {"variant", "no_data"}, {"data_dir", "/nowhere"}},
                     "none"};
  suite["bench"] = {{"lengths", {32}}};
  const fs::path file = workspace() / "suite.json", out = workspace() / "suite";
  lra::write_json(file, suite);
  const auto first = lra_run("--config " + file.string() + " --out " + out.string());
  INFO(first.err);
  CHECK(first.code == 3);
  const auto status = [&](const std::string& variant) { return result_in(out / "listops/small" / variant)["status"]; };
  CHECK(status("too_big") == "oom");
  CHECK(status("explodes") == "nan");
  CHECK(status("too_slow") == "timeout");
  CHECK(status("no_data") == "failed");
  CHECK(status("none") == "ok");
  CHECK(result_in(out / "bench/bytes/small/none")["sequence_length"] == 32);
  CHECK(result_in(out / "bench/bytes/small/too_big")["status"] == "oom");
  CHECK(result_in(out / "bench/bytes/small/too_slow")["status"] == "timeout");  // it is tried, whatever was guessed
  const auto written = fs::last_write_time(out / "listops/small/none/n64/seed0/result.json");
  const auto second = lra_run("--config " + file.string() + " --out " + out.string());
  CHECK_THAT(second.err, ContainsSubstring("9 of 10 runs were done before"));  // all but the one without data
  CHECK(fs::last_write_time(out / "listops/small/none/n64/seed0/result.json") == written);
  check_user_error(
      lra_run("--config " + small_run("other").string() + " --out " + out.string() + " mixer=none train_steps=7"),
      "train_steps");
}

TEST_CASE("a name that a user gives is written through, and what a run writes follows the umask", "[cli]") {
  const fs::path out = workspace() / "umask", folder = out / "listops/small/linear/n64/seed0";
  const std::string program = LRA_BIN_DIR "/lra-run";
  const auto shell = [](const std::string& command) {
    return WEXITSTATUS(std::system(("cd " LRA_SOURCE_DIR " && { " + command + "; } 2>/dev/null").c_str()));
  };
  REQUIRE(shell("umask 002 && " + program + " --config " + small_run("umask").string() + " --out " + out.string()) ==
          0);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    INFO(entry.path());
    CHECK(entry.status().permissions() == fs::perms(0664));
    ++files;
  }
  CHECK(files >= 6);

  const std::string eval = program + " eval --checkpoint " + folder.string() + " --predictions ",
                    got = (workspace() / "got").string();
  REQUIRE(shell(eval + got + ".plain >" + got + ".summary") == 0);
  const std::string plain = lra::read_file(got + ".plain");
  CHECK(std::count(plain.begin(), plain.end(), '\n') == 50);
  REQUIRE(shell("mkfifo " + got + ".pipe && { timeout 60 cat " + got + ".pipe >" + got + " & " + eval + got +
                ".pipe >/dev/null; wait; }") == 0);
  CHECK(lra::read_file(got) == plain);
  REQUIRE(shell("ln -s got.plain " + got + ".link && " + eval + got + ".link >/dev/null && test -L " + got + ".link") ==
          0);
  REQUIRE(shell(eval + "/dev/stdout >" + got) == 0);
  CHECK(lra::read_file(got) == plain + lra::read_file(got + ".summary"));
  REQUIRE(shell(eval + got + ".closed <&- >&- 2>&-") == 2);  // its summary went nowhere
  CHECK(lra::read_file(got + ".closed") == plain);
  for (const char* command : {" ls mixers", " schema", " doctor", " --help", " --version"})
    CHECK(shell(program + command + " >/dev/full") == 2);
  CHECK(shell(program + " --config " + small_run("closed").string() + " --out " + got + ".closed_run <&- >&- 2>&-") ==
        0);
  CHECK(result_in(got + ".closed_run")["status"] == "ok");
  CHECK(shell(program + " --config " + small_run("full").string() + " --out " + got + ".full_run 2>/dev/full") == 0);
}

TEST_CASE("names that are numbers or not UTF-8 work to the end", "[cli]") {
  const fs::path data = workspace() / "data\xff", out = workspace() / "out\xfe", file = workspace() / "file\xfd.json";
  fs::copy(data_dir(), data, fs::copy_options::recursive);
  fs::copy(small_run("names", {{"suite", "names"},
                               {"tasks", {"listops"}},
                               {"mixers", {"linear"}},
                               {"task", nullptr},
                               {"mixer", nullptr},
                               {"seed", nullptr}}),
           file);
  const auto suite = lra_run("--config '" + file.string() + "' --out '" + out.string() +
                             "' 'data_dir=" + data.string() + "' variant=123 display_name=1e5");
  INFO(suite.err);
  REQUIRE(suite.code == 0);
  const fs::path folder = out / "listops/small/123/n64/seed0";
  const Json record = lra::read_json(folder / "result.json");
  CHECK(record["status"] == "ok");
  CHECK(record["variant"] == "123");
  CHECK(record["display_name"] == "1e5");
  CHECK(record["config"]["data_dir"] == (workspace() / "data\\xff").string());
  const auto eval = lra_run("eval --checkpoint '" + folder.string() + "' 'data_dir=" + data.string() + "'");
  INFO(eval.err);
  CHECK(eval.code == 0);
  CHECK(Json::parse(eval.out)["accuracy"] == record["metrics"]["test_accuracy"]);
  check_user_error(lra_run("--config '" + (workspace() / "none\xfc").string() + "'"), "none\\xfc: cannot be read");
  check_user_error(lra_run("--config " + small_run("names").string() + " 'variant=a\033[31m\xff'"),
                   "expected a name that can be a folder's");
  check_user_error(lra_run("--config " + small_run("names").string() + " variant="),
                   "/variant: expected a name that can be a folder's, without slashes and spaces, found \"\"");
}

TEST_CASE("a configuration may come from a pipe, and what is none is said", "[cli]") {
  const std::string run = small_run("pipe").string();
  CHECK(lra_run("--dry-run --config /dev/stdin <" + run).code == 0);
  CHECK(lra_run("--dry-run --config <(cat " + run + ")").code == 0);
  check_user_error(lra_run("--config " + workspace().string()), "expected a file, found a folder");
  check_user_error(lra_run("--config /dev/null"), "there is nothing in it");
  std::ofstream(workspace() / "number.json") << "5";
  check_user_error(lra_run("--config " + (workspace() / "number.json").string()), "expected an object, found 5");
  std::ofstream(workspace() / "key.json")
      << R"({"task": "listops", "mixer": "linear", "profile": "small", "a\nb\u001b[31m": 1})";
  check_user_error(lra_run("--config " + (workspace() / "key.json").string()), "/a\\nb\\x1b[31m: unknown key");
  check_user_error(lra_run("--config " + run + " --out " + run), "Not a directory");
  for (const char* bad :
       {"--memory-limit-gb nan", "--memory-limit-gb -1", "--time-limit-minutes inf", "--time-limit-minutes -0.5"}) {
    check_user_error(lra_run("bench " + std::string(bad)), "expected a number of at least 0, found '");
  }
  check_user_error(lra_run("bench --mixers none --lengths 0"), "/seq_len: expected an integer between 1 and");
  check_user_error(lra_run("bench --mixers none --batch -3"), "/batch_size: expected an integer between 1 and");
  check_user_error(lra_run("bench --mixers none,linear,none"), "--mixers: none is given twice");
  check_user_error(lra_run("bench --mixers nome"), "unknown mixer 'nome'");
}

TEST_CASE("Waiting threads spin for a bounded time, unless the user says how long", "[cli]") {
  const std::string run =
      "--config " + small_run("spin").string() + " threads=2 --out " + (workspace() / "spin").string();
  const auto shown = [&](const std::string& environment) {
    fs::remove_all(workspace() / "spin");
    const auto output = lra_run(run, LRA_SOURCE_DIR, "OMP_DISPLAY_ENV=verbose " + environment);
    CHECK(output.code == 0);
    const auto place =
        output.err.rfind("GOMP_SPINCOUNT = ");  // libgomp's own words, of the last program that was loaded
    return place == std::string::npos ? "" : output.err.substr(place, output.err.find('\n', place) - place);
  };
  const std::string bounded = shown("");
  CHECK((bounded == "GOMP_SPINCOUNT = '10000'" || bounded == "GOMP_SPINCOUNT = '0'"));  // by the load of other programs
  CHECK(shown("LRA_SPIN_COUNT=5 GOMP_SPINCOUNT=77") == "GOMP_SPINCOUNT = '77'");
  CHECK(shown("GOMP_SPINCOUNT=77") == "GOMP_SPINCOUNT = '77'");
  CHECK(shown("OMP_WAIT_POLICY=passive") == "GOMP_SPINCOUNT = '0'");
}

TEST_CASE("More threads than cores are said once; fewer that OpenMP gives are recorded", "[cli]") {
  const std::string run = "--config " + small_run("threads").string() + " --out " + (workspace() / "threads").string();
  const auto many = lra_run(run + " threads=65");
  CHECK(many.code == 0);
  const auto place = many.err.find("threads=65 is more than the ");
  REQUIRE(place != std::string::npos);
  CHECK(many.err.find("threads=65 is more than the ", place + 1) == std::string::npos);
  CHECK(result_in(workspace() / "threads")["host"]["threads"] == 65);
  fs::remove_all(workspace() / "threads");
  CHECK(lra_run(run + " threads=3", LRA_SOURCE_DIR, "OMP_THREAD_LIMIT=2").code == 0);
  const Json record = result_in(workspace() / "threads");
  CHECK(record["host"]["threads"] == 2);
  CHECK(record["host"]["load"].contains("before"));
  const auto too_many = lra_run(run + ".none threads=4096", LRA_SOURCE_DIR, "ulimit -v 6000000 &&");
  CHECK(too_many.code == 2);
  CHECK_THAT(too_many.err,
             ContainsSubstring("error: threads: 4096 were asked for, but the system lets this process have only"));
}

TEST_CASE("two processes on one folder: the second leaves the run alone", "[cli]") {
  const fs::path out = workspace() / "locked";
  const auto lock = lra::FolderLock::try_lock(out / "listops/small/linear/n64/seed0");
  REQUIRE(lock.has_value());
  check_user_error(lra_run("--config " + small_run("locked").string() + " --out " + out.string()), "another process");
}

TEST_CASE("bench takes overrides after its lists", "[cli]") {
  const fs::path out = workspace() / "bench_overrides";
  const auto run = lra_run("bench --out " + out.string() +
                           " --lengths 32 --batch 1 --mixers none measure_steps=2 measure_warmup_steps=0");
  INFO(run.err);
  CHECK(run.code == 0);
  CHECK(result_in(out / "bench/bytes/small/none")["config"]["measure_steps"] == 2);
}

TEST_CASE("a stand-in is made, shown, verified, trained on and named; the real task says how to get it", "[cli]") {
  const std::string where = " --data-dir " + (workspace() / "standins").string();
  REQUIRE(lra_run("data prepare pathfinder_standin --seed 3 --train 20 --valid 10 --test 10" + where).code == 0);
  const auto status = lra_run("data status" + where);
  CHECK(status.code == 0);
  CHECK_THAT(status.out,
             ContainsSubstring("ready: 20 train, 10 valid, 10 test (generated, seed 3, a stand-in for pathfinder)"));
  CHECK_THAT(status.out, ContainsSubstring("not there: lra-run data prepare image --from cifar-10-binary.tar.gz"));
  const auto text = lra_run("data show pathfinder_standin 4" + where);
  CHECK(std::count(text.out.begin(), text.out.end(), '\n') == 17);
  CHECK_THAT(text.out, ContainsSubstring("label "));
  const fs::path png = workspace() / "picture.png";
  CHECK(lra_run("data show pathfinder_standin 4 --split train --png " + png.string() + where).code == 0);
  CHECK(lra::read_file(png).starts_with("\x89PNG"));
  CHECK(Json::parse(lra_run("data verify pathfinder_standin --json" + where).out)["examples"] ==
        Json({{"train", 20}, {"valid", 10}, {"test", 10}}));
  check_user_error(lra_run("data show pathfinder_standin 10" + where),
                   "expected an example from 0 to 9 of the test split, found 10");
  check_user_error(lra_run("data prepare pathfinder_standin --max-depth 4" + where), "/max_depth: unknown key");
  check_user_error(lra_run("data prepare text" + where), "expected --from FOLDER or --from ARCHIVE");
  check_user_error(lra_run("data prepare image --from " LRA_SOURCE_DIR "/tests/fixtures/imdb" + where),
                   "data_batch_1.bin");
  check_user_error(lra_run("data verify text" + where), "the data of the task 'text' are not there");

  const fs::path out = workspace() / "standin_runs";
  const Json run = {{"task", "pathfinder_standin"},
                    {"data_dir", (workspace() / "standins").string()},
                    {"seq_len", 1024},
                    {"batch_size", 4},
                    {"train_steps", 3}};
  CHECK(lra_run("--config " + small_run("standin", run).string() + " --out " + out.string() + " mixer=softmax").code ==
        0);
  const Json record = result_in(out / "pathfinder_standin/small/softmax");
  CHECK(record["status"] == "ok");
  CHECK(record["config"]["black_pixels"] == "padding");  // as LRA's code does for its Transformer
  CHECK(record["data"]["stand_in_for"] == "pathfinder");
  CHECK(record["metrics"]["reference_levels"].contains("bag_of_tokens"));
  check_user_error(lra_run("--config " + small_run("standin", run).string() + " --out " + out.string() +
                           " mixer=fnet black_pixels=padding"),
                   "the mixer 'fnet' cannot hide tokens");
  check_user_error(
      lra_run("--config " + small_run("standin", run).string() + " --out " + out.string() + " pair_head=nli"),
      "expected none");
  check_user_error(lra_run("--config " + small_run("pixels").string() + " pixels=continuous"), "are no pixels");
  check_user_error(lra_run("--config " + small_run("pixels").string() + " task_options.bracket=drop"),
                   "/task_options/bracket: unknown key");
  check_user_error(lra_run("--config " + small_run("pair").string() + " task=retrieval_standin pair_head=none"),
                   "pairs: expected concat or nli");
}

TEST_CASE("lists, version, help, schema and doctor answer", "[cli]") {
  CHECK_THAT(lra_run("ls mixers").out, ContainsSubstring("linformer"));
  CHECK_THAT(lra_run("ls tasks").out, ContainsSubstring("listops"));
  CHECK_THAT(lra_run("ls profiles").out, ContainsSubstring("small"));
  CHECK_THAT(lra_run("ls suites").out, ContainsSubstring("quickstart"));
  CHECK_THAT(lra_run("--version").out, ContainsSubstring("LibTorch 2."));
  CHECK_THAT(lra_run("--help").out, ContainsSubstring("Exit codes"));
  CHECK(Json::parse(lra_run("schema").out)["properties"].contains("d_model"));
  CHECK_THAT(lra_run("doctor").out, ContainsSubstring("threads"));
}
