#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lra {

/// The first of `from / nesting` ("": `from` itself) that has all of `needed`, files or folders. Throws Error that names what is missing.
std::filesystem::path find_folder(const std::filesystem::path& from, const std::vector<std::string>& nestings,
                                  const std::vector<std::string>& needed, const std::string& hint);

}  // namespace lra
