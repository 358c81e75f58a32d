#include "cli/suite.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <exception>
#include <list>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "cli/estimate.h"
#include "cli/resolve.h"
#include "cli/run_process.h"
#include "cli/suite_view.h"
#include "core/error.h"
#include "core/file_lock.h"
#include "core/held_folder.h"
#include "core/host_info.h"
#include "core/load.h"
#include "core/log.h"
#include "train/device.h"
#include "train/progress.h"
#include "train/stop_signals.h"
#include "train/threads.h"

namespace lra {
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

/// A child that has not ended this long after its own time limit is killed.
constexpr double grace_seconds = 60;

/// Of a run's process, roughly: LibTorch, the data, the model.
constexpr double seconds_to_start = 0.5;

/// Of all runs that this suite did at once, with what to do.
void warn_of_disturbed(const std::vector<const RunConfig*>& runs, const fs::path& out) {
  std::size_t benches = 0, trainings = 0, side_by_side = 0;
  for (const RunConfig* run : runs) {
    const auto record = record_in(run_folder(out, *run));
    if (!record || !record->contains("speed") || !(*record)["speed"].contains("disturbed")) continue;
    ++(run->kind == "bench"                                    ? benches
       : (*record)["speed"]["disturbed"] == beside_another_run ? side_by_side
                                                               : trainings);
  }
  if (benches > 0)
    log().warn("warning: the speeds of {} measured cells are not to be trusted: {}", benches, disturbance_remedy);
  if (trainings > 0)
    log().info("{} runs were disturbed while they trained: their scores hold, their speeds do not", trainings);
  if (side_by_side > 0)
    log().info("{} runs trained side by side: their scores hold, their speeds are not to be trusted", side_by_side);
}

/// A run that works in a process of its own.
struct Child {
  const RunConfig* run;
  std::string title;
  fs::path folder;
  std::optional<double> bytes;  ///< see Suite::bytes_beside_others
  FolderLock lock;
  HeldFolder held;
  ProgressSink* progress = nullptr;
  RunMessages messages = {};
  pid_t process = 0;  ///< 0: it has ended
  std::int64_t oom_kills = kernel_oom_kills();
  Clock::time_point start = Clock::now();
  bool stop_sent = false, timed_out = false;

  double seconds() const { return std::chrono::duration<double>(Clock::now() - start).count(); }
};

class Suite {
 public:
  Suite(const std::vector<RunConfig>& runs, fs::path out, int jobs) : runs_(runs), out_(std::move(out)), jobs_(jobs) {
    // A mistake in any run's files is said before the first run starts.
    std::vector<double> work;
    for (const auto& run : runs_) {
      waiting_.push_back({&run, recorded_status(run, run_folder(out_, run))});
      work.push_back(finished(waiting_.back().first_status) ? 0 : cost_of(run).seconds);
    }
    view_.emplace(std::move(work));
    const auto done =
        std::count_if(waiting_.begin(), waiting_.end(), [](const Waiting& one) { return finished(one.first_status); });
    if (done > 0)
      view_->say_line(fmt::format("{} of {} runs were done before, in {}", done, runs_.size(), out_.string()));
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
      if (others_only && !said_busy)
        view_->say_line(fmt::format("{} runs are being done by another process; waiting for them", waiting_.size()));
      said_busy = others_only;
      std::this_thread::sleep_for(std::chrono::milliseconds(others_only ? 1000 : 20));
      look = running_.remove_if([this](Child& child) { return has_ended(child); }) > 0 || others_only;
    }
    view_.reset();
    warn_of_disturbed(done_here_, out_);
    if (cut_off_) return exit_interrupted;
    return all_ok_ ? exit_ok : exit_not_all_ok;
  }

 private:
  struct Waiting {
    const RunConfig* run;
    std::string first_status;  ///< when the suite began
    bool seen_busy = false;    ///< another process worked on it since this suite began
  };

  struct Cost {
    double seconds = seconds_to_start, process_bytes = 0;
    int threads = 1;
  };

  /// An estimate. Runs that differ in nothing but the seed cost the same.
  const Cost& cost_of(const RunConfig& run) {
    Json settings = run.to_json();
    settings.erase("seed");
    const auto [place, is_new] = costs_.try_emplace(settings.dump());
    if (!is_new) return place->second;
    const auto [sizes, is_new_task] = sizes_.try_emplace(to_json_object(run.task).dump());
    if (is_new_task) sizes->second = example_sizes(run);
    Cost& cost = place->second;
    cost.threads = chosen_threads(run, sizes->second.mean_length);
    try {
      const Estimate expected = estimate(run, sizes->second);
      cost.process_bytes = expected.process_bytes;
      const auto bench_steps = static_cast<double>(run.measure.measure_warmup_steps + run.measure.measure_steps);
      const double steps = run.kind == "train" ? static_cast<double>(run.train.train_steps)
                                               : bench_steps * 4 / 3;  // a third as much again for inference
      if (std::isfinite(expected.seconds_per_step)) cost.seconds = seconds_to_start + expected.seconds_per_step * steps;
    } catch (const std::exception&) {
      // A model that cannot be: its run says why.
    }
    return cost;
  }

