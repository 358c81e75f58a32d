#include "core/log.h"

#include <spdlog/sinks/stdout_sinks.h>

#include <memory>

namespace lra {

spdlog::logger& log() {
  static const auto logger = [] {
    auto made = std::make_shared<spdlog::logger>("lra", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%H:%M:%S %v");
    return made;
  }();
  return *logger;
}

}  // namespace lra
