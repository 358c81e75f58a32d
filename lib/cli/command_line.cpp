#include "cli/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "cli/arguments.h"
#include "cli/atlas.h"
#include "cli/commands.h"
#include "cli/resolve.h"
#include "core/error.h"
#include "core/program.h"
#include "core/suggest.h"
#include "train/run_status.h"
#include "train/stop_signals.h"

namespace lra {
namespace {

constexpr const char* examples =
    R"(lra-run trains, scores and measures token mixers on the Long Range Arena. Five examples:

  lra-run ls mixers                                       the mixers: attention, and what may replace it
  lra-run data prepare listops                            make the data of a task
  lra-run train --task listops --mixer linear             train one model and score it
  lra-run suite lecture --jobs 2                          train and measure many mixers, two at a time
  lra-run bench --mixers softmax,linear --lengths 1024    measure speed and memory

lra-run --help lists all commands; lra-run COMMAND --help says what one of them takes.
)";

constexpr const char* key_help =
    "settings, as KEY=VALUE or --KEY VALUE: seed=3, --learning-rate 1e-3, mixer_options.k=64; `lra-run schema` lists "
    "them";

constexpr const char* footer =
    R"(Every setting can be given as KEY=VALUE or as --KEY VALUE; a dot leads to a key inside: mixer_options.k=64.
--json, where a command has it, prints what it found as JSON on standard output. Messages go to standard error.

Exit codes: 0 all is well; 1 a fault of the program; 2 a mistake in the call or a file (one line `error: ...`); 3 a run ended with another
status than ok; 130 stopped by a signal (INT, TERM, HUP, USR1, USR2, XCPU): a run saves what it has, and the same command goes on from there.
QUIT (Ctrl-\) ends a run at once, without saving.)";

/// What the command line asks for.
struct Chosen {
  std::function<int()> work;
  bool saves_on_stop = false;  ///< stop signals let it save what it has; otherwise they end it at once
};

void add_settings(CLI::App& command, std::vector<std::string>& overrides, const char* text = key_help) {
  command.add_option("settings", overrides, text);
}

void add_run_options(CLI::App& command, RunArguments& arguments) {
  command.add_option("--out", arguments.out, "folder of the records")->capture_default_str();
  command.add_flag("--dry-run", arguments.dry_run, "print the settings and what the run will cost, and end");
  add_settings(command, arguments.overrides);
}

void add_jobs(CLI::App& command, RunArguments& arguments) {
  command
      .add_option("--jobs", arguments.jobs,
                  "trainings side by side, each with its share of the threads; benches run alone. Default: small ones "
                  "side by side")
      ->check(CLI::Range(1, 1024));
}

void add_train(CLI::App& app, Chosen& chosen) {
  const auto arguments = std::make_shared<RunArguments>();
  CLI::App* const command = app.add_subcommand("train", "train one model and score it: --task NAME --mixer NAME");
  add_run_options(*command, *arguments);
  command->callback([&chosen, arguments] {
    chosen = {[arguments] { return within_memory([&] { return train_command(*arguments); }); }, true};
  });
}

void add_suite(CLI::App& app, Chosen& chosen) {
  const auto arguments = std::make_shared<RunArguments>();
  arguments->out.clear();
  CLI::App* const command =
      app.add_subcommand("suite", "train and measure all runs of a suite; again: go on where it stopped");
  command->add_option("name", arguments->config, "a name that `lra-run ls suites` lists, or a file")->required();
  add_jobs(*command, *arguments);
  add_run_options(*command, *arguments);
  command->get_option("--out")->description("folder of the records; default: runs/NAME");
  command->callback([&chosen, arguments] {
    chosen = {[arguments] { return within_memory([&] { return suite_command(*arguments); }); }, true};
  });
}

/// `lra-run --config FILE`.
void add_config(CLI::App& app, RunArguments& arguments) {
  app.add_option(
      "--config", arguments.config,
      "a run, a suite (file, or a name that `lra-run ls suites` lists), or the result.json of a run to repeat");
  app.add_option("--folder", arguments.folder)->group("");  // a suite's child
  app.add_option("--suite-process", arguments.suite_process)->group("");
  app.add_option("--progress", arguments.progress)->group("");
  add_jobs(app, arguments);
  add_run_options(app, arguments);
}

