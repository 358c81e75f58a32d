#pragma once

namespace lra::report {

/// The page's style sheet, light and dark.
extern const char* const page_style;

/// Draws the figures, sorts the tables, lists the runs. Expects `chart_bases`, `figures` and `runs` to be defined.
extern const char* const page_script;

}  // namespace lra::report
