#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/compare.h"
#include "report/vega.h"

namespace lra::report {

struct Bubble {
  std::string label, mixer;
  double x = 0;                ///< examples per second
  double y = 0;                ///< accuracy in percent
  double error = 0;            ///< half the height of the error bar, percent
  double bytes = 0;            ///< the circle's area
  std::string source = {};     ///< of published numbers
  double x_error = 0;          ///< of the speed, examples per second
  double bytes_error = 0;      ///< the difference between equal records
  std::string disturbed = {};  ///< why the speed is not to be trusted; or empty
  std::string key = {};        ///< of the mechanism, equal in all charts: the variant
};

/// A run that lacks a score or a speed and stands at the chart's edge.
struct Failure {
  std::string label, mixer, key, reason;  ///< reason: "oom"
  std::optional<double> x = {}, y = {};   ///< speed and score, as far as they are known
};

/// Everything that a bubble chart shows.
struct Chart {
  std::string name;  ///< file name without extension
  std::string title, subtitle, x_title, y_title, memory_title, memory_unit;
  double bytes_per_unit = 1;
  std::vector<Bubble> bubbles;
  std::vector<std::pair<std::string, double>> levels;  ///< dashed lines: name, percent
  std::vector<std::string> caption;                    ///< sentences under the chart
  std::vector<Failure> failures;
  std::vector<std::pair<std::string, std::string>> not_drawn;  ///< who else is missing and why
  std::optional<bool> log_x = {};                              ///< absent: where the speeds differ by more than 8 times
};

struct Line {
  std::string label, mixer;
  std::vector<std::pair<double, double>> points;
  std::string key = {};  ///< as in Bubble
};

/// Curves, each with its name at its right end.
struct LineChart {
  std::string name, title, subtitle, x_title, y_title;
  bool log_x = false, log_y = false;
  double narrowest_y = 4;  ///< of a linear axis, in its unit
  bool low_is_good = false;
  std::vector<Line> lines = {};
  std::vector<std::pair<std::string, double>> levels = {};
  std::vector<std::string> caption = {};
  std::vector<std::pair<std::string, std::string>> not_drawn = {};
};

/// A step of one mechanism below the limits of its machine, on logarithmic axes.
struct RooflineChart {
  std::string name, title, subtitle, x_title, y_title;
  double products = 0;  ///< the machine's limit of computing, 10⁹ operations a second
  std::vector<std::pair<std::string, double>> bandwidths = {};  ///< names and 10⁹ bytes a second
  std::vector<Bubble> steps = {};  ///< x: operations for each byte; y: 10⁹ operations a second
  std::vector<std::string> caption = {};
};

/// A Vega-Lite specification without what all charts share (report/vega.h), and the sentences that belong under it.
struct Drawing {
  Json spec;
  std::vector<std::string> caption;
};

/// What a circle's area shows.
enum class Memory { tensors, process };

/// Score, speed and memory of one ranking. If `speed` is null, nothing is drawn and every row is listed as not drawn.
Chart runs_chart(const ScoreGroup& scores, const SpeedGroup* speed, Memory memory = Memory::tensors);

/// The chart of arXiv 2011.04006 (its Figure 3), rebuilt from its Table 1 (average of 5 tasks) and Table 2 (`length` is
/// 1K, 2K, 3K or 4K).
Chart paper_chart(const Json& published, const std::string& length = "4K");

/// For each bubble, whether it is on the Pareto front. It is not if another bubble has at least its score and speed and
/// at most its memory, and is better in one of them by more than both errors. A disturbed speed beats no other.
std::vector<bool> pareto_front(const std::vector<Bubble>& bubbles);

/// Scales and label positions are computed here, because Vega's label transform needs a canvas, which command-line
/// renderers lack.
Drawing draw(const Chart& chart, const Layout& layout);
Drawing draw(const LineChart& chart, const Layout& layout);
Drawing draw(const RooflineChart& chart, const Layout& layout);

/// The whole specification with its caption, as written to a file.
Json picture(const Drawing& drawing, const Layout& layout);

}  // namespace lra::report
