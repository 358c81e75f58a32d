#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>

namespace lra {

/// Is it a file (that may hold an archive) and no folder?
bool is_archive(const std::filesystem::path& path);

/// Unpacks those regular files of a .tar.gz (also with another ending, as LRA's lra_release.gz), .tar or .zip that `wanted` says yes to
/// into the folder `into`, with the folders of their names; links are left out. `wanted` is asked with the path in the archive, without
/// a leading "./". Returns the number of files written. Throws Error for an archive that is damaged, cut short or of another kind, that
/// has a file whose path leads out of `into`, and for what cannot be written; files written before that stay.
std::size_t extract_archive(const std::filesystem::path& archive, const std::filesystem::path& into,
                            const std::function<bool(const std::string& entry_path)>& wanted);

}  // namespace lra
