#include "cli/run_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/load.h"
#include "train/stop_signals.h"
#include "train/threads.h"

extern char** environ;

namespace lra {
namespace fs = std::filesystem;

RunMessages::RunMessages() {
  if (::pipe2(ends_.data(), O_CLOEXEC) != 0) {
    throw Error(fmt::format("no pipe for a run's messages can be made ({})", std::strerror(errno)));
  }
  ::fcntl(ends_[0], F_SETFL, O_NONBLOCK);
}

RunMessages::~RunMessages() {
  for (const int end : ends_) {
    if (end >= 0) ::close(end);
  }
}

RunMessages::RunMessages(RunMessages&& other) noexcept
    : ends_(std::exchange(other.ends_, {-1, -1})), text_(std::move(other.text_)) {}

void RunMessages::read(ProgressSink& sink) {
  std::array<char, 4096> part{};
  for (ssize_t count = 0; (count = ::read(ends_[0], part.data(), part.size())) > 0;) {
    text_.append(part.data(), static_cast<std::size_t>(count));
  }
  std::size_t start = 0;
  for (std::size_t end = 0; (end = text_.find('\n', start)) != std::string::npos; start = end + 1) {
    pass_on(std::string_view(text_).substr(start, end - start), sink);
  }
  text_.erase(0, start);
}

pid_t start_process(const RunConfig& run, const fs::path& folder, const FolderLock& lock, int progress, int threads) {
  const std::string program = "/proc/self/exe";  // also when the file was replaced by a new build
  const std::string config = (folder / "config.json").string();
  std::vector<std::string> arguments = {program,
                                        "--config",
                                        config,
                                        "--folder",
                                        folder.string(),
                                        "--suite-process",
                                        std::to_string(::getpid()),
                                        "--progress",
                                        std::to_string(progress),
                                        "data_dir=" + run.task.data_dir};
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  bound_spinning_of_children();
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (threads == 0 || !std::string_view(*variable).starts_with("OMP_NUM_THREADS=")) variables.emplace_back(*variable);
  }
  if (threads > 0) variables.push_back(fmt::format("OMP_NUM_THREADS={}", threads));
  std::vector<char*> environment;
  for (auto& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int kept : {lock.descriptor(), progress})
    posix_spawn_file_actions_adddup2(&actions, kept, kept);  // onto itself: it is not closed
  pid_t process = -1;
  hold_stop_signals();
  const int failure = posix_spawn(&process, program.c_str(), &actions, nullptr, argv.data(), environment.data());
  release_stop_signals();
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) throw Error(fmt::format("{}: cannot be started ({})", program, std::strerror(failure)));
  return process;
}

bool is_suite_child(pid_t suite) {
  std::ofstream("/proc/self/oom_score_adj") << 1000;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  join_suite(suite);
  return ::getppid() == suite;
}

std::int64_t kernel_oom_kills() {
  std::ifstream in("/proc/vmstat");
  std::int64_t count = 0;
  for (std::string name; in >> name >> count;) {
    if (name == "oom_kill") return count;
  }
  return 0;
}

}  // namespace lra
