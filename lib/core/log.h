#pragma once

#include <spdlog/logger.h>

namespace lra {

/// Lines about the course of long work: on standard error, with the time of day.
spdlog::logger& log();

}  // namespace lra
