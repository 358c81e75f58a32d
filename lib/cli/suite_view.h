#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "train/progress.h"

namespace lra {

/// What a suite shows while it works: a line for each run that ends, and where the suite is as a whole: on a terminal a
/// live line with a bar, otherwise a line at most every ten seconds.
class SuiteView {
 public:
  /// `work`: of each run its expected seconds; 0 for one that is done.
  explicit SuiteView(std::vector<double> work);
  ~SuiteView();
  SuiteView(const SuiteView&) = delete;
  SuiteView& operator=(const SuiteView&) = delete;

  /// Run number `run`, from 0, begins: `title` on a line of its own, `name` beside others. What it tells goes to the
  /// sink, which lives until the run ends.
  ProgressSink& begin(std::size_t run, const std::string& title, const std::string& name);
  /// `done`: to its last step.
  void end(std::size_t run, const std::string& summary, bool done);
  /// It need not be done: it was done before, or by another process.
  void leave_out(std::size_t run);

  /// A line that stays.
  void say_line(const std::string& text);

 private:
  class Sink;

  double seconds_left() const;
  void tell(const Sink& sink);
  void draw();

  const bool terminal_;
  const std::size_t runs_;
  std::vector<double> work_;  ///< that is left
  const double all_work_;     ///< when it began
  double done_work_ = 0;      ///< by this process
  std::size_t done_ = 0;
  std::map<std::size_t, std::unique_ptr<Sink>> running_;
  std::set<std::string> notes_;  ///< that were said: each is said once
  bool line_open_ = false;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point shown_{};
};

}  // namespace lra
