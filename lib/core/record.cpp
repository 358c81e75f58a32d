#include "core/record.h"

#include <algorithm>
#include <cmath>

namespace lra {
namespace {

constexpr std::size_t kept_samples = 200;

template <class T>
void put(Json& json, const char* key, const std::optional<T>& value) {
  if (value) json[key] = *value;
}

void put(Json& json, const char* key, const std::optional<Measured>& value) {
  if (!value) return;
  json[key] = {
      {"median", value->median}, {"spread", value->spread}, {"count", value->count}, {"samples", value->samples}};
}

}  // namespace

double quantile(const std::vector<double>& sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Measured measured(std::vector<double> samples) {
  Measured result;
  result.count = static_cast<std::int64_t>(samples.size());
  if (samples.empty()) return result;
  const std::size_t kept = std::min(samples.size(), kept_samples);
  for (std::size_t i = 0; i < kept; ++i) result.samples.push_back(samples[i * samples.size() / kept]);
  std::sort(samples.begin(), samples.end());
  result.median = quantile(samples, 0.5);
  result.spread = quantile(samples, 0.75) - quantile(samples, 0.25);
  return result;
}

Json RunRecord::to_json() const {
  Json json = {{"schema_version", record_schema_version}, {"status", status}};
  if (!message.empty()) json["message"] = message;
  for (const char* key : {"kind", "suite", "task", "mixer", "variant", "display_name", "profile", "seed"}) {
    if (config.contains(key)) json[key] = config[key];
  }
  put(json, "sequence_length", sequence_length);
  Json metrics = Json::object();
  put(metrics, "train_accuracy", train_accuracy);
  put(metrics, "valid_accuracy", valid_accuracy);
  put(metrics, "test_accuracy", test_accuracy);
  put(metrics, "test_examples", test_examples);
  put(metrics, "selected_step", selected_step);
  put(metrics, "steps_done", steps_done);
  if (!reference_levels.is_null()) metrics["reference_levels"] = reference_levels;
  json["metrics"] = metrics;
  json["speed"] = Json::object();
  put(json["speed"], "train_steps_per_second", train_steps_per_second);
  put(json["speed"], "train_examples_per_second", train_examples_per_second);
  put(json["speed"], "inference_examples_per_second", inference_examples_per_second);
  put(json["speed"], "loading_examples_per_second", loading_examples_per_second);
  if (!disturbed.empty()) json["speed"]["disturbed"] = disturbed;
  json["memory"] = Json::object();
  put(json["memory"], "peak_tensor_bytes", peak_tensor_bytes);
  put(json["memory"], "peak_rss_bytes", peak_rss_bytes);
  put(json, "parameters", parameters);
  if (!cost.is_null()) json["cost"] = cost;
  if (!notes.empty()) json["notes"] = notes;
  json["wall_seconds"] = std::round(wall_seconds * 1000) / 1000;
  if (!host.is_null()) json["host"] = host;
  if (!build.is_null()) json["build"] = build;
  if (!data.is_null()) json["data"] = data;
  if (!files.is_null()) json["files"] = files;
  json["config"] = config;
  return json;
}

}  // namespace lra
