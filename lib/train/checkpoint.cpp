#include "train/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <set>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "train/device.h"
#include "train/safetensors.h"
#include "train/same_run.h"

namespace lra {
namespace {

constexpr const char* checkpoint_name = "checkpoint.safetensors";
constexpr const char* resume_name = "resume.json";
constexpr const char* start_anew = "choose another --out, or delete that folder to start anew";

/// Calls visit(name, tensor) for everything that a model file holds.
template <class Visit>
void for_each_model_tensor(const torch::nn::Module& model, Visit visit) {
  for (const auto& item : model.named_parameters()) visit(item.key(), item.value());
  for (const auto& item : model.named_buffers()) visit(item.key(), item.value());
}

/// The same for the optimiser's state.
template <class Visit>
void for_each_optimizer_tensor(const torch::nn::Module& model, const AdamW& optimizer, Visit visit) {
  const auto parameters = model.named_parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    visit("optimizer/exp_avg/" + parameters[i].key(), optimizer.exp_avg()[i]);
    visit("optimizer/exp_avg_sq/" + parameters[i].key(), optimizer.exp_avg_sq()[i]);
  }
  visit("optimizer/step", optimizer.step_count());
}

at::Device device_of(const torch::nn::Module& model) { return model.parameters().front().device(); }

/// Generators that a run draws from: the CPU's, and the device's where it is another.
std::map<std::string, at::Generator> generators(at::Device device) {
  std::map<std::string, at::Generator> result{{"generator/cpu", default_generator(at::kCPU)}};
  if (!device.is_cpu()) result.emplace("generator/device", default_generator(device));
  return result;
}

Json to_json(const TrainState& state) {
  return {{"step", state.step},
          {"evaluated_step", state.evaluated_step},
          {"metrics_lines", state.metrics_lines},
          {"peak_tensor_bytes", state.peak_tensor_bytes},
          {"window_examples", state.window_examples},
          {"window_correct", state.window_correct},
          {"window_loss_sum", state.window_loss_sum},
          {"window_peak_tensor_bytes", state.window_peak_tensor_bytes},
          {"train_accuracy", state.train_accuracy},
          {"valid_accuracy", state.valid_accuracy},
          {"best_valid_accuracy", state.best_valid_accuracy},
          {"best_step", state.best_step}};
}

TrainState state_from_json(const Json& json) {
  TrainState state;
  const auto whole = [&](const char* key, std::int64_t& value) {
    if (!json.at(key).is_number_integer()) throw Error(fmt::format("{} is no whole number", key));
    json.at(key).get_to(value);
  };
  whole("step", state.step);
  whole("evaluated_step", state.evaluated_step);
  whole("metrics_lines", state.metrics_lines);
  whole("peak_tensor_bytes", state.peak_tensor_bytes);
  whole("window_examples", state.window_examples);
  whole("window_correct", state.window_correct);
  json.at("window_loss_sum").get_to(state.window_loss_sum);
  whole("window_peak_tensor_bytes", state.window_peak_tensor_bytes);
  json.at("train_accuracy").get_to(state.train_accuracy);
  json.at("valid_accuracy").get_to(state.valid_accuracy);
  json.at("best_valid_accuracy").get_to(state.best_valid_accuracy);
  whole("best_step", state.best_step);
  return state;
}

/// Throws Error for a state that no run of this configuration comes to.
void check_state(const TrainState& state, const TrainConfig& train, const std::filesystem::path& file) {
  struct Bounds {
    const char* name;
    std::int64_t value, low, high;
  };
  const std::int64_t since = state.step - state.evaluated_step;
  for (const auto& [name, value, low, high] : {Bounds{"step", state.step, 0, train.train_steps},
                                               {"evaluated_step", state.evaluated_step, 0, state.step},
                                               {"best_step", state.best_step, 0, state.evaluated_step},
                                               {"metrics_lines", state.metrics_lines, 0, 2 * state.evaluated_step},
                                               {"window_examples", state.window_examples, 0, since * train.batch_size},
                                               {"window_correct", state.window_correct, 0, state.window_examples}}) {
    if (value >= low && value <= high) continue;
    throw Error(fmt::format("{}: its {} is {}, expected {} to {}", file.string(), name, value, low, high), start_anew);
  }
  for (const double accuracy : {state.train_accuracy, state.valid_accuracy, state.best_valid_accuracy}) {
    if (accuracy == -1 || (accuracy >= 0 && accuracy <= 1)) continue;
    throw Error(fmt::format("{}: it has an accuracy of {}, expected 0 to 1", file.string(), accuracy), start_anew);
  }
}

using Metadata = std::map<std::string, std::string>;

Json config_in(const Metadata& metadata, const std::filesystem::path& file) {
  const auto found = metadata.find("config");
  if (found == metadata.end())
    throw Error(fmt::format("{}: has no configuration in it, so it was not written by lra-run", file.string()));
  Json config = parse_json(found->second, file.string());
  if (!config.is_object()) throw Error(fmt::format("{}: its configuration is not a JSON object", file.string()));
  return config;
}

/// Empty in files of older versions.
Json hashes_in(const Metadata& metadata, const std::filesystem::path& file) {
  const auto found = metadata.find("data");
  const Json hashes = found == metadata.end() ? Json::object() : parse_json(found->second, file.string());
  if (!hashes.is_object()) throw Error(fmt::format("{}: its hashes of the data are not a JSON object", file.string()));
  return hashes;
}

/// Throws Error if a run with this configuration on these data is not the one that the checkpoint comes from.
void check_run(const Metadata& metadata, const RunConfig& config, const Json& hashes,
               const std::filesystem::path& file) {
  if (const auto found = config_difference(config_in(metadata, file), config)) {
    const auto& [key, before, now, reason] = *found;
    throw Error(
        fmt::format("{}: comes from a run with {} = {}, this one has {}{}", file.string(), key, before, now, reason),
        start_anew);
  }
  if (const std::string found = data_difference(hashes_in(metadata, file), hashes); !found.empty()) {
    throw Error(fmt::format("{}: comes from a run on other data than those in {}: {}", file.string(),
                            config.task.data_dir, found),
                "put back the data, choose another --out, or delete that folder to start anew");
  }
}

/// Throws Error if the file lacks one of `expected`, has it in another shape or type, or has more than them.
void check_tensors(const SafeTensors& header, const std::map<std::string, at::Tensor>& expected,
                   const std::filesystem::path& file) {
  for (const auto& [name, tensor] : expected) header.at(name, tensor, file);
  for (const auto& [name, tensor] : header.tensors) {
    if (expected.count(name) > 0) continue;
    throw Error(fmt::format("{}: has the tensor '{}', which this model does not have", file.string(), printable(name)),
                "its weights were trained with another configuration, another mixer for example");
  }
}

std::map<std::string, at::Tensor> model_tensors(const Classifier& model) {
  std::map<std::string, at::Tensor> tensors;
  for_each_model_tensor(model,
                        [&](const std::string& name, const at::Tensor& tensor) { tensors.emplace(name, tensor); });
  return tensors;
}

/// The model's, the optimiser's and the generators' states.
std::map<std::string, at::Tensor> checkpoint_tensors(const Classifier& model, const AdamW& optimizer) {
  auto tensors = model_tensors(model);
  for_each_optimizer_tensor(model, optimizer,
                            [&](const std::string& name, const at::Tensor& tensor) { tensors.emplace(name, tensor); });
  for (const auto& [name, generator] : generators(device_of(model))) tensors.emplace(name, generator.get_state());
  return tensors;
}

void warn_of_unchecked(const SafeTensors& content, const std::filesystem::path& file) {
  if (!content.checked)
    log().warn("{}: has no checksum, as an older version wrote it: damage would go unseen", file.string());
}

bool only_in_checkpoints(const std::string& name) {
  return name.starts_with("optimizer/") || name.starts_with("generator/");
}

}  // namespace

