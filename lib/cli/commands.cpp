#include "cli/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "cli/estimate.h"
#include "cli/resolve.h"
#include "core/config_files.h"
#include "core/error.h"
#include "core/host_info.h"
#include "core/log.h"
#include "core/record.h"
#include "core/text.h"
#include "mixers/mixer.h"
#include "train/device.h"
#include "train/profile.h"
#include "train/progress.h"
#include "train/threads.h"

namespace lra {
namespace fs = std::filesystem;

namespace {

/// The runs of a suite, each with a folder of its own.
class Runs {
 public:
  void add(const LayeredJson& layers) {
    runs_.push_back(resolve(layers));
    select_device(runs_.back().train.device);
    const std::string folder = run_folder("", runs_.back()).string();
    if (!folders_.insert(folder).second) {
      throw Error(fmt::format("two runs of the suite would share the folder {}", folder),
                  "give each mixer with other options a \"variant\" of its own, and each length and seed once");
    }
  }

  const std::vector<RunConfig>& all() const { return runs_; }

 private:
  std::vector<RunConfig> runs_;
  std::set<std::string> folders_;
};

/// The sentence is said once, by the process that the user started.
void warn_of_threads(const std::vector<RunConfig>& runs) {
  const std::int64_t cores = usable_cores();
  for (const auto& run : runs) {
    if (run.train.threads <= cores) continue;
    log().warn(
        "warning: threads={} is more than the {} cores that this process may use: threads that wait for each other "
        "make it slow",
        run.train.threads, cores);
    return;
  }
}

void print_estimate(const RunConfig& run) {
  const Estimate e = estimate(run, example_sizes(run));
  say(fmt::format(
      "{} {} {}: {} parameters ({:+.1f} % against full attention), {:.4g} tokens and {:.4g} FLOPs per step,\n",
      run.kind, run.task.task, run.variant, e.parameters,
      100.0 * static_cast<double>(e.parameters) / static_cast<double>(e.softmax_parameters) - 100, e.tokens_per_step,
      e.flops_per_step));
  const auto steps = static_cast<double>(
      run.kind == "bench" ? run.measure.measure_warmup_steps + run.measure.measure_steps : run.train.train_steps);
  say(
      fmt::format("  estimated roughly: {:.0f} MB of tensors, {:.3g} s per step, {:.3g} minutes for {:.0f} steps "
                  "without evaluation\n",
                  e.bytes / 1e6, e.seconds_per_step, e.seconds_per_step * steps / 60, steps));
  if (const std::string excess = too_large(run, e); !excess.empty()) say(fmt::format("  {}\n", excess));
}

template <class T>
void check_distinct(const char* option, const std::vector<T>& values) {
  std::set<T> seen;
  for (const T& value : values) {
    if (!seen.insert(value).second) throw Error(fmt::format("lra-run bench: {}: {} is given twice", option, value));
  }
}

/// A text of a file under configs, "" where there is none.
std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

void print_json(const Json& json) { fmt::print("{}\n", json.dump(2, ' ', true, Json::error_handler_t::replace)); }

ExitCode run_command(const RunArguments& arguments) {
  const bool suite_child = arguments.suite_process > 0;
  if (suite_child && !is_suite_child(arguments.suite_process)) return exit_interrupted;
  Json file = read_json(arguments.config);
  if (file.is_object() && file.contains("schema_version") && file.contains("config"))
    file = config_of_record(file, fs::path(arguments.config).parent_path());
  const Json overrides = parse_overrides(arguments.overrides);
  Runs resolved;
  for_each_run(file, arguments.config, overrides, [&](const LayeredJson& layers) { resolved.add(layers); });
  const auto& runs = resolved.all();
  if (arguments.dry_run) {
    Json estimated;
    for (const auto& run : runs) {
      Json settings = run.to_json();
      settings.erase("seed");  // it costs nothing
      if (settings != estimated) print_estimate(run);
      estimated = std::move(settings);
      if (runs.size() == 1) print_json(run.to_json());
    }
    if (runs.size() > 1) {
      say(fmt::format(
          "{} runs; for the resolved configuration of one, take one task, mixer and seed: mixers=NAME seeds=[0] ...\n",
          runs.size()));
    }
    return exit_ok;
  }
  if (!arguments.folder.empty()) {
    ProgressPipe progress(arguments.progress);
    return run_in_folder(runs.at(0), arguments.folder, example_sizes(runs.at(0)), suite_child, progress);
  }
  const bool suite = runs.size() > 1 || file.contains("tasks") || file.contains("bench");
  if (suite) {
    warn_of_threads(runs);
    return run_suite(runs, arguments.out);
  }
  const ExampleSizes sizes = example_sizes(runs[0]);
  // Before all else: it starts the program again. A pipe cannot be read a second time.
  if (fs::is_regular_file(arguments.config) && chosen_threads(runs[0], sizes.mean_length) > 1) bound_spinning();
  warn_of_threads(runs);
  TerminalProgress progress;
  return run_in_folder(runs[0], run_folder(arguments.out, runs[0]), sizes, false, progress);
}

ExitCode bench_command(const BenchArguments& arguments) {
  const bool paper = arguments.protocol == "paper";
  if (paper && (arguments.task != "bytes" || arguments.profile != "small")) {
    throw Error("lra-run bench: --protocol paper sets the task and the profile itself",
                "leave out --task and --profile");
  }
  const std::string profile = paper ? "lra-config" : arguments.profile;
  const std::string origin = "lra-run bench";
  const Json overrides = parse_overrides(arguments.overrides);
  check_distinct("--mixers", arguments.mixers);
  check_distinct("--lengths", arguments.lengths);
  check_distinct("--batch", arguments.batch_sizes);
  const bool on_cpu = select_device(overrides.value("device", "auto")).is_cpu();
  auto batches = arguments.batch_sizes;
  const bool own_lengths = arguments.task != "bytes" && arguments.lengths.empty();
  if (batches.empty() && !own_lengths) batches = {paper || !on_cpu ? 32 : 1};
  auto lengths = arguments.lengths;
  if (lengths.empty() && !own_lengths) lengths = {1024, 2048, 3072, 4096};
  const double limit_gb = arguments.memory_limit_gb > 0
                              ? arguments.memory_limit_gb
                              : 0.75 * static_cast<double>(usable_machine().memory_bytes) / 1e9;

  Runs resolved;
  for (const auto& mixer : arguments.mixers.empty() ? mixer_registry().names() : arguments.mixers) {
    const Json run = {
        {"kind", "bench"},    {"task", arguments.task},      {"mixer", mixer},
        {"profile", profile}, {"memory_limit_gb", limit_gb}, {"time_limit_minutes", arguments.time_limit_minutes}};
    // Where none is given, the task's own length or batch size holds.
    for (std::size_t l = 0; l < std::max<std::size_t>(lengths.size(), 1); ++l) {
      for (std::size_t b = 0; b < std::max<std::size_t>(batches.size(), 1); ++b) {
        Json cell = run;
        if (!lengths.empty()) cell["seq_len"] = lengths[l];
        if (!batches.empty()) cell["batch_size"] = batches[b];
        resolved.add(layer_run(cell, origin, overrides));
      }
    }
  }
  const auto& runs = resolved.all();
  warn_of_threads(runs);
  const ExitCode code = run_suite(runs, arguments.out);

  // loading x: how many times as fast as it trains one thread reads and packs the examples.
  std::size_t widest = 18;
  for (const auto& run : runs) widest = std::max(widest, run.variant.size());
  fmt::print("{:<{}} {:>7} {:>6} {:>13} {:>13} {:>10} {:>12} {:>10}  {}\n", "mixer", widest, "length", "batch",
             "steps/s", "examples/s", "spread %", "peak MB", "loading x", "status");
  for (const auto& run : runs) {
    const auto found = record_in(run_folder(arguments.out, run));
    if (!found) continue;
    Json record = *found;
    std::string steps = "-", examples = "-", spread = "-", peak = "-", loading = "-";
    if (record["speed"].contains("train_steps_per_second")) {
      const Json& speed = record["speed"]["train_steps_per_second"];
      steps = fmt::format("{:.4g}", speed["median"].get<double>());
      spread = fmt::format("{:.1f}", 100 * speed["spread"].get<double>() / speed["median"].get<double>());
      const double trained = record["speed"]["train_examples_per_second"]["median"].get<double>();
      examples = fmt::format("{:.4g}", trained);
      if (record["speed"].contains("loading_examples_per_second")) {
        loading =
            fmt::format("{:.3g}", record["speed"]["loading_examples_per_second"]["median"].get<double>() / trained);
      }
    }
    if (record["memory"].contains("peak_tensor_bytes"))
      peak = fmt::format("{:.1f}", record["memory"]["peak_tensor_bytes"].get<double>() / 1e6);
    fmt::print("{:<{}} {:>7} {:>6} {:>13} {:>13} {:>10} {:>12} {:>10}  {}\n", run.variant, widest, run.task.seq_len,
               run.train.batch_size, steps, examples, spread, peak, loading, printable(record.value("status", "?")));
  }
  for (const auto& run : runs) {
    const fs::path file = run_folder(arguments.out, run) / "profile.json";
    if (run.measure.profile_steps > 0 && fs::exists(file))
      fmt::print("\n{}, length {}: {}", run.variant, run.task.seq_len, profile_table(read_json(file)));
  }
  fmt::print("records: {}\n", printable(fs::absolute(arguments.out).string()));
  return code;
}

ExitCode list_command(const std::string& kind) {
  for (const auto& name : config_names(kind)) {
    const Json config = named_config(kind, name);
    std::string text = text_of(config, config.contains("summary") ? "summary" : "display_name");
    if (kind == "mixers") {
      const MixerEntry& entry = mixer_registry().at(name);
      text = config.contains("display_name") ? text_of(config, "display_name") : name;
      if (config.contains("family")) text += fmt::format(" ({})", text_of(config, "family"));
      if (config.contains("paper") && config["paper"].contains("arxiv"))
        text += fmt::format(", arXiv {}", text_of(config["paper"], "arxiv"));
      if (entry.traits(entry.resolve(LayeredJson(), "")).fixed_length) text += ", tied to the length";
    }
    fmt::print("{:<16} {}\n", printable(name), printable(text));
  }
  return exit_ok;
}

ExitCode schema_command() {
  print_json(config_schema());
  return exit_ok;
}

}  // namespace lra
