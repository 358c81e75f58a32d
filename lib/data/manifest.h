#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/file_lock.h"
#include "core/json_file.h"

namespace lra {

/// A manifest's entry for a file: {"file", "bytes", "sha256", "examples"}.
Json file_entry(const std::string& name, std::string_view content, std::size_t examples);

/// Is `folder / entry["file"]` there with the size that the entry says?
bool size_agrees(const std::filesystem::path& folder, const Json& entry);

/// Throws Error if the file that the entry describes is missing or has another size or SHA-256.
void check_file(const std::filesystem::path& folder, const Json& entry);

/// folder / "manifest.json", or null where there is none. Throws Error if it is no manifest.
Json read_manifest(const std::filesystem::path& folder);

/// Holds the folder against other processes that prepare data in it; waits while one does. Makes the folder. Throws Error.
FolderLock lock_data_folder(const std::filesystem::path& folder);

}  // namespace lra
