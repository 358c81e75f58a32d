#pragma once

#include <filesystem>
#include <string>

namespace lra {

/// The SHA-256 of a file. It is computed again only if the file's size, inode or times have changed; they are
/// remembered with the hash in this process and in hashes.json beside the file. Two files are not remembered: one that
/// changed within the last two seconds (it might change again within the same tick of the clock), and one in a folder
/// that cannot be written. Throws Error.
std::string known_sha256(const std::filesystem::path& file);

/// Computes the hash anew and remembers it.
std::string computed_sha256(const std::filesystem::path& file);

}  // namespace lra
