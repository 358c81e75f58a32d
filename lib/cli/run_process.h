#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>

#include "core/config.h"
#include "core/file_lock.h"
#include "train/progress.h"

namespace lra {

// A suite's runs work in processes of their own.

/// A pipe from a run's process, which tells through it (a ProgressPipe) how far the run is.
class RunMessages {
 public:
  RunMessages();
  ~RunMessages();
  RunMessages(RunMessages&& other) noexcept;
  RunMessages& operator=(RunMessages&&) = delete;

  int writing_end() const { return ends_[1]; }

  /// Gives `sink` what has come since the last call.
  void read(ProgressSink& sink);

 private:
  std::array<int, 2> ends_{-1, -1};
  std::string text_;  ///< a line's beginning
};

/// Starts a process for the run in `folder`, which holds the lock on it too. Stop signals wait until it is ready for
/// them. The folder of the data is an argument too: config.json cannot hold a name that is not UTF-8. `threads`: the
/// most that it chooses; 0: as this process.
pid_t start_process(const RunConfig& run, const std::filesystem::path& folder, const FolderLock& lock, int progress,
                    int threads);

/// Makes this process the child of the suite in the process `suite`: the kernel's first choice when memory runs out,
/// and stopped when the suite dies. False if that has died already.
bool is_suite_child(pid_t suite);

/// Processes that the kernel has killed for want of memory since it started.
std::int64_t kernel_oom_kills();

}  // namespace lra