void add_bench(CLI::App& app, Chosen& chosen) {
  const auto arguments = std::make_shared<BenchArguments>();
  CLI::App* const command =
      app.add_subcommand("bench", "measure the speed and memory of mixers at several lengths and batch sizes");
  command->add_option("--mixers", arguments->mixers, "default: all")->delimiter(',')->allow_extra_args(false);
  command->add_option("--lengths", arguments->lengths, "default: 1024,2048,3072,4096")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(integer_problem);
  command->add_option("--batch", arguments->batch_sizes, "default: 1 on a CPU, 32 on a GPU")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(integer_problem);
  command->add_option("--task", arguments->task, "bytes (random sequences), or a task whose own examples are timed")
      ->capture_default_str();
  command->add_option("--profile", arguments->profile, "sizes of the model")->capture_default_str();
  command->add_option("--protocol", arguments->protocol, "paper: LRA's Text model, batch 32")
      ->check(CLI::IsMember({"paper"}));
  command->add_option("--out", arguments->out, "folder of the records")->capture_default_str();
  command
      ->add_option("--memory-limit-gb", arguments->memory_limit_gb,
                   "GB that tensors may take; default: three quarters of the machine's")
      ->check(not_negative_number_problem);
  command->add_option("--time-limit-minutes", arguments->time_limit_minutes, "for each measurement")
      ->check(not_negative_number_problem)
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "print the records as JSON instead of a table");
  add_settings(*command, arguments->overrides);
  command->callback([&chosen, arguments] { chosen = {[arguments] { return bench_command(*arguments); }, true}; });
}

void add_eval(CLI::App& app, Chosen& chosen) {
  const auto arguments = std::make_shared<EvalArguments>();
  CLI::App* const command =
      app.add_subcommand("eval", "score the test split, or a file, with trained weights; prints JSON");
  command->add_option("--checkpoint", arguments->checkpoint, "folder of a run, where its result.json lies")->required();
  command->add_option("--data", arguments->data, "a file in the task's format; default: the test split");
  command->add_option("--predictions", arguments->predictions,
                      "write a JSON line with the logits of each example to this file");
  add_settings(*command, arguments->overrides, "settings, as KEY=VALUE or --KEY VALUE, for example device=cuda");
  command->callback([&chosen, arguments] {
    chosen.work = [arguments] { return within_memory([&] { return eval_command(*arguments); }); };
  });
}

void add_atlas(CLI::App& app, Chosen& chosen) {
  const auto arguments = std::make_shared<AtlasArguments>();
  CLI::App* const command = app.add_subcommand(
      "atlas", "draw which token reads which: each mixer's matrix, its reach by layers, its cost by length");
  command->add_option("--mixer,--mixers", arguments->mixers, "default: all")->allow_extra_args(false)->delimiter(',');
  command->add_option("--n", arguments->n, "tokens, 2 to 512")->check(integer_problem)->capture_default_str();
  command->add_option("--seed", arguments->seed, "of weights, random patterns and input")
      ->check(integer_problem)
      ->capture_default_str();
  command->add_option("--input", arguments->input, "JSON: n rows of 64 numbers; default: normal numbers");
  command->add_option("--out", arguments->out, "folder of the drawings")->capture_default_str();
  add_settings(*command, arguments->overrides, "options of the mixers: mixer_options.NAME=VALUE");
  command->callback([&chosen, arguments] {
    chosen.work = [arguments] { return within_memory([&] { return atlas_command(*arguments); }); };
  });
}

void add_list(CLI::App& app, Chosen& chosen) {
  const auto arguments = std::make_shared<ListArguments>();
  CLI::App* const command = app.add_subcommand(
      "ls", "list tasks, mixers, profiles or suites; with a name: its options, their defaults and meaning");
  command->add_option("kind", arguments->kind, "tasks, mixers, profiles or suites")
      ->required()
      ->check(CLI::IsMember({"tasks", "mixers", "profiles", "suites"}));
  command->add_option("name", arguments->name, "one of them");
  command->add_flag("--json", arguments->json, "print JSON");
  command->callback([&chosen, arguments] { chosen.work = [arguments] { return list_command(*arguments); }; });
}

/// The options of a task's generator: what it does not know of these it refuses.
void add_generator(CLI::App& prepare, PrepareOptions& options) {
  const std::pair<const char*, const char*> numbers[] = {
      {"seed", "of the generator, or of Pathfinder's random split"},
      {"train", "training examples"},
      {"valid", "validation examples"},
      {"test", "test examples"},
      {"min_length", "ListOps: expressions are longer than this"},
      {"max_length", "ListOps: expressions are shorter than this"},
      {"max_depth", "ListOps: how deep operators are nested"},
      {"max_args", "ListOps: most arguments of an operator"},
      {"contour_length", "Pathfinder: dashes of a long curve (6 easy, 9 intermediate, 14 hard)"}};
  for (const auto& [key, text] : numbers) {
    std::string option = std::string("--") + key;
    std::replace(option.begin(), option.end(), '_', '-');
    const auto set = [&options, key](std::int64_t value) { options.generator[key] = value; };
    prepare.add_option_function<std::int64_t>(option, set, text)->check(integer_problem);
  }
}

