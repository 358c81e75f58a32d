#pragma once

#include <string>

#include "report/collect.h"

namespace lra::report {

/// Why a run's scores do not belong beside those printed for its task of Long Range Arena: another task, fewer examples, shorter sequences; empty where
/// nothing that the record says is against it.
std::string easier_than_official(const Result& result);

}  // namespace lra::report
