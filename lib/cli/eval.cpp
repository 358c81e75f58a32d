#include <fmt/format.h>

#include <vector>

#include "cli/commands.h"
#include "cli/estimate.h"
#include "cli/resolve.h"
#include "core/config_files.h"
#include "core/error.h"
#include "data/task.h"
#include "model/classifier.h"
#include "train/checkpoint.h"
#include "train/device.h"
#include "train/evaluator.h"
#include "train/run_status.h"
#include "train/same_run.h"
#include "train/threads.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

/// Throws Error if the test split is not the one that belongs to the training.
void check_test_split(const ModelFacts& facts, const TaskConfig& task, const fs::path& weights) {
  Json tested = Json::object();
  if (facts.hashes.contains("test")) tested["test"] = facts.hashes["test"];
  if (const std::string found = data_difference(tested, hashes_in_data_dir(task)); !found.empty()) {
    throw Error(
        fmt::format("{}: comes from a run on other data than those in {}: {}", weights.string(), task.data_dir, found),
        "put back the data, or name the file to score with --data FILE");
  }
}

}  // namespace

ExitCode eval_command(const EvalArguments& arguments) {
  const fs::path folder = arguments.checkpoint;
  const fs::path weights =
      fs::exists(folder / "model.safetensors") ? folder / "model.safetensors" : folder / "checkpoint.safetensors";
  if (!fs::exists(weights)) {
    throw Error(fmt::format("{}: neither model.safetensors nor checkpoint.safetensors is there", folder.string()),
                "give the folder of a run, where its result.json lies");
  }
  const ModelFacts facts = read_model_facts(weights);
  LayeredJson layers;
  layers.merge(facts.config, weights.string());
  if (const auto record = record_in(folder)) {
    if (const Json run = config_of_record(*record, folder); run.contains("data_dir"))
      layers.merge({{"data_dir", run["data_dir"]}}, (folder / "result.json").string());
  }
  layers.merge(parse_overrides(arguments.overrides), command_line_origin);
  const RunConfig config = resolve(layers);
  const at::Device device = select_device(config.train.device);

  const auto task = task_registry().at(config.task.task).make();
  if (arguments.data.empty()) check_test_split(facts, config.task, weights);
  const auto data =
      arguments.data.empty() ? task->open(Split::test, config.task) : task->open_file(arguments.data, config.task);
  const int chosen = chosen_threads(config, mean_sequence_length(*data, config.model));
  if (chosen > 1 && (arguments.data.empty() || fs::is_regular_file(arguments.data)))
    bound_spinning();  // starts the program again
  const int threads = set_threads(chosen);
  const double weight_bytes = 4.0 * static_cast<double>(estimate(config, {1, 1}).parameters);
  if (const auto limit = static_cast<double>(memory_limit_bytes(config.train)); weight_bytes > limit) {
    throw Error(fmt::format("the model needs {:.3g} GB for its weights, {:.3g} GB may be used", weight_bytes / 1e9,
                            limit / 1e9));
  }
  Classifier model(config.task, config.model, static_cast<std::uint64_t>(config.train.seed));
  load_model(weights, model);
  model.to(device);

  std::string predictions;
  if (!arguments.predictions.empty())
    check_writable(arguments.predictions);  // what cannot be written is said before the work
  EvaluateOptions options;
  options.batch_size = config.train.eval_batch_size > 0 ? config.train.eval_batch_size : config.train.batch_size;
  options.device = device;
  options.bf16 = config.train.precision == "bf16";
  if (!arguments.predictions.empty()) {
    options.on_example = [&](std::size_t index, std::int64_t label, std::int64_t prediction, const at::Tensor& logits) {
      const std::vector<float> values(logits.data_ptr<float>(), logits.data_ptr<float>() + logits.numel());
      predictions +=
          Json{{"index", index}, {"label", label}, {"prediction", prediction}, {"logits", values}}.dump() + "\n";
    };
  }
  const Evaluation result = evaluate(model, *data, options);
  if (!arguments.predictions.empty()) write_file_atomically(arguments.predictions, predictions);
  const Json summary = {{"weights", weights.string()},
                        {"examples", result.examples},
                        {"accuracy", result.accuracy()},
                        {"loss", result.loss()},
                        {"threads", threads}};
  print_json(summary);
  return exit_ok;
}

}  // namespace lra
