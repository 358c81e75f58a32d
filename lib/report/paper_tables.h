#pragma once

#include <vector>

#include "report/paper.h"
#include "report/tables.h"

namespace lra::report {

/// Table 1, Table 2 and later results as published, ours beside them where there are any on the official data; ours on
/// easier data in a table of their own; and the rank correlations.
std::vector<Table> paper_tables(const std::vector<PaperComparison>& comparisons, const Json& published);

}  // namespace lra::report
