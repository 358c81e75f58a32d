#pragma once

#include <optional>
#include <string>

#include "core/config.h"

namespace lra {

/// Why a record or checkpoint belongs to another run: `key` was `before` and is `now` (JSON). `reason` is a clause that
/// ends the sentence, or empty.
struct ConfigDifference {
  std::string key, before, now, reason;
};

/// Compares two resolved configurations and returns the first key that makes them different runs. Only keys count that
/// can change weights or scores, or the speeds of a bench. In training `threads` may differ, and `train_steps` may be
/// larger if the learning rate does not depend on it. A key that `saved` lacks has its default value.
std::optional<ConfigDifference> config_difference(const Json& saved, const RunConfig& wanted);

/// {"train": SHA-256, ...} of the splits that a record's "data" or a manifest's "files" tells of.
Json split_hashes(const Json& files);

/// The first split that is in both and has another hash, as a clause: "its train split has SHA-256 0123..., now it is
/// 4567..."; empty if there is none.
std::string data_difference(const Json& saved_hashes, const Json& hashes);

/// The split_hashes of the data in `task.data_dir`, from their manifest; null if they are missing or damaged. Each
/// folder is read only once.
const Json& hashes_in_data_dir(const TaskConfig& task);

}  // namespace lra
