#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lra::report {

/// Renders each Vega-Lite file X.vl.json to X.svg, X.png and X.pdf beside it, and each Y.svg to Y.png, with
/// scripts/render_charts.py and a Python that has vl-convert (LRA_PYTHON, else the repository's .venv). Returns what is
/// missing in one sentence; empty where all went well.
std::string render_charts(const std::vector<std::filesystem::path>& files);

}  // namespace lra::report
