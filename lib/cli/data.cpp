#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>
#include <vector>

#include "cli/commands.h"
#include "core/config_files.h"
#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "core/thousands.h"
#include "data/manifest.h"
#include "data/png.h"
#include "data/task.h"
#include "train/progress.h"

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
    log().warn("{}: not the official data (lra-run data status says how they differ)", task);
}

/// "generated, seed 1", or where else the data come from.
std::string origin_of(const Json& manifest) {
  const Json request = manifest.value("request", manifest);
  std::string origin = "from official files";
  if (request.contains("generator"))
    origin = fmt::format("generated, seed {}", request["generator"].value("seed", std::int64_t{0}));
  if (manifest.contains("stand_in_for"))
    origin += fmt::format(", a stand-in for {}", manifest["stand_in_for"].get<std::string>());
  return origin;
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
  std::string state = fmt::format("ready: {} ({})", counts, origin_of(manifest));
  if (const std::string incomplete = task_registry().at(task).make()->incomplete(manifest); !incomplete.empty())
    state += "; not the official task: " + incomplete;
  return state;
}

}  // namespace

bool has_data(const std::string& task, const std::string& data_dir) {
  std::error_code code;
  const fs::path folder = fs::path(data_dir) / task;
  return task == "bytes" || (fs::exists(folder, code) && !fs::is_empty(folder, code));
}

void fail_without_data(const std::string& task, const std::string& data_dir, const std::string& command) {
  std::string how = command;
  if (how.empty()) {
    how = task_registry().at(task).make()->how_to_prepare();
    if (data_dir != default_data_dir()) how += fmt::format(", with --data-dir {}", shell_word(data_dir));
  }
  // A folder of data below this one, such as the quick start's.
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(data_dir, code)) {
    if (fs::exists(entry.path() / task / "manifest.json", code))
      how +=
          fmt::format("; or use those in {}: --data-dir {}", entry.path().string(), shell_word(entry.path().string()));
  }
  throw Error(fmt::format("{}: the data of the task {} are not there", (fs::path(data_dir) / task).string(), task),
              fmt::format("make them: {}", how));
}

namespace {

/// "24,000 train, 1,000 valid"
std::string counted(const Json& examples) {
  std::string text;
  for (const auto& [split, count] : examples.items()) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", with_commas(count.get<std::int64_t>()), printable(split));
  }
  return text;
}

/// "21 to 44 tokens each, 31 on average", of all splits.
std::string lengths_in(const std::string& task, const std::string& data_dir) {
  const TaskConfig config = whole_sequences(task, data_dir);
  std::int64_t shortest = largest_size, longest = 0;
  double sum = 0, count = 0;
  for (const Split split : all_splits) {
    const auto data = task_registry().at(task).make()->open(split, config);
    for (std::size_t i = 0; i < data->size(); ++i) {
      const auto length = static_cast<std::int64_t>(data->length(i));
      shortest = std::min(shortest, length);
      longest = std::max(longest, length);
      sum += static_cast<double>(length);
      ++count;
    }
  }
  const std::string range = shortest < longest
                                ? fmt::format("{} to {} tokens each, {:.0f} on average", shortest, longest, sum / count)
                                : fmt::format("{} tokens each", longest);
  return count == 0 ? "no examples" : range;
}

}  // namespace

ExitCode prepare_command(const PrepareArguments& arguments) {
  const std::string &task = arguments.task, &data_dir = arguments.prepare.data_dir;
  const auto start = std::chrono::steady_clock::now();
  const Json manifest = task_registry().at(task).make()->prepare(arguments.prepare);
  if (arguments.json) {
    print_json(manifest);
    warn_if_incomplete(task, manifest);
    return exit_ok;
  }
  Json examples = Json::object();
  std::int64_t bytes = 0;
  for (const auto& [split, entry] : manifest.at("files").items()) {
    examples[split] = entry.at("examples");
    bytes += entry.at("bytes").get<std::int64_t>();
  }
  const std::string folder = data_dir == default_data_dir() ? "" : fmt::format(" --data-dir {}", shell_word(data_dir));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{}: {}\n", task, printable(origin_of(manifest)));
  fmt::print("in {}, {:.3g} MB\n", printable((fs::path(data_dir) / task).string()), static_cast<double>(bytes) / 1e6);
  fmt::print("{} examples\n", counted(examples));
  fmt::print("{}; ready after {}\n", lengths_in(task, data_dir), duration(seconds));
  fmt::print("next: lra-run train --task {} --mixer linear{}\n", task, printable(folder));
  warn_if_incomplete(task, manifest);
  return exit_ok;
}

ExitCode verify_command(const std::string& task, const std::string& data_dir, bool json) {
  const Json summary = task_registry().at(task).make()->verify(data_dir);
  if (json) {
    print_json(summary);
  } else {
    fmt::print("{}: nothing is wrong: {} examples in {} (manifest: {})\n", task, counted(summary.at("examples")),
               printable(summary.at("folder").get<std::string>()),
               printable(summary.at("manifest").get<std::string>()));
  }
  warn_if_incomplete(task, summary);
  return exit_ok;
}

ExitCode data_status_command(const std::string& data_dir, bool json) {
  Json states = Json::array();
  for (const auto& task : task_registry().names()) {
    if (task == "bytes") continue;  // made in memory
    std::string state;
    try {
      state = data_state(task, fs::path(data_dir) / task);
    } catch (const std::exception& error) {  // also a manifest with a value of the wrong kind
      state = error.what();
    }
    if (json) {
      states.push_back({{"task", task},
                        {"folder", (fs::path(data_dir) / task).string()},
                        {"ready", state.starts_with("ready")},
                        {"state", state}});
    } else {
      fmt::print("{:<22} {}\n", task, printable(state));
    }
  }
  if (json) print_json(states);
  return exit_ok;
}

ExitCode show_command(const ShowArguments& arguments) {
  const auto task = task_registry().at(arguments.task).make();
  if (!has_data(arguments.task, arguments.data_dir)) fail_without_data(arguments.task, arguments.data_dir);
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
