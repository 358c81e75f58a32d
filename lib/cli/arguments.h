#pragma once

#include <functional>
#include <string>
#include <vector>

namespace lra {

/// How a command reads its arguments.
struct Grammar {
  std::vector<std::string> options;       ///< of the command, each with its dashes
  std::vector<std::string> list_options;  ///< those whose values are separated by commas
  std::vector<std::string> keys;          ///< of the configuration: KEY=VALUE
  std::vector<std::string> list_keys;     ///< those whose values may be separated by commas
};

/// `arguments` with every key of the configuration in the form KEY=VALUE. Understood are `--key value`, `--key=value`,
/// dashes for underscores, spaces around the equals sign, and spaces in place of the commas of a list. Throws Error for
/// an option that is not known.
std::vector<std::string> plain_arguments(const std::vector<std::string>& arguments, const Grammar& grammar);

}  // namespace lra
