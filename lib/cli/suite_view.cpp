#include "cli/suite_view.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/log.h"
#include "core/text.h"
#include "core/thousands.h"

namespace lra {
namespace {

using Clock = std::chrono::steady_clock;

std::size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/// "12 min"
std::string roughly(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  return seconds < 5400 ? fmt::format("{:.0f} min", seconds / 60) : fmt::format("{:.1f} h", seconds / 3600);
}

std::string bar(double share) {
  constexpr int width = 20;
  const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
  return fmt::format("[{:=<{}}{:{}}]", "", full, "", width - full);
}

}  // namespace

/// Of one run.
class SuiteView::Sink : public ProgressSink {
 public:
  Sink(SuiteView& view, std::size_t run, std::string title, std::string name)
      : view_(view), run_(run), title_(std::move(title)), name_(std::move(name)), work_(view.work_[run]) {}

  void update(const Progress& progress) override {
    if (first_step_ < 0) first_step_ = progress.step - 1;
    step_ = progress.step;
    steps_ = progress.train_steps;
    accuracy_ = progress.accuracy;
    trains_ = progress.phase == "train";
    const auto share = static_cast<double>(step_) / static_cast<double>(std::max<std::int64_t>(steps_, 1));
    view_.work_[run_] = work_ * (1 - share);
    view_.tell(*this);
  }
  void evaluated(const Progress&) override {}  // metrics.jsonl has it
  void resumed(std::int64_t step, std::int64_t train_steps) override {
    view_.say_line(fmt::format("{}: goes on from step {} of {}", title_, step, train_steps));
  }
  void note(const std::string& text) override {
    if (view_.notes_.insert(text).second) view_.say_line(fmt::format("note: {}", text));
  }

  /// Its work in this process: not what it did before it was resumed.
  double done_work() const {
    return steps_ == 0 ? 0 : work_ * static_cast<double>(step_ - first_step_) / static_cast<double>(steps_);
  }
  double all_work() const {
    return steps_ == 0 ? work_ : work_ * static_cast<double>(steps_ - first_step_) / static_cast<double>(steps_);
  }
  std::string line() const {
    const std::string accuracy = trains_ ? fmt::format(", accuracy {:.1f} %", 100 * accuracy_) : "";
    return fmt::format("{}: step {} of {}{}", title_, with_commas(step_), with_commas(steps_), accuracy);
  }
  std::string short_line() const { return steps_ == 0 ? name_ : fmt::format("{} {}/{}", name_, step_, steps_); }

 private:
  SuiteView& view_;
  const std::size_t run_;
  const std::string title_, name_;
  const double work_;
  std::int64_t first_step_ = -1, step_ = 0, steps_ = 0;
  double accuracy_ = 0;
  bool trains_ = false;
};

SuiteView::SuiteView(std::vector<double> work)
    : terminal_(::isatty(STDERR_FILENO) == 1),
      runs_(work.size()),
      work_(std::move(work)),
      all_work_(std::accumulate(work_.begin(), work_.end(), 0.0)) {}

SuiteView::~SuiteView() {
  if (line_open_) say("\r\033[K");
}

ProgressSink& SuiteView::begin(std::size_t run, const std::string& title, const std::string& name) {
  if (!terminal_) say_line(title);
  auto& sink = running_[run] = std::make_unique<Sink>(*this, run, title, name);
  if (terminal_) draw();
  return *sink;
}

void SuiteView::end(std::size_t run, const std::string& summary, bool done) {
  const auto found = running_.find(run);
  if (found != running_.end()) done_work_ += done ? found->second->all_work() : found->second->done_work();
  running_.erase(run);
  leave_out(run);
  say_line(summary);
}

void SuiteView::leave_out(std::size_t run) {
  work_[run] = 0;
  ++done_;
}

void SuiteView::say_line(const std::string& text) {
  if (line_open_) say("\r\033[K");
  line_open_ = false;
  log().info(text);
  if (terminal_ && !running_.empty()) draw();
}

/// At the pace so far, which counts runs side by side as they are; negative while it is not known.
double SuiteView::seconds_left() const {
  double done = done_work_;
  for (const auto& [run, sink] : running_) done += sink->done_work();
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count(),
               left = std::accumulate(work_.begin(), work_.end(), 0.0);
  return done > 0 && seconds > 1 ? seconds * left / done : -1;
}

void SuiteView::tell(const Sink& sink) {
  const auto pause = terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(10000);
  if (Clock::now() - shown_ < pause && shown_ != Clock::time_point{}) return;
  shown_ = Clock::now();
  if (terminal_) return draw();
  const double left = seconds_left();
  say(fmt::format("{}{}\n", printable(sink.line()),
                  left < 0 ? "" : fmt::format(", about {} left for all", roughly(left))));
}

void SuiteView::draw() {
  const double left = seconds_left(), share = 1 - std::accumulate(work_.begin(), work_.end(), 0.0) / all_work_;
  std::string line = fmt::format("{} {} of {} runs done", bar(share), done_, runs_);
  if (left >= 0) line += fmt::format(", about {} left", roughly(left));
  for (const auto& [run, sink] : running_) line += fmt::format("  {}", printable(sink->short_line()));
  say(fmt::format("\r\033[K{}", line.substr(0, terminal_width() - 1)));
  line_open_ = true;
}

}  // namespace lra
