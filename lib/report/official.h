#pragma once

#include <map>
#include <string>

#include "report/collect.h"

namespace lra::report {

/// The files of configs/tasks by the names of their tasks, read once; empty where that folder is not found.
const std::map<std::string, Json>& task_configs();

/// Why a run's scores do not belong beside those printed for its task of Long Range Arena: another task, fewer
/// examples, shorter sequences; empty where nothing that the record says is against it.
std::string easier_than_official(const Result& result);

}  // namespace lra::report
