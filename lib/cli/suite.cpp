#include "cli/suite.h"

#include <fcntl.h>
#include <fmt/color.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "cli/resolve.h"
#include "core/build_info.h"
#include "core/error.h"
#include "core/file_lock.h"
#include "core/host_info.h"
#include "core/record.h"
#include "data/task.h"
#include "train/bench.h"
#include "train/device.h"
#include "train/progress.h"
#include "train/stop_signals.h"
#include "train/trainer.h"

extern char** environ;

namespace lra {
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

/// A child that has not ended this long after its own time limit is killed.
constexpr double grace_seconds = 60;

bool finished(const std::string& status) { return status == "ok" || status == "oom" || status == "timeout" || status == "nan" || status == "skipped"; }

Json build_facts() {
  const BuildInfo& info = build_info();
  return {{"revision", info.revision}, {"dirty", info.dirty}, {"libtorch", info.libtorch}, {"compiler", info.compiler}, {"build_type", info.build_type}};
}

void write_failure(const RunConfig& config, const fs::path& folder, const std::string& status, const std::string& message, double seconds) {
  RunRecord record;
  record.status = status;
  record.message = message;
  record.config = config.to_json();
  record.host = host_info();
  record.build = build_facts();
  record.wall_seconds = seconds;
  write_json(folder / "result.json", record.to_json());
}

pid_t spawn_child(const fs::path& folder) {
  std::error_code code;
  const std::string program = fs::read_symlink("/proc/self/exe", code).string();
  const std::string config = (folder / "config.json").string();
  std::string arguments[] = {program, "--config", config, "--folder", folder.string()};
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t child = -1;
  const int failure = posix_spawn(&child, program.c_str(), nullptr, nullptr, argv.data(), environ);
  if (failure != 0) throw Error(fmt::format("{}: cannot be started ({})", program, std::strerror(failure)));
  return child;
}

/// Waits for the child; passes a stop on to it, and kills it when it outlives its limit. Returns the wait status and whether the limit was passed.
std::pair<int, bool> wait_for(pid_t child, double limit_seconds) {
  const auto start = Clock::now();
  bool stop_sent = false, timed_out = false;
  for (int status = 0;;) {
    const pid_t done = waitpid(child, &status, WNOHANG);
    if (done == child) return {status, timed_out};
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (stop_requested() && !stop_sent) {
      kill(child, SIGTERM);
      stop_sent = true;
    }
    if (limit_seconds > 0 && seconds > limit_seconds + grace_seconds && !timed_out) {
      kill(child, SIGKILL);
      timed_out = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

std::string summary(const Json& record) {
  std::string text = record.value("status", "?");
  if (record.contains("message")) text += ": " + record["message"].get<std::string>();
  const Json& metrics = record["metrics"];
  if (metrics.contains("test_accuracy")) text += fmt::format(", test accuracy {:.2f} %", 100 * metrics["test_accuracy"].get<double>());
  const Json& speed = record["speed"];
  if (speed.contains("train_examples_per_second")) text += fmt::format(", {:.4g} examples/s", speed["train_examples_per_second"]["median"].get<double>());
  if (record["memory"].contains("peak_tensor_bytes")) text += fmt::format(", {:.1f} MB", record["memory"]["peak_tensor_bytes"].get<double>() / 1e6);
  return text;
}

}  // namespace

std::string recorded_status(const RunConfig& config, const fs::path& folder) {
  const fs::path file = folder / "result.json";
  if (!fs::exists(file)) return "";
  const Json record = read_json(file);
  const Json recorded = record.value("config", Json::object());
  const Json wanted = config.to_json();
  for (const auto& [key, value] : wanted.items()) {
    if (recorded.contains(key) && recorded[key] != value) {
      throw Error(fmt::format("{}: is the record of a run with {} = {}, not {}", file.string(), key, recorded[key].dump(), value.dump()),
                  "choose another --out, or delete that folder");
    }
  }
  return record.value("status", "failed");
}

ExitCode run_in_folder(const RunConfig& config, const fs::path& folder, bool suite_child) {
  if (suite_child) {
    std::ofstream("/proc/self/oom_score_adj") << 1000;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
  }
  auto lock = FolderLock::try_lock(folder);
  if (!lock) {
    if (suite_child) return exit_busy;
    throw Error(fmt::format("{}: another process is working on this run", folder.string()), "wait for it, or choose another --out");
  }
  const std::string status = recorded_status(config, folder);
  if (finished(status)) {
    fmt::print(stderr, "already done: {}\n", folder.string());
    return status == "ok" ? exit_ok : exit_not_all_ok;
  }
  fs::remove(folder / "result.json");
  write_json(folder / "config.json", config.to_json());
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  try {
    install_stop_signals();
    TerminalProgress progress;
    RunRecord record = config.kind == "bench" ? bench(config) : train(config, folder, progress);
    record.config = config.to_json();
    Json host = host_info();
    if (record.host.is_object()) host.update(record.host);
    record.host = host;
    record.build = build_facts();
    record.wall_seconds = seconds();
    const Json json = record.to_json();
    write_json(folder / "result.json", json);
    fmt::print(stderr, "{}\n", summary(json));
    if (record.status == "interrupted") return exit_interrupted;
    return record.status == "ok" ? exit_ok : exit_not_all_ok;
  } catch (const std::exception& error) {
    // In a suite even a mistake of the user's becomes a record, so that the report shows what is missing.
    if (suite_child) write_failure(config, folder, "failed", error.what(), seconds());
    throw;
  }
}

ExitCode run_suite(const std::vector<RunConfig>& runs, const fs::path& out) {
  install_stop_signals();
  // A mistake in any run's files is said before the first run starts.
  for (const auto& run : runs) recorded_status(run, run_folder(out, run));
  bool all_ok = true;
  std::vector<const RunConfig*> waiting;
  for (const auto& run : runs) waiting.push_back(&run);
  for (std::size_t done = 0; !waiting.empty() && !stop_requested();) {
    std::vector<const RunConfig*> busy;
    for (const RunConfig* run : waiting) {
      if (stop_requested()) break;
      const fs::path folder = run_folder(out, *run);
      const std::string title = fmt::format("[{}/{}] {} {} {} n{} seed {}", done + 1, runs.size(), run->kind, run->task.task, run->variant,
                                            run->task.seq_len, run->train.seed);
      std::string status = recorded_status(*run, folder);
      if (finished(status)) {
        fmt::print(stderr, "{}: done before ({})\n", title, status);
        all_ok = all_ok && status == "ok";
        ++done;
        continue;
      }
      {
        auto lock = FolderLock::try_lock(folder);
        if (!lock) {
          busy.push_back(run);
          continue;
        }
        fs::remove(folder / "result.json");
        write_json(folder / "config.json", run->to_json());
      }
      fmt::print(stderr, "{}\n", title);
      const auto start = Clock::now();
      const auto [wait_status, timed_out] = wait_for(spawn_child(folder), run->train.time_limit_minutes * 60);
      if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == exit_busy) {
        busy.push_back(run);
        continue;
      }
      if (!fs::exists(folder / "result.json")) {
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        if (timed_out) {
          write_failure(*run, folder, "timeout", "killed: it did not end at its time limit", seconds);
        } else if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL) {
          write_failure(*run, folder, "oom", "killed by signal 9, most likely by the kernel for want of memory", seconds);
        } else if (WIFSIGNALED(wait_status)) {
          write_failure(*run, folder, "failed", fmt::format("killed by signal {}", WTERMSIG(wait_status)), seconds);
        } else {
          write_failure(*run, folder, "failed", fmt::format("ended with exit code {} and without a record", WEXITSTATUS(wait_status)), seconds);
        }
      }
      status = recorded_status(*run, folder);
      all_ok = all_ok && status == "ok";
      ++done;
    }
    if (busy.size() == waiting.size()) std::this_thread::sleep_for(std::chrono::seconds(1));
    if (!busy.empty() && busy.size() < waiting.size()) fmt::print(stderr, "{} runs are being done by another process; waiting for them\n", busy.size());
    waiting = std::move(busy);
  }
  if (stop_requested()) return exit_interrupted;
  return all_ok ? exit_ok : exit_not_all_ok;
}

}  // namespace lra
