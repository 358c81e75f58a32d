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
#include <list>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "cli/estimate.h"
#include "cli/resolve.h"
#include "core/build_info.h"
#include "core/error.h"
#include "core/file_lock.h"
#include "core/held_folder.h"
#include "core/host_info.h"
#include "core/load.h"
#include "core/log.h"
#include "core/record.h"
#include "data/task.h"
#include "train/bench.h"
#include "train/device.h"
#include "train/progress.h"
#include "train/run_status.h"
#include "train/same_run.h"
#include "train/stop_signals.h"
#include "train/threads.h"
#include "train/trainer.h"

extern char** environ;

namespace lra {
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

/// A child that has not ended this long after its own time limit is killed.
constexpr double grace_seconds = 60;

bool finished(const std::string& status) { return status == "ok" || status == "oom" || status == "timeout" || status == "nan"; }

Json build_facts() {
  const BuildInfo& info = build_info();
  return {{"revision", info.revision}, {"dirty", info.dirty}, {"libtorch", info.libtorch}, {"compiler", info.compiler}, {"build_type", info.build_type}};
}

/// Fills in what every record has, whatever became of the run.
void complete(RunRecord& record, const RunConfig& config, double seconds) {
  if (record.host.is_null()) {
    describe_run(config, select_device(config.train.device), record);
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

/// Starts a process for the run in `folder`, which holds the lock on it too. Stop signals wait until it is ready for them.
/// The folder of the data is an argument too: config.json cannot hold a name that is not UTF-8.
pid_t start_process(const RunConfig& run, const fs::path& folder, const FolderLock& lock, const std::string& label) {
  const std::string program = "/proc/self/exe";  // also when the file was replaced by a new build
  const std::string config = (folder / "config.json").string();
  std::vector<std::string> arguments = {program, "--config", config, "--folder", folder.string(), "--suite-process", std::to_string(::getpid()),
                                        "data_dir=" + run.task.data_dir};
  if (!label.empty()) arguments.insert(arguments.end(), {"--label", label});
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  bound_spinning_of_children();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, lock.descriptor(), lock.descriptor());  // onto itself: it is not closed
  pid_t process = -1;
  hold_stop_signals();
  const int failure = posix_spawn(&process, program.c_str(), &actions, nullptr, argv.data(), environ);
  release_stop_signals();
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) throw Error(fmt::format("{}: cannot be started ({})", program, std::strerror(failure)));
  return process;
}

/// Why a bench should not be tried: its estimate is above the memory limit. Empty if it should. How long it takes is not guessed: a guess from a busy moment would skip
/// what fits, and the time limit holds while it runs.
std::string bench_is_too_much(const RunConfig& config, const Estimate& cost) {
  // The estimate knows this machine's processor only; a device says itself when its memory ends.
  if (config.kind != "bench" || !select_device(config.train.device).is_cpu()) return "";
  const double gib = cost.bytes / (1 << 30);
  const double gib_limit = config.train.memory_limit_gb;
  if (gib_limit > 0 && gib > gib_limit) return fmt::format("estimated {:.3g} GiB of tensors, above the limit of {:.3g} GiB", gib, gib_limit);
  return "";
}

std::string summary(const Json& record) {
  std::string text = record.value("status", "?");
  if (record.contains("message")) text += ": " + record["message"].get<std::string>();
  const Json& metrics = record["metrics"];
  if (metrics.contains("test_accuracy")) text += fmt::format(", test accuracy {:.2f} %", 100 * metrics["test_accuracy"].get<double>());
  const Json& speed = record["speed"];
  if (speed.contains("train_examples_per_second")) text += fmt::format(", {:.4g} examples/s", speed["train_examples_per_second"]["median"].get<double>());
  if (speed.contains("disturbed")) text += fmt::format(" (disturbed: {})", speed["disturbed"].get<std::string>());
  if (record["memory"].contains("peak_tensor_bytes")) text += fmt::format(", {:.1f} MB", record["memory"]["peak_tensor_bytes"].get<double>() / 1e6);
  return text;
}

/// Of all runs that this suite did at once, with what to do.
void warn_of_disturbed(const std::vector<const RunConfig*>& runs, const fs::path& out) {
  std::size_t benches = 0, trainings = 0;
  for (const RunConfig* run : runs) {
    const auto record = record_in(run_folder(out, *run));
    if (record && record->contains("speed") && (*record)["speed"].contains("disturbed")) ++(run->kind == "bench" ? benches : trainings);
  }
  if (benches > 0) log().warn("warning: the speeds of {} measured cells are not to be trusted: {}", benches, disturbance_remedy);
  if (trainings > 0) log().info("{} runs were disturbed while they trained, by other programs or by runs of this suite: their scores hold, their speeds do not", trainings);
}

}  // namespace

