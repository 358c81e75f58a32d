#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/config_reader.h"

namespace lra {

/// The folder `configs`: LRA_CONFIGS, else beside a parent folder of the program or of the working directory. Throws
/// Error.
std::filesystem::path config_root();

/// Names (without .json) in configs/<kind>; `kind` is tasks, mixers, profiles or suites.
std::vector<std::string> config_names(const std::string& kind);

/// configs/<kind>/<name>.json. Throws Error with a suggestion for an unknown name.
Json named_config(const std::string& kind, const std::string& name);

/// `key=value` arguments as one JSON object: dots go down ("mixer_options.k=64"). A value that is no JSON is a text,
/// and so is every value of a key that is a text ("variant=123"). A key may be given once.
Json parse_overrides(const std::vector<std::string>& arguments);

/// The origin of overrides in messages.
inline constexpr const char* command_line_origin = "the command line";

/// The layers of one run: task < profile < profile's section for the task < mixer < profile's section for task and
/// mixer < `run` < `overrides`. `run` (from `origin`) and `overrides` name "task", "mixer" and "profile" and may hold
/// any key of a resolved config.
LayeredJson layer_run(const Json& run, const std::string& origin, const Json& overrides);

/// Calls `visit` with the runs of a config file, one after another: one for {"task", "mixer", ...}; for a suite
/// {"suite", "tasks", "mixers", "profile", "seeds", "bench", ...} the product of tasks, mixers and seeds, then of its
/// bench's lengths, batch sizes and mixers. A task or mixer is a name or an object with keys of its own.
void for_each_run(const Json& config, const std::string& origin, const Json& overrides,
                  const std::function<void(const LayeredJson&)>& visit);

/// All of them at once.
std::vector<LayeredJson> expand_config(const Json& config, const std::string& origin, const Json& overrides);

}  // namespace lra
