#include "cli/suite.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

#include "cli/estimate.h"
#include "cli/resolve.h"
#include "core/build_info.h"
#include "core/error.h"
#include "core/file_lock.h"
#include "core/host_info.h"
#include "core/log.h"
#include "core/record.h"
#include "data/task.h"
#include "train/bench.h"
#include "train/device.h"
#include "train/progress.h"
#include "train/run_status.h"
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

/// Fills in what every record has, whatever became of the run.
void complete(RunRecord& record, const RunConfig& config, double seconds) {
  if (record.host.is_null()) {
    const auto threads = static_cast<int>(config.train.threads == 0 ? usable_cores() : config.train.threads);
    describe_run(config, select_device(config.train.device), threads, record);
  }
  Json host = host_info();
  host.update(record.host);
  record.host = host;
  record.config = config.to_json();
  record.build = build_facts();
  record.wall_seconds = seconds;
  if (config.kind == "bench" && config.task.task == "bytes") record.sequence_length = config.task.seq_len;
}

void write_failure(const RunConfig& config, const fs::path& folder, const std::string& status, const std::string& message, double seconds) {
  RunRecord record;
  record.status = status;
  record.message = message;
  complete(record, config, seconds);
  write_json(folder / "result.json", record.to_json());
}

/// Processes that the kernel has killed for want of memory since it started.
std::int64_t kernel_oom_kills() {
  std::ifstream in("/proc/vmstat");
  std::int64_t count = 0;
  for (std::string name; in >> name >> count;) {
    if (name == "oom_kill") return count;
  }
  return 0;
}

pid_t spawn_child(const fs::path& folder) {
  const std::string program = "/proc/self/exe";  // also when the file was replaced by a new build
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
    if (done < 0 && errno != EINTR) throw Error(fmt::format("lost sight of a run's process ({})", std::strerror(errno)));
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

/// Why a bench should not be tried: its estimate is above a limit. Empty if it should.
std::string bench_is_too_much(const RunConfig& config, const Estimate& cost) {
  // The estimate knows this machine's processor only; a device says itself when its memory ends.
  if (config.kind != "bench" || !select_device(config.train.device).is_cpu()) return "";
  const double gib = cost.bytes / (1 << 30);
  const double minutes = cost.seconds_per_step / 60 * static_cast<double>(config.measure.measure_warmup_steps + config.measure.measure_steps);
  const double gib_limit = config.train.memory_limit_gb, minutes_limit = config.train.time_limit_minutes;
  if (gib_limit > 0 && gib > gib_limit) return fmt::format("estimated {:.3g} GiB of tensors, above the limit of {:.3g} GiB", gib, gib_limit);
  if (minutes_limit > 0 && minutes > minutes_limit) return fmt::format("estimated {:.3g} minutes, above the limit of {:.3g}", minutes, minutes_limit);
  return "";
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
  std::error_code code;
  if (!fs::exists(file, code)) return "";
  const Json record = read_json(file);
  if (!record.is_object() || !record.contains("config") || !record["config"].is_object() || !record.contains("status") || !record["status"].is_string()) {
    throw Error(fmt::format("{}: is no record of a run", file.string()), "choose another --out, or delete that file");
  }
  const Json& recorded = record["config"];
  const Json wanted = config.to_json();
  for (const auto& [key, value] : wanted.items()) {
    if (keys_without_effect().count(key) == 0 && recorded.contains(key) && recorded[key] != value) {
      throw Error(fmt::format("{}: is the record of a run with {} = {}, not {}", file.string(), key, recorded[key].dump(), value.dump()),
                  "choose another --out, or delete that folder");
    }
  }
  // A run that met a limit is tried again under another one.
  const auto changed = [&](const char* key) { return recorded.contains(key) && recorded[key] != wanted[key]; };
  const auto status = record["status"].get<std::string>();
  const bool limited = status == "oom" || status == "timeout" || status == "skipped";
  return limited && (changed("memory_limit_gb") || changed("time_limit_minutes")) ? "failed" : status;
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
    log().info("already done: {}", folder.string());
    return status == "ok" ? exit_ok : exit_not_all_ok;
  }
  fs::remove(folder / "result.json");
  write_json(folder / "config.json", config.to_json());
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  try {
    install_stop_signals();
    const Estimate cost = estimate(config, config.kind == "bench" ? mean_example_length(config) : static_cast<double>(config.task.seq_len));
    TerminalProgress progress;
    RunRecord record;
    if (const std::string reason = bench_is_too_much(config, cost); !reason.empty()) {
      record.status = "skipped";
      record.message = reason;
    } else {
      record = config.kind == "bench" ? bench(config) : train(config, folder, progress);
    }
    complete(record, config, seconds());
    record.cost = cost.to_json();
    if (static_cast<double>(cost.parameters) > 1.1 * static_cast<double>(cost.softmax_parameters)) {
      record.notes.push_back(fmt::format("{} parameters, over 10 % more than the {} of full attention: not comparable by LRA's rules", cost.parameters,
                                         cost.softmax_parameters));
    }
    if (record.test_accuracy && record.reference_levels.contains("majority")) {
      const double majority = record.reference_levels["majority"].get<double>();
      const double error = std::sqrt(majority * (1 - majority) / static_cast<double>(*record.test_examples));
      if (*record.test_accuracy < majority + 2 * error) record.notes.push_back("no better than always guessing the most frequent class: nothing was learned");
    }
    const Json json = record.to_json();
    if (!record.operator_profile.is_null()) write_json(folder / "profile.json", record.operator_profile);
    write_json(folder / "result.json", json);
    log().info(summary(json));
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
  signal(SIGCHLD, SIG_DFL);  // whoever ignores it loses the children's exit codes
  // A mistake in any run's files is said before the first run starts.
  for (const auto& run : runs) recorded_status(run, run_folder(out, run));
  bool all_ok = true;
  bool said_busy = false;
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
        log().info("{}: done before ({})", title, status);
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
        if (finished(recorded_status(*run, folder))) {  // by another process, since the look above
          busy.push_back(run);
          continue;
        }
        fs::remove(folder / "result.json");
        write_json(folder / "config.json", run->to_json());
      }
      log().info(title);
      const auto start = Clock::now();
      const std::int64_t oom_kills = kernel_oom_kills();
      const auto [wait_status, timed_out] = wait_for(spawn_child(folder), run->train.time_limit_minutes * 60);
      if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == exit_busy) {
        busy.push_back(run);
        continue;
      }
      if (!fs::exists(folder / "result.json")) {
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        if (timed_out) {
          write_failure(*run, folder, "timeout", "killed: it did not end at its time limit", seconds);
        } else if (stop_requested()) {
          write_failure(*run, folder, "interrupted", "stopped by a signal before it began", seconds);
        } else if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL && kernel_oom_kills() > oom_kills) {
          write_failure(*run, folder, "oom", "killed by the kernel for want of memory", seconds);
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
    if (!busy.empty() && !said_busy) log().info("{} runs are being done by another process; waiting for them", busy.size());
    said_busy = !busy.empty();
    if (said_busy) std::this_thread::sleep_for(std::chrono::seconds(1));
    waiting = std::move(busy);
  }
  if (stop_requested()) return exit_interrupted;
  return all_ok ? exit_ok : exit_not_all_ok;
}

}  // namespace lra
