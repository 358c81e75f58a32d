#include <fmt/format.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "cli/commands.h"
#include "core/config_files.h"
#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "data/manifest.h"
#include "data/png.h"
#include "data/task.h"

namespace lra {
namespace fs = std::filesystem;

namespace {

/// The task's own defaults, without a profile, for whole sequences.
TaskConfig whole_sequences(const std::string& task, const std::string& data_dir) {
  const Json defaults = named_config("tasks", task)["defaults"];
  LayeredJson layers;
  layers.merge({{"task", task}, {"vocab_size", defaults.at("vocab_size")}, {"num_classes", defaults.at("num_classes")}},
               "configs/tasks/" + task + ".json");
  ConfigReader reader(layers);
  TaskConfig config;
  config.describe(reader);
  config.task_options = task_registry().at(task).resolve(LayeredJson(), "");
  config.seq_len = largest_size;
  config.data_dir = data_dir;
  return config;
}

void warn_if_incomplete(const std::string& task, const Json& facts) {
  if (facts.contains("incomplete"))
    log().warn("{}: not the official task: {}", task, facts["incomplete"].get<std::string>());
}

/// "ready: 60/20/20 examples, ..." or what is missing.
std::string data_state(const std::string& task, const fs::path& folder) {
  const std::string how = task_registry().at(task).make()->how_to_prepare();
  const Json manifest = read_manifest(folder);
  if (manifest.is_null())
    return (fs::exists(folder) && !fs::is_empty(folder) ? "without a manifest: " : "not there: ") + how;
  std::string counts;
  for (const auto& [split, entry] : manifest.at("files").items()) {
    if (!size_agrees(folder, entry))
      return fmt::format("incomplete: {} is missing or has another size; prepare it again",
                         (folder / entry.at("file").get<std::string>()).string());
    counts += fmt::format("{}{} {}", counts.empty() ? "" : ", ", entry.at("examples").dump(), split);
  }
  const Json request = manifest.value("request", manifest);
  std::string origin = "from official files";
  if (request.contains("generator"))
    origin = fmt::format("generated, seed {}", request["generator"].value("seed", std::int64_t{0}));
  if (manifest.contains("stand_in_for"))
    origin += fmt::format(", a stand-in for {}", manifest["stand_in_for"].get<std::string>());
  std::string state = fmt::format("ready: {} ({})", counts, origin);
  if (const std::string incomplete = task_registry().at(task).make()->incomplete(manifest); !incomplete.empty())
    state += "; not the official task: " + incomplete;
  return state;
}

}  // namespace

ExitCode prepare_command(const std::string& task, const PrepareOptions& options) {
  const Json manifest = task_registry().at(task).make()->prepare(options);
  print_json(manifest);
  warn_if_incomplete(task, manifest);
  return exit_ok;
}

ExitCode verify_command(const std::string& task, const std::string& data_dir) {
  const Json summary = task_registry().at(task).make()->verify(data_dir);
  print_json(summary);
  warn_if_incomplete(task, summary);
  return exit_ok;
}

ExitCode data_status_command(const std::string& data_dir) {
  for (const auto& task : task_registry().names()) {
    if (task == "bytes") continue;  // made in memory
    std::string state;
    try {
      state = data_state(task, fs::path(data_dir) / task);
    } catch (const std::exception& error) {  // also a manifest with a value of the wrong kind
      state = error.what();
    }
    fmt::print("{:<22} {}\n", task, printable(state));
  }
  return exit_ok;
}

ExitCode show_command(const ShowArguments& arguments) {
  const auto task = task_registry().at(arguments.task).make();
  Split split = Split::test;
  for (const Split known : all_splits) {
    if (arguments.split == split_name(known)) split = known;
  }
  const auto data = task->open(split, whole_sequences(arguments.task, arguments.data_dir));
  if (arguments.index < 0 || static_cast<std::size_t>(arguments.index) >= data->size()) {
    throw Error(fmt::format("data show: expected an example from 0 to {} of the {} split, found {}", data->size() - 1,
                            arguments.split, arguments.index));
  }
  const Example example = data->get(static_cast<std::size_t>(arguments.index));
  if (arguments.png.empty()) {
    fmt::print("{}", task->show(example, isatty(STDOUT_FILENO) != 0));
    return exit_ok;
  }
  const auto side = static_cast<int>(task->picture_side());
  if (side == 0)
    throw Error(fmt::format("--png: the examples of the task '{}' are no pictures", arguments.task),
                "leave it out to read the example in the terminal");
  const std::vector<std::uint8_t> pixels(example.tokens.begin(), example.tokens.end());
  write_file_atomically(arguments.png, png_grey(pixels.data(), side, side));
  fmt::print("label {}: {}\n", example.label, printable(arguments.png));
  return exit_ok;
}

}  // namespace lra
