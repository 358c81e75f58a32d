#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lra {

/// The folder that has all of `needed`, files or folders: `from`, else one at any depth below it (links are followed,
/// each folder is looked into once). LRA's release has two nested copies. The inner one is taken, because the outer
/// Path-X is reported to be faulty. Throws Error for several other folders, which it names, and where none is found,
/// naming what is missing.
std::filesystem::path find_folder(const std::filesystem::path& from, const std::vector<std::string>& needed,
                                  const std::string& hint);

/// Does this path in LRA's release lie in the folder of another task than that whose folder is called `own`
/// ("listops-1000", "tsv_data", "pathfinder32", ...)?
bool of_another_release_task(const std::string& path, const std::string& own);

}  // namespace lra
