#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/compare.h"

namespace lra::report {

struct Bubble {
  std::string label, mixer;
  double x = 0;      ///< examples per second
  double y = 0;      ///< accuracy in percent
  double error = 0;  ///< half the height of the error bar, percent
  double bytes = 0;  ///< the circle's area
};

/// Everything that a bubble chart shows.
struct Chart {
  std::string name;  ///< file name without extension
  std::string title, subtitle, x_title, y_title, memory_title, memory_unit;
  double bytes_per_unit = 1;
  std::vector<Bubble> bubbles;
  std::vector<std::pair<std::string, double>> levels;  ///< dashed lines: name, percent
  std::vector<std::string> caption;                    ///< sentences under the chart
  std::vector<std::string> not_drawn;                  ///< who is missing and why; also in the caption
};

/// Score against speed against memory of one ranking. `speed` may be null: then nothing is drawn and everybody is listed.
Chart runs_chart(const ScoreGroup& scores, const SpeedGroup* speed);

/// The chart of arXiv 2011.04006, rebuilt from its Table 1 (average of 5 tasks) and Table 2 (4K tokens).
Chart paper_chart(const Json& published);

/// Vega-Lite (version 6) specification with the data inside. Scales and label positions are computed here, because Vega's label
/// transform needs a canvas, which command-line renderers lack.
Json vega_lite(const Chart& chart);

}  // namespace lra::report
