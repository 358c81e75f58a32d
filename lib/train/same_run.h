#pragma once

#include <optional>
#include <string>

#include "core/config.h"

namespace lra {

/// Why a record or a checkpoint is of another run: `key` was `before` and is `now` (JSON); `reason` is a clause to end
/// the sentence with, or empty.
struct ConfigDifference {
  std::string key, before, now, reason;
};

/// The first key that makes a run with the resolved configuration `saved` another run than `wanted`: of those that can
/// change weights and scores, or the speeds of a bench. `threads` may differ in training, and `train_steps` may have
/// grown, where the learning rate does not depend on it. A key that `saved` lacks has its default value.
std::optional<ConfigDifference> config_difference(const Json& saved, const RunConfig& wanted);

/// {"train": SHA-256, ...} of the splits that a record's "data" or a manifest's "files" tells of.
Json split_hashes(const Json& files);

/// The first split that is in both and has another hash, as a clause: "its train split has SHA-256 0123..., now it is
/// 4567..."; empty if there is none.
std::string data_difference(const Json& saved_hashes, const Json& hashes);

/// split_hashes of what `task.data_dir` holds, as its manifest says; null where the data are not there or not sound.
/// Looks once for each folder.
const Json& hashes_in_data_dir(const TaskConfig& task);

}  // namespace lra
