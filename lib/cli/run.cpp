#include "cli/run.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <utility>

#include "core/build_info.h"
#include "core/error.h"
#include "core/file_lock.h"
#include "core/held_folder.h"
#include "core/host_info.h"
#include "core/load.h"
#include "core/log.h"
#include "core/program.h"
#include "core/record.h"
#include "train/bench.h"
#include "train/device.h"
#include "train/run_status.h"
#include "train/same_run.h"
#include "train/trainer.h"

namespace lra {
namespace fs = std::filesystem;

namespace {

/// Fills in what every record has, whatever became of the run.
void complete(RunRecord& record, const RunConfig& config, const fs::path& folder, double seconds) {
  if (record.host.is_null()) {
    describe_run(config, select_device(config.train.device), record);
  }
  Json host = host_info();
  host.update(record.host);
  record.host = host;
  // For whoever uses the run from another folder; the configuration keeps what the user wrote.
  std::error_code unknown;
  if (config.task.task != "bytes")
    record.host["data_dir"] = fs::relative(config.task.data_dir, folder, unknown).string();
  record.config = config.to_json();
  record.build = build_facts();
  record.wall_seconds = seconds;
  if (config.kind == "bench" && config.task.task == "bytes") record.sequence_length = config.task.seq_len;
}

}  // namespace

std::string summary_of(const Json& record) {
  std::string text = record.value("status", "?");
  if (record.contains("message")) text += ": " + record["message"].get<std::string>();
  const Json metrics = record.value("metrics", Json::object());
  if (metrics.contains("test_accuracy"))
    text += fmt::format(", test accuracy {:.2f} %", 100 * metrics["test_accuracy"].get<double>());
  const Json speed = record.value("speed", Json::object()), memory = record.value("memory", Json::object());
  if (speed.contains("train_examples_per_second"))
    text += fmt::format(", {:.4g} examples/s", speed["train_examples_per_second"]["median"].get<double>());
  if (speed.contains("disturbed"))
    text += fmt::format(" (not to be trusted: {})", speed["disturbed"].get<std::string>());
  if (memory.contains("peak_tensor_bytes"))
    text += fmt::format(", {:.1f} MB", memory["peak_tensor_bytes"].get<double>() / 1e6);
  return text;
}

bool finished(const std::string& status) {
  return status == "ok" || status == "oom" || status == "timeout" || status == "nan";
}

void write_failure(const RunConfig& config, const fs::path& folder, const std::string& status,
                   const std::string& message, double seconds) {
  RunRecord record;
  record.status = status;
  record.message = message;
  complete(record, config, folder, seconds);
  write_json(folder / "result.json", record.to_json());
}

std::optional<Json> record_in(const fs::path& folder) {
  const fs::path file = folder / "result.json";
  std::error_code code;
  if (!fs::exists(file, code)) return {};
  try {
    return read_json(file);
  } catch (const Error&) {
    if (fs::exists(file, code)) throw;
    return {};  // another process took it away to write a new one
  }
}

Json config_of_record(const Json& record, const fs::path& folder) {
  Json config = record.value("config", Json());
  const Json host = record.value("host", Json::object());
  if (!config.is_object() || !host.is_object() || !host.contains("data_dir") || !host["data_dir"].is_string())
    return config;
  const bool relative = config.contains("data_dir") && config["data_dir"].is_string() &&
                        fs::path(config["data_dir"].get<std::string>()).is_relative();
  std::error_code code;
  const fs::path there = folder / host["data_dir"].get<std::string>();
  if (relative && fs::is_directory(there, code)) config["data_dir"] = fs::proximate(there, code).string();
  return config;
}

std::string recorded_status(const RunConfig& config, const fs::path& folder) {
  const fs::path file = folder / "result.json";
  const auto existing = record_in(folder);
  if (!existing) return "";
  const Json& record = *existing;
  if (!record.is_object() || !record.contains("config") || !record["config"].is_object() ||
      !record.contains("status") || !record["status"].is_string()) {
    throw Error(fmt::format("{}: is no record of a run", file.string()), "choose another --out, or delete that file");
  }
  const Json& recorded = record["config"];
  if (const auto found = config_difference(recorded, config)) {
    throw Error(fmt::format("{}: is the record of a run with {} = {}, not {}{}", file.string(), found->key,
                            found->before, found->now, found->reason),
                "choose another --out, or delete that folder");
  }
  const Json wanted = config.to_json();
  // A run that met a limit is tried again under another one.
  const auto changed = [&](const char* key) { return recorded.contains(key) && recorded[key] != wanted[key]; };
  const auto status = record["status"].get<std::string>();
  const Json hashes = finished(status) ? split_hashes(record.value("data", Json())) : Json::object();
  if (const std::string found = data_difference(hashes, hashes_in_data_dir(config.task)); !found.empty()) {
    throw Error(fmt::format("{}: is the record of a run on other data than those in {}: {}", file.string(),
                            config.task.data_dir, found),
                "put back the data, choose another --out, or delete that folder");
  }
  if (config.kind == "train" && recorded.value("train_steps", config.train.train_steps) < config.train.train_steps)
    return "shorter";  // it goes on
  const bool limited = status == "oom" || status == "timeout";
  return limited && (changed("memory_limit_gb") || changed("time_limit_minutes")) ? "failed" : status;
}

ExitCode run_in_folder(const RunConfig& config, const fs::path& folder, const ExampleSizes& sizes, bool suite_child,
                       ProgressSink& progress) {
  // A suite's child has inherited the lock.
  const auto lock = suite_child ? std::nullopt : FolderLock::try_lock(folder);
  if (!suite_child && !lock) {
    throw Error(fmt::format("{}: another process is working on this run", folder.string()),
                "wait for it, or choose another --out");
  }
  const HeldFolder held(folder);
  const std::string status = recorded_status(config, folder);
  if (finished(status)) {
    log().info("already done: {}", folder.string());
    return status == "ok" ? exit_ok : exit_not_all_ok;
  }
  fs::remove(folder / "result.json");
  write_json(folder / "config.json", config.to_json());
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  try {
    const Estimate cost = estimate(config, sizes);
    const std::string excess = too_large(config, cost);
    if (!excess.empty() && !suite_child) throw Error(excess);
    RunRecord record;
    if (!excess.empty()) {
      record.status = "oom";
      record.message = excess;
    } else {
      record = config.kind == "bench" ? bench(config, progress) : train(config, folder, progress);
    }
    complete(record, config, folder, seconds());
    record.cost = cost.to_json();
    if (static_cast<double>(cost.parameters) > 1.1 * static_cast<double>(cost.softmax_parameters)) {
      record.notes.push_back(
          fmt::format("{} parameters, over 10 % more than the {} of full attention: not comparable by LRA's rules",
                      cost.parameters, cost.softmax_parameters));
    }
    if (record.test_accuracy && record.reference_levels.contains("majority")) {
      const double majority = record.reference_levels["majority"].get<double>();
      const double error = std::sqrt(majority * (1 - majority) / static_cast<double>(*record.test_examples));
      if (*record.test_accuracy < majority + 2 * error) record.notes.push_back(nothing_learned);
    }
    const Json json = record.to_json();
    held.check();
    if (!record.operator_profile.is_null()) write_json(folder / "profile.json", record.operator_profile);
    write_json(folder / "result.json", json);
    if (!suite_child) log().info(summary_of(json));
    if (!record.disturbed.empty() && !suite_child)
      log().warn("warning: the speeds are not to be trusted ({}): {}", record.disturbed, disturbance_remedy);
    if (record.status == "interrupted") return exit_interrupted;
    return record.status == "ok" ? exit_ok : exit_not_all_ok;
  } catch (const std::exception& error) {
    // In a suite even a mistake of the user's becomes a record, so that the report shows what is missing.
    if (!suite_child || !held.in_place()) throw;
    const auto* mistake = dynamic_cast<const Error*>(&error);
    const std::string hint = mistake == nullptr || mistake->hint().empty() ? "" : fmt::format("; {}", mistake->hint());
    write_failure(config, folder, "failed", message_of(error) + hint, seconds());
    return exit_user;  // the suite says why
  }
}

}  // namespace lra
