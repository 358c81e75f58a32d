#pragma once

#include <functional>
#include <string>
#include <vector>

#include "report/figures.h"
#include "report/paper_tables.h"
#include "report/tables.h"

namespace lra::report {

/// Each is in files of its own and on the page.
struct Tables {
  Table accuracy, efficiency;
  std::vector<Table> scores, lengths, growth, paper;
};

/// Everything on the page.
struct Content {
  Collection records;
  Tables tables;
  std::vector<Figure> figures;
  std::string atlas_svg;    ///< overview, linked to atlas.html; empty: there is none
  std::string vega_bundle;  ///< JavaScript that defines `window.vegaEmbed`; empty: pictures stand still
  bool alone = false;       ///< the page is the only file: it links to no others
  int refresh_seconds = 0;  ///< after which the page loads itself again; 0: never
};

/// The self-contained page. `svg_of` gives the rendered picture of a view's file, or empty; used where there is no
/// bundle.
std::string page(const Content& content, const std::function<std::string(const std::string& file)>& svg_of);

/// Commands that make the run's data (where a generator made it) and repeat the run.
std::string regenerating_commands(const Result& result);

}  // namespace lra::report
