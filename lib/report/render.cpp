#include "report/render.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "report/report.h"

extern char** environ;

namespace lra::report {
namespace fs = std::filesystem;

std::string render_charts(const std::vector<fs::path>& files) {
  const std::string missing = "SVG, PNG and PDF were not rendered: ";
  std::vector<std::string> arguments;
  try {
    const char* given = std::getenv("LRA_PYTHON");
    arguments.push_back(given != nullptr ? given : repository_file(".venv/bin/python").string());
    arguments.push_back(repository_file("scripts/render_charts.py").string());
  } catch (const Error& error) {
    return missing + error.what() + " (set LRA_PYTHON to a Python that has vl-convert-python)";
  }
  for (const fs::path& file : files) arguments.push_back(file.string());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  std::array<int, 2> pipe_ends{};
  if (::pipe(pipe_ends.data()) != 0) return missing + std::strerror(errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
  posix_spawn_file_actions_addclose(&actions, pipe_ends[0]);
  posix_spawn_file_actions_addclose(&actions, pipe_ends[1]);
  pid_t child = 0;
  const int spawned = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);
  std::string output;
  std::array<char, 4096> buffer{};
  for (ssize_t count = 1; spawned == 0 && count != 0;) {
    count = ::read(pipe_ends[0], buffer.data(), buffer.size());
    if (count < 0 && errno != EINTR) break;
    if (count > 0) output.append(buffer.data(), static_cast<std::size_t>(count));
  }
  ::close(pipe_ends[0]);
  if (spawned != 0) return fmt::format("{}{} cannot be started ({})", missing, arguments[0], std::strerror(spawned));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  while (!output.empty() && output.back() == '\n') output.pop_back();
  const std::string last = output.substr(output.rfind('\n') + 1);  // npos + 1 = 0: the only line
  return fmt::format("{}{} {}: {}", missing, arguments[0], fs::path(arguments[1]).filename().string(),
                     last.empty() ? "failed without a message" : last);
}

}  // namespace lra::report
