#pragma once

#include <vector>

#include "report/charts.h"

namespace lra::report {

/// What decides how the circles of a chart look.
struct CircleLook {
  std::vector<bool> front;    ///< for each bubble, whether it gets a dark rim
  double largest = 0;         ///< bytes of the largest circle
  double largest_radius = 0;  ///< pixels
  double legend_offset = 0;   ///< pixels between the plot and its legends
  bool narrow = false;        ///< legends stand below
};

/// The circles with their tooltips and the legends of families and sizes; `x` and `y` are their fields on the axes.
Json circle_layer(const Chart& chart, const CircleLook& look, const Json& x, const Json& y);

}  // namespace lra::report