  /// Bytes that a run will need that may work beside others. Nothing if it wants the machine for itself.
  std::optional<double> bytes_beside_others(const RunConfig& run) {
    const bool on_cpu = select_device(run.train.device).is_cpu();
    if (run.kind != "train" || jobs_ == 1) return {};
    if (jobs_ > 1) return on_cpu ? cost_of(run).process_bytes : 0;
    const bool small = most_threads() > 1 && run.train.threads == 0 && on_cpu && cost_of(run).threads == 1;
    return small ? std::optional(cost_of(run).process_bytes) : std::nullopt;
  }

  std::size_t most_beside() const { return static_cast<std::size_t>(jobs_ > 0 ? jobs_ : most_threads()); }

  /// Whether a run that needs so many bytes may start beside those that run now.
  bool fits(const std::optional<double>& bytes) const {
    if (running_.empty()) return true;
    double sum = bytes.value_or(0);
    for (const auto& child : running_) sum += child.bytes.value_or(0);
    const bool all_share = bytes && running_.front().bytes;  // the others work alone
    return all_share && running_.size() < most_beside() &&
           sum < 0.75 * static_cast<double>(usable_machine().memory_bytes);
  }

  /// Lengths and seeds only where the suite has several.
  std::string title_of(const RunConfig& run) const {
    const auto several = [&](auto value) {
      return std::any_of(runs_.begin(), runs_.end(), [&](const RunConfig& one) {
        return one.kind == run.kind && one.task.task == run.task.task && value(one) != value(run);
      });
    };
    std::string title =
        fmt::format("[{}/{}] {} {} {}", &run - runs_.data() + 1, runs_.size(), run.kind, run.task.task, run.variant);
    if (several([](const RunConfig& one) { return one.task.seq_len; })) title += fmt::format(" n{}", run.task.seq_len);
    if (several([](const RunConfig& one) { return one.train.batch_size; }))
      title += fmt::format(" batch {}", run.train.batch_size);
    if (several([](const RunConfig& one) { return one.train.seed; })) title += fmt::format(" seed {}", run.train.seed);
    return title;
  }

  /// Starts runs that are neither done nor being done by another process, in their order.
  void start_what_fits() {
    for (auto place = waiting_.begin(); place != waiting_.end() && !stop_requested();) {
      const RunConfig& run = *place->run;
      const fs::path folder = run_folder(out_, run);
      const auto number = static_cast<std::size_t>(&run - runs_.data());
      std::string status = place->first_status;
      if (!finished(status)) status = recorded_status(run, folder);
      if (!finished(status)) {
        const auto bytes = bytes_beside_others(run);
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
          Child child{&run, title_of(run), folder, bytes, std::move(*lock), HeldFolder(folder)};
          child.progress = &view_->begin(number, title_of(run), run.variant);
          const int share = jobs_ > 1 && bytes ? std::max(1, most_threads() / jobs_) : 0;
          child.process = start_process(run, folder, child.lock, child.messages.writing_end(), share);
          running_.push_back(std::move(child));
          status = "";
        }
      }
      if (!status.empty()) {
        // Those that were done at the start have been counted in one line.
        if (!finished(place->first_status))
          view_->say_line(fmt::format("{}: done by another process ({})", title_of(run), status));
        view_->leave_out(number);
        all_ok_ = all_ok_ && status == "ok";
      }
      place = waiting_.erase(place);
    }
  }

  /// Passes a stop on to the child, and kills it when it outlives its limit. If it has ended: true, and there is a
  /// record.
  bool has_ended(Child& child) {
    int wait_status = 0;
    const pid_t done = waitpid(child.process, &wait_status, WNOHANG);
    child.messages.read(*child.progress);
    if (done < 0 && errno != EINTR)
      throw Error(fmt::format("lost sight of a run's process ({})", std::strerror(errno)));
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
      say_end(
          child,
          fmt::format("failed, and has no record: {} was moved, removed or replaced meanwhile", child.folder.string()),
          false);
      return "failed";
    }
    if (!fs::exists(child.folder / "result.json")) {
      const auto write = [&](const char* status, const std::string& message) {
        write_failure(*child.run, child.folder, status, message, child.seconds());
      };
      const bool killed = WIFSIGNALED(wait_status);
      const int number = killed ? WTERMSIG(wait_status) : 0;
      const std::string end =
          killed ? fmt::format("its process was ended by signal {} ({})", number, strsignal(number))
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
    const auto record = record_in(child.folder);
    const std::string status = recorded_status(*child.run, child.folder);
    say_end(child, record ? summary_of(*record) : "ended without a record", status == "ok");
    return status;
  }

  void say_end(const Child& child, const std::string& summary, bool done) {
    view_->end(static_cast<std::size_t>(child.run - runs_.data()), fmt::format("{}: {}", child.title, summary), done);
  }

  const std::vector<RunConfig>& runs_;
  const fs::path out_;
  std::list<Waiting> waiting_;
  std::list<Child> running_;
  std::vector<const RunConfig*> done_here_;
  const int jobs_;
  std::optional<SuiteView> view_;
  std::map<std::string, Cost> costs_;          ///< by the settings without the seed
  std::map<std::string, ExampleSizes> sizes_;  ///< of the examples, by the task's settings
  bool all_ok_ = true;
  bool cut_off_ = false;  ///< a stop left something to do
};

}  // namespace

ExitCode run_suite(const std::vector<RunConfig>& runs, const fs::path& out, int jobs) {
  join_suite(::getpid());
  signal(SIGCHLD, SIG_DFL);  // whoever ignores it loses the children's exit codes
  return Suite(runs, out, jobs).run();
}

}  // namespace lra
