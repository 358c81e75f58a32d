#include "core/build_info.h"

#include <fmt/format.h>

namespace lra {

Json build_facts() {
  const BuildInfo& info = build_info();
  return {{"version", info.version},   {"revision", info.revision}, {"dirty", info.dirty},
          {"libtorch", info.libtorch}, {"compiler", info.compiler}, {"build_type", info.build_type}};
}

std::string version_line(const std::string& program) {
  const BuildInfo& info = build_info();
  return fmt::format("{} {} (revision {}{}, built with LibTorch {} by {}, {})", program, info.version, info.revision,
                     info.dirty ? ", dirty" : "", info.libtorch, info.compiler, info.build_type);
}

}  // namespace lra