std::optional<Json> record_in(const fs::path& folder) {
  const fs::path file = folder / "result.json";
  std::error_code code;
  if (!fs::exists(file, code)) return {};
  try {
    return read_json(file);
  } catch (const Error&) {
    if (fs::exists(file, code)) throw;
    return {};  // another process took it away to write a new one
  }
}

std::string recorded_status(const RunConfig& config, const fs::path& folder) {
  const fs::path file = folder / "result.json";
  const auto existing = record_in(folder);
  if (!existing) return "";
  const Json& record = *existing;
  if (!record.is_object() || !record.contains("config") || !record["config"].is_object() || !record.contains("status") || !record["status"].is_string()) {
    throw Error(fmt::format("{}: is no record of a run", file.string()), "choose another --out, or delete that file");
  }
  const Json& recorded = record["config"];
  if (const auto found = config_difference(recorded, config)) {
    throw Error(fmt::format("{}: is the record of a run with {} = {}, not {}{}", file.string(), found->key, found->before, found->now, found->reason),
                "choose another --out, or delete that folder");
  }
  const Json wanted = config.to_json();
  // A run that met a limit is tried again under another one.
  const auto changed = [&](const char* key) { return recorded.contains(key) && recorded[key] != wanted[key]; };
  const auto status = record["status"].get<std::string>();
  const Json hashes = finished(status) ? split_hashes(record.value("data", Json())) : Json::object();
  if (const std::string found = data_difference(hashes, hashes_in_data_dir(config.task)); !found.empty()) {
    throw Error(fmt::format("{}: is the record of a run on other data than those in {}: {}", file.string(), config.task.data_dir, found),
                "put back the data, choose another --out, or delete that folder");
  }
  if (config.kind == "train" && recorded.value("train_steps", config.train.train_steps) < config.train.train_steps) return "shorter";  // it goes on
  const bool limited = status == "oom" || status == "timeout";
  return limited && (changed("memory_limit_gb") || changed("time_limit_minutes")) ? "failed" : status;
}

ExitCode run_in_folder(const RunConfig& config, const fs::path& folder, bool suite_child, const std::string& label) {
  // A suite's child has inherited the lock.
  const auto lock = suite_child ? std::nullopt : FolderLock::try_lock(folder);
  if (!suite_child && !lock) {
    throw Error(fmt::format("{}: another process is working on this run", folder.string()), "wait for it, or choose another --out");
  }
  const HeldFolder held(folder);
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
    const Estimate cost = estimate(config, example_sizes(config));
    const std::string excess = too_large(config, cost);
    if (!excess.empty() && !suite_child) throw Error(excess);
    TerminalProgress progress(label);
    RunRecord record;
    if (const std::string reason = bench_is_too_much(config, cost); !reason.empty()) {
      record.status = "skipped";
      record.message = reason;
    } else if (!excess.empty()) {
      record.status = "oom";
      record.message = excess;
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
    held.check();
    if (!record.operator_profile.is_null()) write_json(folder / "profile.json", record.operator_profile);
    write_json(folder / "result.json", json);
    log().info(label + summary(json));
    if (!record.disturbed.empty() && !suite_child) log().warn("warning: the speeds are not to be trusted ({}): {}", record.disturbed, disturbance_remedy);
    if (record.status == "interrupted") return exit_interrupted;
    return record.status == "ok" ? exit_ok : exit_not_all_ok;
  } catch (const std::exception& error) {
    // In a suite even a mistake of the user's becomes a record, so that the report shows what is missing.
    // LibTorch's messages go on with where in its code they come from.
    const std::string message = error.what();
    if (suite_child && held.in_place()) write_failure(config, folder, "failed", message.substr(0, message.find('\n')), seconds());
    throw;
  }
}