void add_data(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<PrepareArguments>();
  const auto shown = std::make_shared<ShowArguments>();
  CLI::App* const data = app.add_subcommand("data", "make, check or show the data of tasks");
  data->require_subcommand(1);
  CLI::App* const prepare =
      data->add_subcommand("prepare", "generate the data of a task, or convert its official files (--from)");
  CLI::App* const verify =
      data->add_subcommand("verify", "check the files against their checksums and the examples against each other");
  CLI::App* const status =
      data->add_subcommand("status", "which tasks have their data, and how to get those of the others");
  CLI::App* const show = data->add_subcommand("show", "show an example as a person would read it");
  for (CLI::App* command : {prepare, verify, show})
    command->add_option("task", shown->task, "`lra-run ls tasks` lists them")->required();
  for (CLI::App* command : {prepare, verify, status, show}) {
    command
        ->add_option("--data-dir", shown->data_dir,
                     "folder of the data; the environment's LRA_DATA changes the default")
        ->capture_default_str();
  }
  prepare->add_option("--from", options->prepare.from,
                      "folder or archive with the official files; without it the data are generated");
  prepare->add_option("--threads", options->prepare.threads, "0: all cores; the data do not depend on it")
      ->check(integer_problem)
      ->capture_default_str();
  prepare->add_flag("--json", options->json, "print the whole manifest");
  add_generator(*prepare, options->prepare);
  show->add_option("index", shown->index, "number of the example, from 0")->check(integer_problem)->required();
  show->add_option("--split", shown->split, "train, valid or test")
      ->check(CLI::IsMember({"train", "valid", "test"}))
      ->capture_default_str();
  show->add_option("--png", shown->png, "write the picture to this file");
  const auto json = std::make_shared<bool>(false);
  for (CLI::App* command : {verify, status}) command->add_flag("--json", *json, "print JSON");
  prepare->callback([&chosen, options, shown] {
    options->task = shown->task;
    options->prepare.data_dir = shown->data_dir;
    chosen.work = [options] { return prepare_command(*options); };
  });
  verify->callback([&chosen, shown, json] {
    chosen.work = [shown, json] { return verify_command(shown->task, shown->data_dir, *json); };
  });
  status->callback(
      [&chosen, shown, json] { chosen.work = [shown, json] { return data_status_command(shown->data_dir, *json); }; });
  show->callback([&chosen, shown] { chosen.work = [shown] { return show_command(*shown); }; });
}

/// The command that the arguments name, or the program itself.
const CLI::App& named_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* found = &app;
  for (const auto& argument : arguments) {
    const auto commands =
        found->get_subcommands([&](const CLI::App* command) { return command->get_name() == argument; });
    if (commands.empty()) break;
    found = commands.front();
  }
  return *found;
}

std::vector<std::string> understood(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App& command = named_command(app, arguments);
  if (command.get_option_no_throw("settings") == nullptr) return arguments;
  Grammar grammar{.options = {"--help"},
                  .list_options = {"--mixers", "--mixer", "--lengths", "--batch"},
                  .keys = {},
                  .list_keys = {"tasks", "mixers", "seeds", "bench.lengths", "bench.batch_sizes"}};
  if (&command == &app) grammar.options.emplace_back("--version");
  for (const CLI::Option* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) grammar.options.push_back("--" + name);
  }
  const Json properties = config_schema()["properties"];
  for (const auto& [key, schema] : properties.items()) grammar.keys.push_back(key);
  return plain_arguments(arguments, grammar);
}

}  // namespace

int run_command_line(int argc, char** argv, const std::string& version) {
  CLI::App app{
      "Trains, scores and measures Transformer encoders with different token mixers (attention, and what may replace "
      "it) on the Long Range Arena."};
  app.footer(footer);
  app.set_version_flag("--version", version);
  Chosen chosen;
  RunArguments root;
  add_train(app, chosen);
  add_suite(app, chosen);
  add_bench(app, chosen);
  add_eval(app, chosen);
  add_atlas(app, chosen);
  add_list(app, chosen);
  add_data(app, chosen);
  app.add_subcommand("doctor", "what this machine is, and what is wrong with it")->callback([&] {
    chosen.work = doctor_command;
  });
  app.add_subcommand("schema", "JSON Schema of config files, for editors; it lists all settings")->callback([&] {
    chosen.work = schema_command;
  });
  add_config(app, root);

  const std::vector<std::string> given(argv + 1, argv + argc);
  if (given.empty()) {
    fmt::print("{}", examples);
    return exit_ok;
  }
  try {
    auto arguments = understood(app, given);
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
    return exit_ok;
  } catch (const CLI::CallForVersion&) {
    fmt::print("{}\n", version);
    return exit_ok;
  } catch (const CLI::ParseError& error) {
    throw Error(error.what(), "lra-run --help shows the commands");
  }
  if (!chosen.work) {
    if (root.config.empty() && !root.overrides.empty()) {
      std::vector<std::string> commands{"--config FILE"};
      for (const CLI::App* command : app.get_subcommands({})) commands.push_back(command->get_name());
      throw Error(fmt::format("unknown command '{}'", root.overrides[0]), suggestion(root.overrides[0], commands));
    }
    if (root.config.empty())
      throw Error("nothing to do: expected a command or --config FILE", "lra-run --help shows the commands");
    chosen = {[&root] { return within_memory([&] { return run_command(root); }); }, true};
  }
  // Runs save what they have when they are stopped; all else may end at once.
  if (chosen.saves_on_stop) {
    install_stop_signals(root.suite_process == 0);
  } else {
    release_stop_signals();
  }
  return chosen.work();
}

}  // namespace lra
