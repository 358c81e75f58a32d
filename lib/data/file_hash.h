#pragma once

#include <filesystem>
#include <string>

namespace lra {

/// The SHA-256 of a file, computed once for as long as the file is the same: its size, inode and times are remembered
/// with the hash, in this process and in hashes.json beside it. A file that changed within the last two seconds is not
/// remembered, as it might change again within the same tick of the clock; nor is one in a folder that cannot be
/// written. Throws Error.
std::string known_sha256(const std::filesystem::path& file);

/// The same without what is remembered, which it replaces.
std::string computed_sha256(const std::filesystem::path& file);

}  // namespace lra
