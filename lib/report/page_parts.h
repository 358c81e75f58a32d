#pragma once

#include <string>

#include "report/page.h"

namespace lra::report {

/// What stands around a page.
struct Frame {
  std::string style;
  std::string scripts = {};
  int refresh_seconds = 0;  ///< after which the page loads itself again; 0: never
};

/// A whole page of the report: `main` is the inside of <main>; its headings that have an id are the table of contents.
std::string framed(const std::string& title, const std::string& main, const Frame& frame);

/// A value of a record as text, "unknown" where there is none.
std::string recorded(const Json& object, const char* key);

/// Every run for the page's list, with equal hosts, programs, data and configurations written once.
Json runs_json(const std::vector<Result>& results);

/// No other id of the page begins like this.
inline std::string figure_id(const std::string& name) { return "figure-" + name; }

/// A figure with its switches. `interactive`: drawn by the page's script; else its first view is a picture.
/// `svg_of`: as in page(). `first`: without JavaScript it is shown as a picture.
std::string figure_html(const Figure& figure, const std::function<std::string(const std::string&)>& svg_of,
                        const Content& content, bool first);

/// All figures' views, for the page's script.
Json figures_json(const std::vector<Figure>& figures);

}  // namespace lra::report