void save_checkpoint(const std::filesystem::path& folder, const RunConfig& config, const Json& hashes,
                     const Classifier& model, const AdamW& optimizer, const TrainState& state) {
  SafeTensors content;
  content.tensors = checkpoint_tensors(model, optimizer);
  content.metadata = {{"config", config.to_json().dump()}, {"state", to_json(state).dump()}, {"data", hashes.dump()}};
  write_safetensors(folder / checkpoint_name, content);
}

std::optional<Resumed> load_checkpoint(const std::filesystem::path& folder, const RunConfig& config, const Json& hashes,
                                       Classifier& model, AdamW& optimizer) {
  const std::filesystem::path file = folder / checkpoint_name;
  if (!std::filesystem::exists(file)) return {};
  Resumed resumed;
  const auto expected = checkpoint_tensors(model, optimizer);
  const SafeTensors content = read_safetensors(file, [&](const SafeTensors& header) {
    check_run(header.metadata, config, hashes, file);
    try {
      resumed.state = state_from_json(parse_json(header.metadata.at("state"), file.string()));
    } catch (const std::exception&) {
      throw Error(fmt::format("{}: is not the checkpoint of a training run: its state is missing or incomplete",
                              file.string()));
    }
    check_state(resumed.state, config.train, file);
    check_tensors(header, expected, file);
  });
  const at::Tensor& updates = content.tensors.at("optimizer/step");
  if (updates.item<double>() != static_cast<double>(resumed.state.step)) {
    throw Error(fmt::format("{}: its step is {}, but its optimiser has made {} updates", file.string(),
                            resumed.state.step, updates.item<double>()),
                start_anew);
  }
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : expected) {
    if (!name.starts_with("generator/")) at::Tensor(tensor).copy_(content.tensors.at(name));
  }
  for (auto& [name, generator] : generators(device_of(model)))
    at::Generator(generator).set_state(content.tensors.at(name));

  warn_of_unchecked(content, file);
  const Json saved = config_in(content.metadata, file), threads = saved.value("threads", Json(config.train.threads));
  if (canonical(threads) != canonical(Json(config.train.threads))) {
    resumed.notes.push_back(
        fmt::format("threads was {} before step {}: a run with one number of threads may differ in the last bits",
                    threads.dump(), resumed.state.step));
  }
  if (hashes_in(content.metadata, file).empty() && !hashes.empty()) {
    resumed.notes.push_back(
        fmt::format("the checkpoint of step {} does not say which data it was trained on", resumed.state.step));
  }
  return resumed;
}

