#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "report/collect.h"

namespace lra::report {

std::optional<std::int64_t> integer_at(const Json& object, const char* key);

/// The keys of the settings whose values differ, with all values. Options of mixer and task are keys of their own:
/// "mixer_options.features".
std::map<std::string, std::set<std::string>> differing_keys(const std::vector<const Result*>& results);

/// Display names by variant + signature. Where one variant has several configurations, the keys that differ are added,
/// so that no two are mixed up.
std::map<std::string, std::string> labels_of(const std::vector<const Result*>& results);

/// The values of a key: "1000", or "1000 to 4000".
std::string number_list(const std::vector<const Result*>& results, const char* key);

/// "2 layers, width 64, 2 heads"
std::string sizes_of(const Result& result);

/// The same as a key: what the record lacks has its default value.
Json model_sizes(const Result& result);

/// What decides the speed of a model with given sequences, as a key.
std::string model_of(const Result& result);

/// What a training's own speed depends on besides model and machine, as a key.
std::string training_of(const Result& result);

/// "revision 0123456789, LibTorch 2.13.0+cpu": speeds of different ones are never averaged.
std::string build_of(const Result& result);

/// Was the program built with uncommitted changes?
bool is_dirty(const Result& result);

/// The host and its processor or device.
std::string machine_of(const Result& result);

/// The same with the number of threads, where these compute.
std::string describe_host(const Result& result);

}  // namespace lra::report
