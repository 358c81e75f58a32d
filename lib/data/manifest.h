#pragma once

#include <cstdint>
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

/// The same where the data are used: a file is hashed once for as long as it does not change (file_hash.h).
void check_file_at_use(const std::filesystem::path& folder, const Json& entry);

/// Does check_file_at_use() if a manifest beside `file` names it. Says on the console if none does: nothing tells then
/// whether the file is whole.
void check_against_manifest(const std::filesystem::path& file);

/// folder / "manifest.json", or null where there is none. Throws Error if it is no manifest.
Json read_manifest(const std::filesystem::path& folder);

/// Where the numbers of examples in a manifest's `files` differ from the task's "official_examples" (configs/tasks):
/// "train has 8 examples, the official task has 25,000; ...". Empty where they agree, and for a task that has none.
std::string difference_from_official(const Json& files, const std::string& task);

/// Holds the folder against other processes that prepare data in it; waits while one does, and says so. Makes the
/// folder. Throws Error.
FolderLock lock_data_folder(const std::filesystem::path& folder);

}  // namespace lra
