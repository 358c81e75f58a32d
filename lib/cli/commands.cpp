#include "cli/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "cli/estimate.h"
#include "cli/resolve.h"
#include "cli/run_process.h"
#include "cli/suite_table.h"
#include "core/config_files.h"
#include "core/error.h"
#include "core/host_info.h"
#include "core/log.h"
#include "core/suggest.h"
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

}  // namespace

void print_json(const Json& json) { fmt::print("{}\n", json.dump(2, ' ', true, Json::error_handler_t::replace)); }

namespace {

/// The file, or the suite of that name.
std::string config_file(const std::string& given) {
  std::error_code code;
  const auto suites = config_names("suites");
  const bool is_name = std::find(suites.begin(), suites.end(), given) != suites.end();
  if (is_name && (!fs::exists(given, code) || fs::is_directory(given, code)))
    return (config_root() / "suites" / (given + ".json")).string();
  const bool looks_like_file = given.find_first_of("/.") != std::string::npos || fs::exists(given, code);
  if (!looks_like_file) throw Error(fmt::format("{}: neither a file nor a suite", given), suggestion(given, suites));
  return given;
}

bool is_suite(const Json& config) {
  return config.is_object() && config.contains("suite") && (config.contains("tasks") || config.contains("bench"));
}

/// Throws Error if the data of no training are there. `command` makes them, if the suite says how.
void check_data_of(const std::vector<RunConfig>& runs, const std::string& command) {
  const RunConfig* without = nullptr;
  for (const auto& run : runs) {
    if (run.kind == "bench") continue;
    if (has_data(run.task.task, run.task.data_dir)) return;
    without = &run;
  }
  if (without != nullptr) fail_without_data(without->task.task, without->task.data_dir, command);
}

void print_dry_run(const std::vector<RunConfig>& runs) {
  Json estimated;
  for (const auto& run : runs) {
    Json settings = run.to_json();
    settings.erase("seed");  // it costs nothing
    if (settings != estimated) print_estimate(run);
    estimated = std::move(settings);
    if (runs.size() == 1) print_json(run.to_json());
  }
  if (runs.size() > 1) {
    say(fmt::format("{} runs; for all settings of one, take one task, mixer and seed: mixers=NAME seeds=0 ...\n",
                    runs.size()));
  }
}

/// The runs of a suite, then what came of them and where it is.
ExitCode do_suite(const std::vector<RunConfig>& runs, const std::string& out, int jobs) {
  warn_of_threads(runs);
  const ExitCode code = run_suite(runs, out, jobs);
  fmt::print("{}\nrecords: {}\n", suite_table(runs, out), printable(fs::absolute(out).string()));
  fmt::print("next:    {}\n", code == exit_interrupted ? "the same command again goes on from here"
                                                       : printable("lra-report " + shell_word(out) + " -o report"));
  return code;
}

ExitCode run_config(const RunArguments& arguments, Json config, const std::string& origin) {
  const bool suite_child = arguments.suite_process > 0;
  const Json overrides = parse_overrides(arguments.overrides);
  Runs resolved;
  for_each_run(config, origin, overrides, [&](const LayeredJson& layers) { resolved.add(layers); });
  const auto& runs = resolved.all();
  if (arguments.dry_run) {
    print_dry_run(runs);
    return exit_ok;
  }
  if (!arguments.folder.empty()) {
    ProgressPipe progress(arguments.progress);
    return run_in_folder(runs.at(0), arguments.folder, example_sizes(runs.at(0)), suite_child, progress);
  }
  if (runs.size() > 1 || is_suite(config)) {
    check_data_of(runs, config.value("prepare", ""));
    return do_suite(runs, arguments.out, arguments.jobs);
  }
  const RunConfig& run = runs.at(0);
  if (!has_data(run.task.task, run.task.data_dir)) fail_without_data(run.task.task, run.task.data_dir);
  const ExampleSizes sizes = example_sizes(run);
  // Before all else: it starts the program again. A pipe cannot be read a second time.
  const bool can_start_again = arguments.config.empty() || fs::is_regular_file(origin);
  if (can_start_again && chosen_threads(run, sizes.mean_length) > 1) bound_spinning();
  warn_of_threads(runs);
  TerminalProgress progress;
  const fs::path folder = run_folder(arguments.out, run);
  const ExitCode code = run_in_folder(run, folder, sizes, false, progress);
  log().info("records: {}", folder.string());
  return code;
}

}  // namespace

ExitCode run_command(const RunArguments& arguments) {
  if (arguments.suite_process > 0 && !is_suite_child(arguments.suite_process)) return exit_interrupted;
  const std::string file = config_file(arguments.config);
  Json config = read_json(file);
  if (config.is_object() && config.contains("schema_version") && config.contains("config"))
    config = config_of_record(config, fs::path(file).parent_path());
  return run_config(arguments, std::move(config), file);
}

ExitCode train_command(const RunArguments& arguments) {
  const Json overrides = parse_overrides(arguments.overrides);
  if (!overrides.contains("task") || !overrides.contains("mixer")) {
    throw Error("lra-run train: expected a task and a mixer",
                "for example: lra-run train --task listops --mixer linear; `lra-run ls tasks` and `lra-run ls mixers` "
                "list them");
  }
  return run_config(arguments, {{"profile", "small"}}, "lra-run train");
}

ExitCode suite_command(const RunArguments& arguments) {
  const std::string file = config_file(arguments.config);
  const Json config = read_json(file);
  if (!is_suite(config))
    throw Error(fmt::format("{}: is no suite: it has no \"suite\" with \"tasks\" or \"bench\"", file),
                "one run is done by lra-run --config FILE");
  RunArguments given = arguments;
  if (given.out.empty()) given.out = (fs::path("runs") / fs::path(file).stem()).string();
  return run_config(given, config, file);
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
  if (arguments.json) {
    warn_of_threads(runs);
    const ExitCode code = run_suite(runs, arguments.out);
    Json records = Json::array();
    for (const auto& run : runs) {
      const fs::path folder = run_folder(arguments.out, run);
      if (auto record = record_in(folder)) {
        (*record)["folder"] = folder.string();
        records.push_back(std::move(*record));
      }
    }
    print_json(records);
    return code;
  }
  const ExitCode code = do_suite(runs, arguments.out, 1);
  for (const auto& run : runs) {
    const fs::path file = run_folder(arguments.out, run) / "profile.json";
    if (run.measure.profile_steps > 0 && fs::exists(file))
      fmt::print("\n{}, length {}: {}", run.variant, run.task.seq_len, profile_table(read_json(file)));
  }
  return code;
}

ExitCode schema_command() {
  print_json(config_schema());
  return exit_ok;
}

}  // namespace lra
