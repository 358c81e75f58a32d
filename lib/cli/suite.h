#pragma once

#include <filesystem>
#include <vector>

#include "cli/run.h"

namespace lra {

/// Does every run in a process of its own below `out`. `jobs` trainings work side by side, each with its share of the
/// threads; 0: those that train with one thread (see chosen_threads) side by side, the others alone. Benches always
/// work alone. Finished runs are skipped, half-done ones resumed, runs that another process works on are waited for at
/// the end. A run that fails, dies or exceeds its limits leaves a record with its status, and the next begins.
ExitCode run_suite(const std::vector<RunConfig>& runs, const std::filesystem::path& out, int jobs = 0);

}  // namespace lra
