#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <exception>
#include <filesystem>

#include "cli/atlas.h"
#include "cli/commands.h"
#include "core/build_info.h"
#include "core/error.h"
#include "core/program.h"
#include "core/suggest.h"
#include "train/memory.h"
#include "train/run_status.h"
#include "train/stop_signals.h"

namespace {

int run(int argc, char** argv) {
  lra::memory::install();
  CLI::App app{
      "Trains, evaluates and measures transformer encoders with pluggable token mixers on the Long Range Arena."};
  app.footer(
      "Exit codes: 0 all runs ok, 1 fault of the program, 2 wrong input (one line `error: ...`), 3 a run ended with "
      "another status than ok,\n"
      "130 interrupted: INT, TERM, HUP, USR1, USR2 and XCPU stop a run, which saves what it has; QUIT (Ctrl-\\) ends "
      "it at once.");
  app.set_version_flag("--version", lra::version_line("lra-run"));
  lra::RunArguments run_arguments;
  app.add_option("--config", run_arguments.config, "a run, a suite, or the result.json of a run to repeat");
  app.add_option("--out", run_arguments.out, "folder of the records")->capture_default_str();
  app.add_option("--folder", run_arguments.folder)->group("");  // a suite's child
  app.add_option("--suite-process", run_arguments.suite_process)->group("");
  app.add_option("--progress", run_arguments.progress)->group("");
  app.add_flag("--dry-run", run_arguments.dry_run, "print the resolved configuration and what it will cost");
  app.add_option("overrides", run_arguments.overrides, "key=value, dots go down: train_steps=100 mixer_options.k=64");

  auto* list = app.add_subcommand("ls", "list tasks, mixers, profiles or suites");
  std::string kind;
  list->add_option("kind", kind)->required()->check(CLI::IsMember({"tasks", "mixers", "profiles", "suites"}));

  auto* data = app.add_subcommand("data", "prepare, verify or show the data of tasks");
  data->require_subcommand(1);
  lra::PrepareOptions prepare_options;
  lra::ShowArguments show_arguments;
  auto* prepare = data->add_subcommand("prepare", "generate data, or convert official files, and write the manifest");
  auto* verify =
      data->add_subcommand("verify", "check the files against the manifest and the examples against each other");
  auto* data_status = data->add_subcommand("status", "which tasks have their data, and how to get those of the others");
  auto* show = data->add_subcommand("show", "an example as a person would read it");
  for (auto* command : {prepare, verify, show}) command->add_option("task", show_arguments.task)->required();
  for (auto* command : {prepare, verify, data_status, show}) {
    command->add_option("--data-dir", show_arguments.data_dir, "folder of the data (LRA_DATA)")->capture_default_str();
  }
  show->add_option("index", show_arguments.index, "number of the example, from 0")
      ->check(lra::integer_problem)
      ->required();
  show->add_option("--split", show_arguments.split)
      ->check(CLI::IsMember({"train", "valid", "test"}))
      ->capture_default_str();
  show->add_option("--png", show_arguments.png, "write the picture to this file");
  prepare->add_option("--from", prepare_options.from,
                      "folder or archive with the official files; without it the data are generated");
  prepare->add_option("--threads", prepare_options.threads, "0: all cores; the data do not depend on it")
      ->check(lra::integer_problem)
      ->capture_default_str();
  // What a task's generator knows of these it reads; the others it refuses.
  const std::pair<const char*, const char*> numbers[] = {
      {"seed", "of the generator, or of Pathfinder's random split"},
      {"train", "training examples"},
      {"valid", "validation examples"},
      {"test", "test examples"},
      {"min_length", "ListOps: expressions are longer"},
      {"max_length", "ListOps: expressions are shorter"},
      {"max_depth", "ListOps: of an expression"},
      {"max_args", "ListOps: of an operator"},
      {"contour_length", "Pathfinder: paddles of a long curve (6 easy, 9 intermediate, 14 hard)"}};
  for (const auto& [key, text] : numbers) {
    std::string option = std::string("--") + key;
    std::replace(option.begin(), option.end(), '_', '-');
    const auto set = [&options = prepare_options.generator, key](std::int64_t value) { options[key] = value; };
    prepare->add_option_function<std::int64_t>(option, set, text)->check(lra::integer_problem);
  }

  auto* bench = app.add_subcommand("bench", "measure speed and memory of mixers x lengths x batch sizes");
  lra::BenchArguments bench_arguments;
  bench->add_option("--mixers", bench_arguments.mixers, "default: all")->delimiter(',')->allow_extra_args(false);
  bench->add_option("--lengths", bench_arguments.lengths, "default: 1024,2048,3072,4096")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(lra::integer_problem);
  bench->add_option("--batch", bench_arguments.batch_sizes, "default: 1 on a CPU, 32 on a device")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(lra::integer_problem);
  bench->add_option("--task", bench_arguments.task, "bytes, or a task whose own examples are timed")
      ->capture_default_str();
  bench->add_option("--profile", bench_arguments.profile)->capture_default_str();
  bench->add_option("--protocol", bench_arguments.protocol, "paper: LRA's Text model, batch 32")
      ->check(CLI::IsMember({"paper"}));
  bench->add_option("--out", bench_arguments.out)->capture_default_str();
  bench->add_option("--memory-limit-gb", bench_arguments.memory_limit_gb, "default: three quarters of the machine's")
      ->check(lra::not_negative_number_problem);
  bench->add_option("--time-limit-minutes", bench_arguments.time_limit_minutes, "per cell")
      ->check(lra::not_negative_number_problem)
      ->capture_default_str();
  bench->add_option("overrides", bench_arguments.overrides, "key=value");

  auto* eval = app.add_subcommand("eval", "score a file with trained weights");
  lra::EvalArguments eval_arguments;
  eval->add_option("--checkpoint", eval_arguments.checkpoint, "folder of a run")->required();
  eval->add_option("--data", eval_arguments.data, "a file in the task's format; default: the test split");
  eval->add_option("--predictions", eval_arguments.predictions, "JSON lines with the logits of every example");
  eval->add_option("overrides", eval_arguments.overrides, "key=value, for example device=cuda");

  auto* atlas = app.add_subcommand(
      "atlas", "draw who reads whom: each mixer's mixing matrix, layers until all is seen, cost against length");
  lra::AtlasArguments atlas_arguments;
  atlas->add_option("--mixer,--mixers", atlas_arguments.mixers, "default: all")
      ->allow_extra_args(false)
      ->delimiter(',');
  atlas->add_option("--n", atlas_arguments.n, "tokens, 2 to 512")->check(lra::integer_problem)->capture_default_str();
  atlas->add_option("--seed", atlas_arguments.seed, "of weights, random patterns and input")
      ->check(lra::integer_problem)
      ->capture_default_str();
  atlas->add_option("--input", atlas_arguments.input, "JSON: n rows of 64 numbers; default: normal numbers");
  atlas->add_option("--out", atlas_arguments.out)->capture_default_str();
  atlas->add_option("overrides", atlas_arguments.overrides, "mixer_options.KEY=VALUE");

  auto* doctor = app.add_subcommand("doctor", "what this machine is, and what is wrong");
  auto* schema = app.add_subcommand("schema", "JSON Schema of config files, for editors");

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
    return lra::exit_ok;
  } catch (const CLI::CallForVersion&) {
    fmt::print("{}\n", lra::version_line("lra-run"));
    return lra::exit_ok;
  } catch (const CLI::ParseError& error) {
    throw lra::Error(error.what(), "lra-run --help shows the commands");
  }
  // Runs save what they have when they are stopped; all else may end at once.
  if (app.get_subcommands().empty() || bench->parsed()) {
    lra::install_stop_signals(run_arguments.suite_process == 0);
  } else {
    lra::release_stop_signals();
  }
  if (list->parsed()) return lra::list_command(kind);
  prepare_options.data_dir = show_arguments.data_dir;
  if (prepare->parsed()) return lra::prepare_command(show_arguments.task, prepare_options);
  if (verify->parsed()) return lra::verify_command(show_arguments.task, show_arguments.data_dir);
  if (data_status->parsed()) return lra::data_status_command(show_arguments.data_dir);
  if (show->parsed()) return lra::show_command(show_arguments);
  if (bench->parsed()) return lra::bench_command(bench_arguments);
  if (eval->parsed()) return lra::within_memory([&] { return lra::eval_command(eval_arguments); });
  if (atlas->parsed()) return lra::within_memory([&] { return lra::atlas_command(atlas_arguments); });
  if (doctor->parsed()) return lra::doctor_command();
  if (schema->parsed()) return lra::schema_command();
  if (run_arguments.config.empty() && !run_arguments.overrides.empty()) {
    throw lra::Error(fmt::format("unknown command '{}'", run_arguments.overrides[0]),
                     lra::suggestion(run_arguments.overrides[0],
                                     {"ls", "data", "bench", "eval", "atlas", "doctor", "schema", "--config FILE"}));
  }
  if (run_arguments.config.empty())
    throw lra::Error("nothing to do: expected --config FILE or a command", "lra-run --help shows the commands");
  return lra::within_memory([&] { return lra::run_command(run_arguments); });
}

// LibTorch takes some tenths of a second to load; a stop signal that comes then is not lost on a run.
void hold_stop_signals(int, char**, char**) { lra::hold_stop_signals(); }
__attribute__((section(".preinit_array"), used)) void (*const before_libraries)(int, char**,
                                                                                char**) = hold_stop_signals;

}  // namespace

int main(int argc, char** argv) { return lra::run_program("lra-run", argc, argv, run); }
