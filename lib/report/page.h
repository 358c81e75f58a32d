#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "report/charts.h"
#include "report/tables.h"

namespace lra::report {

struct PageChart {
  Chart chart;
  Json spec;
  std::string svg;  ///< empty where it was not rendered
};

/// The beginning of a page in the report's style, up to and with <main>.
std::string page_head(const std::string& title);

/// The self-contained page: tables, charts, definitions and where the numbers come from. `vega_bundle` is JavaScript that defines
/// `window.vegaEmbed` (empty: the SVGs alone are shown).
/// `atlas_svg`: the atlas's overview, linked to atlas.html (empty: there is none).
std::string page(const std::vector<Result>& results, const std::vector<PageChart>& charts, const Table& accuracy, const Table& efficiency,
                 const std::string& vega_bundle, const std::string& atlas_svg = {});

/// Reads the records below `folders` and writes the whole report to `out`, with the atlas's page where there is an atlas.json. `length`: see speed_for(). Returns sentences about what could
/// not be made (no renderer, no bundle). Throws Error.
std::vector<std::string> write_report(const std::vector<std::filesystem::path>& folders, const std::filesystem::path& out, std::int64_t length);

/// A file of the repository: beside a parent folder of the program or of the working directory, else in the checkout it was built from. Throws Error.
std::filesystem::path repository_file(const std::filesystem::path& relative);

}  // namespace lra::report
