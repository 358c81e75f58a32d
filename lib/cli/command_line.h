#pragma once

#include <string>

namespace lra {

/// `lra-run`: reads the arguments, does what they ask for and returns the exit code. `version` is what --version
/// prints.
int run_command_line(int argc, char** argv, const std::string& version);

}  // namespace lra