bool is_suite_child(pid_t suite) {
  std::ofstream("/proc/self/oom_score_adj") << 1000;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  return ::getppid() == suite;
}

namespace {

/// A run that works in a process of its own.
struct Child {
  const RunConfig* run;
  std::string title;
  fs::path folder;
  std::optional<double> bytes;  ///< see Suite::bytes_of_small
  FolderLock lock;
  HeldFolder held;
  pid_t process = 0;  ///< 0: it has ended
  std::int64_t oom_kills = kernel_oom_kills();
  Clock::time_point start = Clock::now();
  bool stop_sent = false, timed_out = false;

  double seconds() const { return std::chrono::duration<double>(Clock::now() - start).count(); }
};

class Suite {
 public:
  Suite(const std::vector<RunConfig>& runs, fs::path out) : runs_(runs), out_(std::move(out)) {
    // A mistake in any run's files is said before the first run starts.
    for (const auto& run : runs_) {
      waiting_.push_back({&run, recorded_status(run, run_folder(out_, run))});
    }
  }

  ~Suite() {  // after an error: the children save what they have
    running_.remove_if([](const Child& child) { return child.process == 0; });
    for (auto& child : running_) kill(child.process, SIGTERM);
    for (auto& child : running_) waitpid(child.process, nullptr, 0);
  }

  Suite(const Suite&) = delete;
  Suite& operator=(const Suite&) = delete;

  ExitCode run() {
    bool said_busy = false, look = true;
    while (!waiting_.empty() || !running_.empty()) {
      if (look) start_what_fits();
      if (stop_requested() && running_.empty() && !waiting_.empty()) cut_off_ = true;
      if (cut_off_ && running_.empty()) break;
      const bool others_only = running_.empty() && !waiting_.empty();
      if (others_only && !said_busy) log().info("{} runs are being done by another process; waiting for them", waiting_.size());
      said_busy = others_only;
      std::this_thread::sleep_for(std::chrono::milliseconds(others_only ? 1000 : 20));
      look = running_.remove_if([this](Child& child) { return has_ended(child); }) > 0 || others_only;
    }
    warn_of_disturbed(done_here_, out_);
    if (cut_off_) return exit_interrupted;
    return all_ok_ ? exit_ok : exit_not_all_ok;
  }

 private:
  struct Waiting {
    const RunConfig* run;
    std::string first_status;  ///< when the suite began
    bool seen_busy = false;  ///< another process worked on it since this suite began
  };

  /// Bytes that a run will need that may work beside others: the rule for the threads gives it one. Nothing if it wants the machine for itself.
  std::optional<double> bytes_of_small(const RunConfig& run) {
    if (most_threads() == 1 || run.kind != "train" || run.train.threads != 0 || !select_device(run.train.device).is_cpu()) return {};
    const auto [sizes, is_new] = sizes_.try_emplace(to_json_object(run.task).dump());
    if (is_new) sizes->second = example_sizes(run);
    if (chosen_threads(run, sizes->second.mean_length) > 1) return {};
    return estimate(run, sizes->second).process_bytes;
  }

  /// Whether a run that needs so many bytes may start beside those that run now.
  bool fits(const std::optional<double>& bytes) const {
    if (running_.empty()) return true;
    double sum = bytes.value_or(0);
    for (const auto& child : running_) sum += child.bytes.value_or(0);
    const bool all_small = bytes && running_.front().bytes;  // who is not small is alone
    return all_small && running_.size() < static_cast<std::size_t>(most_threads()) && sum < 0.75 * static_cast<double>(usable_machine().memory_bytes);
  }

