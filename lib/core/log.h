#pragma once

#include <spdlog/logger.h>

#include <string_view>

namespace lra {

/// Lines about the course of long work: on standard error, with the time of day. What would drive a terminal is escaped
/// (see printable).
spdlog::logger& log();

/// Writes `text` on standard error as it is. Work goes on if that fails.
void say(std::string_view text);

}  // namespace lra
