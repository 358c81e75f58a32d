#pragma once

#include <filesystem>

namespace lra {

/// The name under which this process writes `file` before it renames it: FILE.tmp.HOST.PROCESS, beside `file`.
std::filesystem::path temporary_name(const std::filesystem::path& file);

/// Removes what processes of this host that have ended left half written in `folder`. Another host's files stay: it may
/// be at work.
void remove_temporary_files(const std::filesystem::path& folder);

}  // namespace lra
