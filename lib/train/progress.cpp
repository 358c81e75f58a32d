#include "train/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "core/log.h"

namespace lra {
namespace {

std::string duration(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
  if (whole >= 60) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} s", whole);
}

}  // namespace

TerminalProgress::TerminalProgress(std::string label) : label_(std::move(label)), terminal_(label_.empty() && ::isatty(STDERR_FILENO) == 1) {}

TerminalProgress::~TerminalProgress() {
  if (line_open_) say("\n");
}

void TerminalProgress::update(const Progress& progress) {
  const auto now = std::chrono::steady_clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(5000);
  if (now - last_ < pause && last_ != std::chrono::steady_clock::time_point{}) return;
  last_ = now;
  const std::string line = label_ + fmt::format("step {}/{}  loss {:.4f}  accuracy {:.2f} %  {:.4g} examples/s  {:.1f} MB  {} left", progress.step,
                                       progress.train_steps, progress.loss, 100 * progress.accuracy, progress.examples_per_second,
                                       static_cast<double>(progress.peak_tensor_bytes) / 1e6, duration(progress.seconds_left));
  say(fmt::format("{}{}{}", terminal_ ? "\r\033[K" : "", line, terminal_ ? "" : "\n"));
  line_open_ = terminal_;
}

void TerminalProgress::evaluated(const Progress& progress) {
  say(fmt::format("{}{}step {}/{}  {}: loss {:.4f}  accuracy {:.2f} %\n", line_open_ ? "\r\033[K" : "", label_, progress.step, progress.train_steps,
                  progress.phase, progress.loss, 100 * progress.accuracy));
  line_open_ = false;
}

}  // namespace lra
