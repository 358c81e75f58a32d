#pragma once

#include <string>
#include <string_view>

namespace lra::report::assets {

// The files of lib/report/assets, embedded by CMake (cmake/embed_assets.cmake). A name's dot is an underscore here. In
// HTML, {name} is a place that fmt::format fills.

extern const std::string_view frame_html, contents_html, report_html, differences_html, figure_html, roofline_html,
    script_html, definitions_html, page_css, state_js, charts_js, tables_js, runs_js, page_js, contents_js;
extern const std::string_view atlas_html, mechanism_html, atlas_css;

}  // namespace lra::report::assets
