#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace lra {

/// What a training run tells while it runs. Loss and accuracy are of the training batches since the last evaluation.
struct Progress {
  std::string phase;  ///< "train", "valid" or "test"
  std::int64_t step = 0;
  std::int64_t train_steps = 0;
  double loss = 0;
  double accuracy = 0;
  double examples_per_second = 0;
  std::int64_t peak_tensor_bytes = 0;
  double seconds_left = 0;  ///< to the last step, at the mean pace so far
};

class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  virtual void update(const Progress& progress) = 0;
  /// The result of an evaluation, worth a line that stays.
  virtual void evaluated(const Progress& progress) = 0;
  /// The run goes on from a checkpoint.
  virtual void resumed(std::int64_t step, std::int64_t train_steps) = 0;
  /// What a reader must know of the run's data.
  virtual void note(const std::string& text) = 0;
};

/// On standard error: one live line on a terminal, plain lines at most every five seconds otherwise; evaluations have a
/// line each.
class TerminalProgress : public ProgressSink {
 public:
  TerminalProgress();
  ~TerminalProgress() override;
  TerminalProgress(const TerminalProgress&) = delete;
  TerminalProgress& operator=(const TerminalProgress&) = delete;
  void update(const Progress& progress) override;
  void evaluated(const Progress& progress) override;
  void resumed(std::int64_t step, std::int64_t train_steps) override;
  void note(const std::string& text) override;

 private:
  void end_line();

  const bool terminal_;
  bool line_open_ = false;
  std::chrono::steady_clock::time_point last_{};
};

/// To the process that started this one, which reads it by `pass_on`: JSON lines on a descriptor that never waits for
/// its reader. Updates at most ten times a second.
class ProgressPipe : public ProgressSink {
 public:
  explicit ProgressPipe(int descriptor);
  void update(const Progress& progress) override;
  void evaluated(const Progress& progress) override;
  void resumed(std::int64_t step, std::int64_t train_steps) override;
  void note(const std::string& text) override;

 private:
  const int descriptor_;
  std::chrono::steady_clock::time_point last_{};
};

/// Gives `sink` one line that a ProgressPipe wrote. What is no such line is left out.
void pass_on(std::string_view line, ProgressSink& sink);

/// "12 min 05 s"
std::string duration(double seconds);

}  // namespace lra
