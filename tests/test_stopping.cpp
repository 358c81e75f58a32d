#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/file_lock.h"
#include "core/json_file.h"
#include "train/threads.h"

// Signals, broken pipes, folders that go away: these tests run the programs as their users do.

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using lra::Json;

namespace {

using Words = std::vector<std::string>;
const std::string program = LRA_BIN_DIR "/lra-run";

void pause(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

/// A program in a process group of its own; what it says on standard error goes to a file, or to `errors`.
class Process {
 public:
  Process(
      const Words& words, fs::path log, const std::function<void()>& prepare = [] {}, int errors = -1)
      : log_(std::move(log)) {
    std::vector<char*> argv;
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    id_ = fork();
    if (id_ == 0) {
      setpgid(0, 0);
      signal(SIGHUP, SIG_DFL);  // these tests may run under nohup themselves
      const int file = errors >= 0 ? errors : open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      dup2(file, STDERR_FILENO);
      dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
      if (chdir(LRA_SOURCE_DIR) != 0) _exit(99);
      prepare();
      execv(argv[0], argv.data());
      _exit(99);
    }
  }
  ~Process() {
    if (id_ > 0) {
      kill(-id_, SIGKILL);
      kill(id_, SIGKILL);
      waitpid(id_, nullptr, 0);
    }
  }
  Process(Process&& other) noexcept : id_(std::exchange(other.id_, 0)), log_(std::move(other.log_)) {}
  Process& operator=(Process&&) = delete;

  pid_t id() const { return id_; }
  std::string said() const { return fs::exists(log_) ? lra::read_file(log_) : ""; }

  /// Waits until it has said `text`; false if it ends or a minute passes before.
  bool says(const std::string& text) const {
    for (int i = 0; i < 6000; ++i, pause(10)) {
      if (said().find(text) != std::string::npos) return true;
      siginfo_t info{};
      if (waitid(P_PID, static_cast<id_t>(id_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == id_)
        return false;
    }
    return false;
  }

  /// The exit code; minus the signal that killed it; -99 if it does not end within two minutes.
  int code() {
    int status = 0;
    for (int i = 0; i < 12000; ++i, pause(10)) {
      if (waitpid(id_, &status, WNOHANG) != id_) continue;
      id_ = 0;
      return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    return -99;
  }

 private:
  pid_t id_ = -1;
  fs::path log_;
};

struct Workspace {
  Workspace() : path(fs::temp_directory_path() / ("lra-stopping-" + std::to_string(getpid()))) {
    fs::remove_all(path);
    fs::create_directories(path);
    Process prepare({program, "data", "prepare", "listops", "--data-dir", path / "data", "--train", "40", "--valid",
                     "5", "--test", "5", "--min-length", "5", "--max-length", "40"},
                    path / "prepare.log");
    REQUIRE(prepare.code() == 0);
  }
  ~Workspace() { fs::remove_all(path); }

  /// A run that nobody waits for the end of, unless `changes` say so.
  fs::path run(const std::string& name, const Json& changes = Json::object()) const {
    Json run = {{"task", "listops"},
                {"mixer", "linear"},
                {"profile", "small"},
                {"seed", 0},
                {"data_dir", (path / "data").string()},
                {"seq_len", 40},
                {"batch_size", 4},
                {"num_layers", 1},
                {"warmup_steps", 5},
                {"train_steps", 10000000},
                {"eval_every", 100000},
                {"threads", 1},
                {"learning_rate", 1e-3},
                {"checkpoint_every", 1000000}};
    run.merge_patch(changes);
    lra::write_json(path / (name + ".json"), run);
    return path / (name + ".json");
  }

  fs::path suite(const std::string& name, const Json& changes = Json::object()) const {
    Json suite = lra::read_json(run(name, changes));
    for (const char* key : {"task", "mixer", "seed"}) suite.erase(key);
    suite["suite"] = name;
    suite["tasks"] = {"listops"};
    if (!suite.contains("mixers")) suite["mixers"] = {"linear"};
    lra::write_json(path / (name + ".json"), suite);
    return path / (name + ".json");
  }

  fs::path out(const std::string& name) const { return path / name; }
  static fs::path folder(const fs::path& out, const std::string& variant = "linear",
                         const std::string& length = "n40") {
    return out / "listops/small" / variant / length / "seed0";
  }

  Process start(
      const fs::path& config, const fs::path& out, const std::function<void()>& prepare = [] {},
      int errors = -1) const {
    return Process({program, "--config", config, "--out", out}, out.string() + ".log", prepare, errors);
  }

  fs::path path;
};

void check_saved(const fs::path& folder, const std::string& message) {
  INFO(folder);
  CHECK(fs::exists(folder / "checkpoint.safetensors"));
  REQUIRE(fs::exists(folder / "result.json"));
  const Json record = lra::read_json(folder / "result.json");
  CHECK(record["status"] == "interrupted");
  CHECK(record["message"] == message + "; run it again to go on");
}

}  // namespace

TEST_CASE("a stop signal, however often it comes, ends a run with a checkpoint", "[cli]") {
  const Workspace workspace;
  const std::vector<std::pair<int, std::string>> signals{{SIGINT, "SIGINT"},   {SIGTERM, "SIGTERM"},
                                                         {SIGHUP, "SIGHUP"},   {SIGUSR1, "SIGUSR1"},
                                                         {SIGUSR2, "SIGUSR2"}, {SIGXCPU, "SIGXCPU"}};
  std::vector<Process> runs;
  for (const auto& [number, name] : signals)
    runs.push_back(workspace.start(workspace.run("single"), workspace.out(name)));
  for (std::size_t i = 0; i < signals.size(); ++i) {
    INFO(signals[i].second);
    CHECK(runs[i].says("step "));
    for (int again = 0; again < 3; ++again, pause(1)) kill(runs[i].id(), signals[i].first);
  }
  for (std::size_t i = 0; i < signals.size(); ++i) {
    INFO(signals[i].second);
    CHECK(runs[i].code() == 130);
    check_saved(Workspace::folder(workspace.out(signals[i].second)), "stopped by " + signals[i].second);
  }
}

TEST_CASE("under nohup SIGHUP does not stop a run", "[cli]") {
  const Workspace workspace;
  auto run = workspace.start(workspace.run("nohup"), workspace.out("nohup"), [] { signal(SIGHUP, SIG_IGN); });
  REQUIRE(run.says("step "));
  kill(run.id(), SIGHUP);
  pause(300);
  kill(run.id(), SIGTERM);
  CHECK(run.code() == 130);
  check_saved(Workspace::folder(workspace.out("nohup")), "stopped by SIGTERM");
}

TEST_CASE("a stop signal that comes before the program is ready is not lost", "[cli]") {
  const Workspace workspace;
  auto run = workspace.start(workspace.run("early"), workspace.out("early"), [] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    raise(SIGTERM);
  });
  CHECK(run.code() == 130);
  check_saved(Workspace::folder(workspace.out("early")), "stopped by SIGTERM");
}

TEST_CASE("a suite whose process group is stopped keeps its run's progress, and so does one that is stopped alone",
          "[cli]") {
  const Workspace workspace;
  auto group = workspace.start(workspace.suite("group"), workspace.out("group"));
  auto alone = workspace.start(workspace.suite("alone"), workspace.out("alone"));
  REQUIRE(group.says("step "));
  REQUIRE(alone.says("step "));
  kill(-group.id(), SIGTERM);
  kill(alone.id(), SIGUSR1);
  CHECK(group.code() == 130);
  CHECK(alone.code() == 130);
  check_saved(Workspace::folder(workspace.out("group")), "stopped by SIGTERM");
  check_saved(Workspace::folder(workspace.out("alone")), "stopped by SIGUSR1");
}

TEST_CASE("a run whose standard output nobody reads any more is saved", "[cli]") {
  const Workspace workspace;
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  auto run = workspace.start(workspace.run("output"), workspace.out("output"), [&] { dup2(ends[1], STDOUT_FILENO); });
  close(ends[1]);
  CHECK(run.says("step "));
  close(ends[0]);
  CHECK(run.code() == 130);
  check_saved(Workspace::folder(workspace.out("output")), "stopped, for nobody reads its standard output any more");
}

TEST_CASE("a run whose messages nobody reads any more is saved", "[cli]") {
  const Workspace workspace;
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  auto run = workspace.start(workspace.run("pipe"), workspace.out("pipe"), [] {}, ends[1]);
  close(ends[1]);
  std::string said;
  char byte = 0;
  while (said.find("step ") == std::string::npos && read(ends[0], &byte, 1) == 1) said += byte;
  CHECK_THAT(said, ContainsSubstring("step "));
  close(ends[0]);
  CHECK(run.code() == 130);
  check_saved(Workspace::folder(workspace.out("pipe")), "stopped, for nobody reads its standard error any more");
}

TEST_CASE("a run goes on when its messages cannot be written", "[cli]") {
  const Workspace workspace;
  const fs::path config = workspace.run("full", {{"train_steps", 20}, {"eval_every", 5}});
  Process run({"/bin/sh", "-c",
               program + " --config " + config.string() + " --out " + workspace.out("full").string() + " 2>/dev/full"},
              workspace.path / "full.log");
  CHECK(run.code() == 0);
  CHECK(lra::read_json(Workspace::folder(workspace.out("full")) / "result.json")["status"] == "ok");
}

TEST_CASE("a child whose suite died before it was ready does not begin", "[cli]") {
  const Workspace workspace;
  const fs::path folder = workspace.path / "orphan";
  Process dead({"/bin/true"}, workspace.path / "true.log");
  const std::string suite = std::to_string(dead.id());
  CHECK(dead.code() == 0);
  Process child({program, "--config", workspace.run("orphan"), "--folder", folder, "--suite-process", suite},
                workspace.path / "orphan.log");
  CHECK(child.code() == 130);
  CHECK_FALSE(fs::exists(folder));
}

TEST_CASE("a suite that is killed takes its run with it, saved", "[cli]") {
  const Workspace workspace;
  auto suite = workspace.start(workspace.suite("killed"), workspace.out("killed"));
  REQUIRE(suite.says("step "));
  kill(suite.id(), SIGKILL);
  CHECK(suite.code() == -SIGKILL);
  const fs::path folder = Workspace::folder(workspace.out("killed"));
  for (int i = 0; i < 1000 && !fs::exists(folder / "result.json"); ++i) pause(10);
  check_saved(folder, "stopped by SIGTERM");
}

TEST_CASE("a run folder that is moved, removed or emptied while the run works in it is an error", "[cli]") {
  const Workspace workspace;
  const Json quick = {{"eval_every", 2000}};
  auto moved = workspace.start(workspace.run("moved", quick), workspace.out("moved"));
  auto in_suite = workspace.start(workspace.suite("suite", quick), workspace.out("suite"));
  auto emptied = workspace.start(workspace.run("emptied", quick), workspace.out("emptied"));
  const fs::path elsewhere = workspace.path / "elsewhere";
  REQUIRE(moved.says("step "));
  fs::rename(workspace.out("moved"), elsewhere);
  CHECK(moved.code() == 2);
  CHECK_THAT(moved.said(),
             ContainsSubstring("seed0: the folder was moved, removed or replaced while a run worked in it"));
  CHECK_FALSE(fs::exists(workspace.out("moved")));

  REQUIRE(in_suite.says("step "));
  fs::remove_all(workspace.out("suite"));
  CHECK(in_suite.code() == 3);
  CHECK_THAT(in_suite.said(), ContainsSubstring("moved, removed or replaced"));
  CHECK_FALSE(fs::exists(workspace.out("suite")));

  REQUIRE(emptied.says("step "));
  fs::remove(Workspace::folder(workspace.out("emptied")) / "metrics.jsonl");
  CHECK(emptied.code() == 2);
  CHECK_THAT(emptied.said(), ContainsSubstring("metrics.jsonl: was moved or removed while the run wrote to it"));
}

TEST_CASE("a suite leaves the record of a run that another process failed at", "[cli]") {
  const Workspace workspace;
  const fs::path out = workspace.out("waits"), folder = Workspace::folder(out);
  const fs::path config = workspace.suite("waits", {{"train_steps", 10}});
  Process suite = [&] {
    const auto lock = lra::FolderLock::try_lock(folder);
    Process started = workspace.start(config, out);
    CHECK(started.says("1 runs are being done by another process"));
    Process dry({"/bin/sh", "-c",
                 program + " --dry-run --config " +
                     workspace.run("waits_run", {{"train_steps", 10}, {"suite", "waits"}}).string() + " >" +
                     (out / "run.json").string()},
                workspace.path / "dry.log");
    CHECK(dry.code() == 0);
    lra::write_json(folder / "result.json", {{"status", "failed"},
                                             {"message", "what the other process saw"},
                                             {"config", lra::read_json(out / "run.json")}});
    return started;
  }();
  CHECK(suite.code() == 3);
  CHECK(lra::read_json(folder / "result.json")["message"] == "what the other process saw");
}

TEST_CASE("suites that share a folder of which some runs fail all reach the end, and every message is true", "[cli]") {
  const Workspace workspace;
  Json mixers = Json::array();
  for (int i = 0; i < 4; ++i)
    mixers.push_back({{"mixer", "linear"}, {"variant", "no_data_" + std::to_string(i)}, {"data_dir", "/nowhere"}});
  mixers.push_back("none");
  const fs::path config = workspace.suite("shared", {{"train_steps", 20}, {"mixers", mixers}}),
                 out = workspace.out("shared");
  std::vector<Process> suites;
  for (int i = 0; i < 3; ++i)
    suites.push_back(
        Process({program, "--config", config, "--out", out}, workspace.path / fmt::format("shared{}.log", i)));
  for (auto& suite : suites) {
    CHECK(suite.code() == 3);
    INFO(suite.said());
    CHECK(suite.said().find("writing failed") == std::string::npos);
  }
  for (int i = 0; i < 4; ++i) {
    const Json record = lra::read_json(Workspace::folder(out, "no_data_" + std::to_string(i)) / "result.json");
    CHECK(record["status"] == "failed");
    CHECK_THAT(record["message"].get<std::string>(), ContainsSubstring("/nowhere"));
  }
  CHECK(lra::read_json(Workspace::folder(out, "none") / "result.json")["status"] == "ok");
}

TEST_CASE("small runs of a suite train side by side, benches alone, and the numbers are those of one after the other",
          "[cli]") {
  if (lra::most_threads() < 2) SKIP("one core");
  const Workspace workspace;
  Json quick = {{"train_steps", 300},
                {"eval_every", 100},
                {"seq_len", 20},
                {"mixers", {"linear", "none"}},
                {"bench", {{"lengths", {32}}}}};
  const auto log_of = [&](const std::string& name) {
    auto suite = workspace.start(workspace.suite(name, quick), workspace.out(name));
    CHECK(suite.code() == 0);
    return suite.said();
  };
  quick["threads"] = 1;
  const std::string one_by_one = log_of("one_by_one");
  quick["threads"] = 0;
  const std::string beside = log_of("beside");
  const auto at = [](const std::string& log, const std::string& text) {
    INFO(text << " in\n" << log);
    REQUIRE(log.find(text) != std::string::npos);
    return log.find(text);
  };
  CHECK(at(one_by_one, "[2/4]") > at(one_by_one, "ok, test accuracy"));
  CHECK(at(beside, "[2/4]") < at(beside, "[1/4] train listops linear: ok, test accuracy"));
  CHECK(at(beside, "[2/4]") < at(beside, "[2/4] train listops none: ok, test accuracy"));
  for (const char* train : {"linear: ok", "none: ok"}) CHECK(at(beside, "[3/4] bench") > at(beside, train));
  // What is to be known of the data is said once, before anything is trained.
  for (const std::string& log : {one_by_one, beside}) {
    const auto note = at(log, "note: listops: seq_len 20 cuts");
    CHECK(log.find("note: ", note + 1) == std::string::npos);
    CHECK(note < at(log, "step "));
  }
  for (const char* variant : {"linear", "none"}) {
    const fs::path a = Workspace::folder(workspace.out("one_by_one"), variant, "n20"),
                   b = Workspace::folder(workspace.out("beside"), variant, "n20");
    const Json record = lra::read_json(b / "result.json");
    CHECK(record["host"]["threads"] == 1);
    if (record["host"]["load"].contains("during")) CHECK(record["host"]["load"].contains("suite"));
    CHECK(lra::read_json(a / "result.json")["metrics"]["test_accuracy"] ==
          lra::read_json(b / "result.json")["metrics"]["test_accuracy"]);
  }
}

TEST_CASE("scripts end without a word on Ctrl-C", "[cli]") {
  const Workspace workspace;
  const std::string source = "set -euo pipefail; source scripts/lib.sh; ";
  // A command that dies of the signal, and one that saves its work and ends with 130, as lra-run does.
  for (const char* command : {"sleep 20", "bash -c 'trap \"exit 130\" INT; sleep 20 & wait'"}) {
    Process script({"/bin/bash", "-c", source + "echo begun >&2; " + command + "; echo went on >&2"},
                   workspace.path / "script.log");
    REQUIRE(script.says("begun"));
    pause(200);
    kill(-script.id(), SIGINT);
    CHECK(script.code() == 130);
    CHECK(script.said() == "begun\n");
  }
  Process failing({"/bin/bash", "-c", source + "false"}, workspace.path / "script.log");
  CHECK(failing.code() == 1);
  CHECK_THAT(failing.said(), ContainsSubstring("stopped in line"));
}
