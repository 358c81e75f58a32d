#pragma once

#include <filesystem>

#include "core/config.h"
#include "core/config_reader.h"

namespace lra {

/// The run that the layers describe, with every key read and checked, the mixer's options filled in and the registries
/// asked. Throws Error with file, JSON pointer and suggestion.
RunConfig resolve(const LayeredJson& layers);

/// OUT/<task>/<profile>/<variant>/n<seq_len>/seed<k>; a bench lies in
/// OUT/bench/<task>/<profile>/<variant>/n<seq_len>b<batch>.
std::filesystem::path run_folder(const std::filesystem::path& out, const RunConfig& config);

/// JSON Schema (draft 2020-12) of a config file, from the definitions that read it.
Json config_schema();

}  // namespace lra
