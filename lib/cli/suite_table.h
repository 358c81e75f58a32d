#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/config.h"

namespace lra {

/// What the records of a suite's runs below `out` say: a line for each task and mixer that was trained (over all
/// seeds), then a line for each bench. Runs without a record are left out. Throws Error for a record that is none.
std::string suite_table(const std::vector<RunConfig>& runs, const std::filesystem::path& out);

}  // namespace lra
