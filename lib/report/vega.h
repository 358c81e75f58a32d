#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "core/json_file.h"

namespace lra::report {

/// Sizes of a chart's plot in pixels. Every chart of the page is drawn in three: the page shows the one that fits.
struct Layout {
  const char* name = "";
  double width = 0, height = 0;
  bool narrow = false;
};
inline constexpr Layout narrow_layout{"narrow", 286, 440, true}, wide_layout{"wide", 680, 430, false},
    broad_layout{"broad", 1080, 540, false};
inline constexpr std::array<Layout, 3> layouts{narrow_layout, wide_layout, broad_layout};

/// Sizes of letters in pixels. The wide ones can still be read when the picture is printed at half its size.
inline double name_size(const Layout& layout) { return layout.narrow ? 11 : 14; }  ///< of names of mechanisms
inline double small_size(const Layout& layout) {
  return layout.narrow ? 11 : 13;
}  ///< of numbers, legends and captions

/// The few colours that are not data; the page replaces them by others when it is dark.
inline constexpr const char* ink = "#1f2328";
inline constexpr const char* grey_ink = "#57606a";
inline constexpr const char* line_grey = "#8a8f98";

/// A linear or logarithmic axis over [0, size] pixels.
struct Axis {
  bool log = false;
  double low = 0, high = 1, size = 1;
  std::vector<double> ticks;

  double t(double value) const;  ///< the value or its logarithm
  double pixel(double value) const { return size * (t(value) - t(low)) / (t(high) - t(low)); }
};

/// An axis on which every value (with its distance in pixels) keeps that distance from both ends, not narrower than
/// `narrowest` (in decades on a logarithmic axis), with ticks at round numbers.
Axis fit_axis(const std::vector<std::pair<double, double>>& values, double size, bool log, double narrowest);

/// A Vega-Lite layer with data of its own.
Json layer(Json data, Json mark, Json encoding);

/// {"value": pixels}
Json pixels(double value);

/// A position given in pixels by a field of the data.
Json pixel_field(const char* field);

/// Names of mechanisms, each {"text", "px", "py"}: centred on these pixels.
Json name_layer(Json names, const Layout& layout);

/// The field as a quantity on the axis.
Json axis_field(const char* field, const Axis& axis, const std::string& title, const std::string& format,
                const Layout& layout);

/// A layer with the caption below the plot and its axis.
Json caption_layer(const std::vector<std::string>& sentences, const Layout& layout);

/// What all charts of a layout have in common: schema, background, fonts, colours. A chart's file is this and the
/// chart's own part.
Json chart_base(const Layout& layout);

/// A chart's own part.
Json chart_spec(const std::string& title, const std::string& subtitle, const Layout& layout, Json layers);

/// Both together, as written to a file.
Json complete_spec(const Json& own, const Layout& layout);

}  // namespace lra::report
