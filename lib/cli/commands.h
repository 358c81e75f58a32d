#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/suite.h"
#include "data/task.h"

namespace lra {

/// On standard output. No byte of a file's name or text may move a terminal's cursor or end its line: all but ASCII is
/// escaped.
void print_json(const Json& json);

/// `lra-run --config FILE|SUITE`, `lra-run train`, `lra-run suite NAME|FILE`, each with [--out DIR] [--dry-run]
/// [key=value ...].
struct RunArguments {
  std::string config;        ///< a file, or the name of a suite; empty for `train`
  std::string out = "runs";  ///< empty for `suite`: runs/NAME
  int jobs = 0;              ///< see run_suite
  std::string folder;        ///< set in a suite's child: do this one run in exactly this folder
  int suite_process = 0;     ///< set in a suite's child: the suite
  int progress = -1;         ///< set in a suite's child: the descriptor for its ProgressPipe
  bool dry_run = false;
  std::vector<std::string> overrides;
};
ExitCode run_command(const RunArguments& arguments);
ExitCode train_command(const RunArguments& arguments);
ExitCode suite_command(const RunArguments& arguments);

/// `lra-run bench`: mixers × lengths × batch sizes, each in a process of its own, then a table.
struct BenchArguments {
  std::vector<std::string> mixers;    ///< empty: all
  std::vector<std::int64_t> lengths;  ///< empty: 1024, 2048, 3072, 4096 for `bytes`; the task's own examples otherwise
  std::vector<std::int64_t> batch_sizes;  ///< empty: 1 on a CPU, 32 on a device
  std::string task = "bytes";
  std::string profile = "small";
  std::string protocol;  ///< "paper": profile lra-config, batch 32, task bytes
  std::string out = "runs/bench";
  double memory_limit_gb = 0;      ///< 0: three quarters of the machine's memory
  double time_limit_minutes = 10;  ///< per cell
  bool json = false;               ///< print the records instead of a table
  std::vector<std::string> overrides;
};
ExitCode bench_command(const BenchArguments& arguments);

/// `lra-run eval`: scores a file, or the test split, with the weights in a run's folder.
struct EvalArguments {
  std::string checkpoint;  ///< a run's folder
  std::string
      data;  ///< all of this file; empty: the test split of the run's task, which must be the one it was trained beside
  std::string predictions;  ///< empty: none written
  std::vector<std::string> overrides;
};
ExitCode eval_command(const EvalArguments& arguments);

/// `lra-run ls tasks|mixers|profiles|suites [NAME]`.
struct ListArguments {
  std::string kind, name;
  bool json = false;
};
ExitCode list_command(const ListArguments& arguments);

/// `lra-run data prepare TASK`: prints what there is now in five lines, or the manifest.
struct PrepareArguments {
  std::string task;
  PrepareOptions prepare;
  bool json = false;
};
ExitCode prepare_command(const PrepareArguments& arguments);
/// `lra-run data verify TASK`: prints what was found.
ExitCode verify_command(const std::string& task, const std::string& data_dir, bool json);
/// `lra-run data status`: which tasks have their data, and how to get those of the others.
ExitCode data_status_command(const std::string& data_dir, bool json);

struct ShowArguments {
  std::string task;
  std::int64_t index = 0;
  std::string split = "test";
  std::string data_dir = default_data_dir();
  std::string png;  ///< write the picture here instead of the terminal
};
/// `lra-run data show TASK INDEX`: an example as a person would read it.
ExitCode show_command(const ShowArguments& arguments);

/// Whether there is anything in the folder of a task's data; true for a task that needs none.
bool has_data(const std::string& task, const std::string& data_dir);
/// Throws Error that names the data and the command that makes them: `command` if it is given.
[[noreturn]] void fail_without_data(const std::string& task, const std::string& data_dir,
                                    const std::string& command = {});

/// `lra-run doctor`: what this machine is, and what is wrong with it. exit_user if something is.
ExitCode doctor_command();

/// `lra-run schema`: the JSON Schema of config files.
ExitCode schema_command();

}  // namespace lra
