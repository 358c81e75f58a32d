#pragma once

#include <string>

#include "core/json_file.h"

namespace lra {

/// What this program was built from and with.
struct BuildInfo {
  std::string version;     ///< of the release, e.g. "0.2.0"
  std::string revision;    ///< git commit, 40 hex digits; "unknown" outside a git checkout
  bool dirty;              ///< when the program was built, tracked files differed from that commit, or lib, apps,
                           ///< configs or cmake had files that git does not know
  std::string compiler;    ///< e.g. "GNU 12.2.0"
  std::string build_type;  ///< e.g. "Release"
  std::string libtorch;    ///< version of the LibTorch that the build was configured with, e.g. "2.13.0+cpu"
  std::string source_dir;  ///< the checkout it was built from
};

const BuildInfo& build_info();

/// The facts as records keep them: version, revision, dirty, libtorch, compiler, build_type.
Json build_facts();

/// What `PROGRAM --version` prints, one line.
std::string version_line(const std::string& program);

}  // namespace lra