void save_model(const std::filesystem::path& file, const RunConfig& config, const Json& hashes, const Classifier& model,
                std::int64_t step) {
  SafeTensors content;
  content.tensors = model_tensors(model);
  content.metadata = {{"config", config.to_json().dump()}, {"step", std::to_string(step)}, {"data", hashes.dump()}};
  write_safetensors(file, content);
}

void load_model(const std::filesystem::path& file, Classifier& model) {
  const auto expected = model_tensors(model);
  const SafeTensors content = read_safetensors(file, [&](SafeTensors header) {
    if (header.metadata.count("state") > 0)
      std::erase_if(header.tensors, [](const auto& entry) { return only_in_checkpoints(entry.first); });
    check_tensors(header, expected, file);
  });
  warn_of_unchecked(content, file);
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : expected) at::Tensor(tensor).copy_(content.tensors.at(name));
}

ModelFacts read_model_facts(const std::filesystem::path& file) {
  const Metadata metadata = read_safetensors_metadata(file);
  ModelFacts facts{config_in(metadata, file), hashes_in(metadata, file), {}};
  if (const auto found = metadata.find("step"); found != metadata.end()) {
    const Json step = parse_json(found->second, file.string());
    if (step.is_number_integer()) facts.step = step.get<std::int64_t>();
  }
  return facts;
}

void write_resume_facts(const std::filesystem::path& folder, const ResumeFacts& facts) {
  write_json(
      folder / resume_name,
      {{"seconds", facts.seconds}, {"metrics_lines", facts.metrics_lines}, {"metrics_sha256", facts.metrics_sha256}});
}

std::optional<ResumeFacts> read_resume_facts(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / resume_name;
  if (!std::filesystem::exists(file)) return {};
  const Json json = read_json(file);
  const auto number = [&](const char* key) {
    return json.contains(key) && json[key].is_number() && json[key].get<double>() >= 0;
  };
  if (!number("seconds") || !number("metrics_lines") || !json["metrics_lines"].is_number_integer() ||
      !json.contains("metrics_sha256") || !json["metrics_sha256"].is_string()) {
    throw Error(fmt::format("{}: expected seconds, metrics_lines and metrics_sha256", file.string()), start_anew);
  }
  return ResumeFacts{json["seconds"], json["metrics_lines"], json["metrics_sha256"]};
}

}  // namespace lra
