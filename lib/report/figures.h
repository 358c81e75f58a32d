#pragma once

#include <array>
#include <string>
#include <vector>

#include "report/charts.h"
#include "report/growth.h"

namespace lra::report {

/// One version of a figure: the choice of each switch, drawn in all layouts.
struct View {
  std::vector<std::size_t> choice;
  std::array<Drawing, layouts.size()> drawings;
  std::string file;  ///< name without ending, for those that are also written to files; else empty

  const Drawing& wide() const { return drawings[1]; }
};

/// A picture with switches.
struct Figure {
  std::string id;
  std::vector<std::pair<std::string, std::vector<std::string>>> switches;  ///< title, options
  std::vector<View> views;                                                 ///< the first is shown first
};

/// Score, speed and memory of every ranking at every length that was measured; averages first.
Figure bubble_figure(const std::vector<ScoreGroup>& scores, const std::vector<SpeedGroup>& speeds, std::int64_t length);

/// Accuracy and loss against steps, means over seeds, read from the runs' metrics.jsonl. Without views where there are
/// none.
Figure curves_figure(const std::vector<ScoreGroup>& scores);

/// Time, memory and the mixer's share against the length.
Figure growth_figure(const std::vector<GrowthSet>& sets);

/// Where a step of each profiled bench (train/profile.h) stands below what the machine can do. Without views where
/// there are none; what cannot be read is named in `broken`.
Figure roofline_figure(const std::vector<Result>& results, std::vector<std::string>& broken);

/// The paper's chart, rebuilt from its tables, at each of its lengths.
Figure paper_figure(const Json& published);

}  // namespace lra::report