  /// Starts runs that are neither done nor being done by another process, in their order.
  void start_what_fits() {
    for (auto place = waiting_.begin(); place != waiting_.end() && !stop_requested();) {
      const RunConfig& run = *place->run;
      const fs::path folder = run_folder(out_, run);
      const std::string title = fmt::format("[{}/{}] {} {} {} n{} seed {}", &run - runs_.data() + 1, runs_.size(), run.kind, run.task.task, run.variant,
                                            run.task.seq_len, run.train.seed);
      std::string status = place->first_status;
      if (!finished(status)) status = recorded_status(run, folder);
      if (!finished(status)) {
        const auto bytes = bytes_of_small(run);
        if (!fits(bytes)) return;
        auto lock = FolderLock::try_lock(folder);
        place->seen_busy = place->seen_busy || !lock;
        if (!lock) {
          ++place;
          continue;
        }
        status = recorded_status(run, folder);  // it may have been written since the look above
        if (!finished(status) && !(place->seen_busy && (status == "failed" || status == "skipped"))) {
          fs::remove(folder / "result.json");
          write_json(folder / "config.json", run.to_json());
          log().info(title);
          Child child{&run, title, folder, bytes, std::move(*lock), HeldFolder(folder)};
          child.process = start_process(run, folder, child.lock, bytes && runs_.size() > 1 ? title + ": " : "");
          running_.push_back(std::move(child));
          status = "";
        }
      }
      if (!status.empty()) {
        log().info("{}: done before ({})", title, status);
        all_ok_ = all_ok_ && status == "ok";
      }
      place = waiting_.erase(place);
    }
  }

  /// Passes a stop on to the child, and kills it when it outlives its limit. If it has ended: true, and there is a record.
  bool has_ended(Child& child) {
    int wait_status = 0;
    const pid_t done = waitpid(child.process, &wait_status, WNOHANG);
    if (done < 0 && errno != EINTR) throw Error(fmt::format("lost sight of a run's process ({})", std::strerror(errno)));
    if (done == child.process) {
      child.process = 0;
      const std::string status = conclude(child, wait_status);
      done_here_.push_back(child.run);
      all_ok_ = all_ok_ && status == "ok";
      cut_off_ = cut_off_ || (status == "interrupted" && stop_requested());
      return true;
    }
    if (stop_requested() && !child.stop_sent) {
      kill(child.process, stop_signal());
      child.stop_sent = true;
    }
    const double limit = child.run->train.time_limit_minutes * 60;
    if (limit > 0 && child.seconds() > limit + grace_seconds && !child.timed_out) {
      kill(child.process, SIGKILL);
      child.timed_out = true;
    }
    return false;
  }

  /// The status of a run whose process has ended; writes the record that the process could not write.
  std::string conclude(const Child& child, int wait_status) {
    if (!child.held.in_place()) {
      log().error("{}: failed, and has no record: {} was moved, removed or replaced meanwhile", child.title, child.folder.string());
      return "failed";
    }
    if (!fs::exists(child.folder / "result.json")) {
      const auto write = [&](const char* status, const std::string& message) { write_failure(*child.run, child.folder, status, message, child.seconds()); };
      const bool killed = WIFSIGNALED(wait_status);
      const int number = killed ? WTERMSIG(wait_status) : 0;
      const std::string end = killed ? fmt::format("its process was ended by signal {} ({})", number, strsignal(number))
                                     : fmt::format("its process ended with exit code {} and without a record", WEXITSTATUS(wait_status));
      if (child.timed_out) {
        write("timeout", fmt::format("killed {} seconds after its time limit", grace_seconds));
      } else if (stop_requested()) {
        write("interrupted", fmt::format("the suite was {}; {}", stop_reason(), end));
      } else if (number == SIGKILL && kernel_oom_kills() > child.oom_kills) {
        write("oom", "killed by the kernel for want of memory");
      } else {
        write("failed", end);
      }
    }
    return recorded_status(*child.run, child.folder);
  }

  const std::vector<RunConfig>& runs_;
  const fs::path out_;
  std::list<Waiting> waiting_;
  std::list<Child> running_;
  std::vector<const RunConfig*> done_here_;
  std::map<std::string, ExampleSizes> sizes_;  ///< of the examples, by the task's settings
  bool all_ok_ = true;
  bool cut_off_ = false;  ///< a stop left something to do
};

}  // namespace

ExitCode run_suite(const std::vector<RunConfig>& runs, const fs::path& out) {
  signal(SIGCHLD, SIG_DFL);  // whoever ignores it loses the children's exit codes
  return Suite(runs, out).run();
}

}  // namespace lra
