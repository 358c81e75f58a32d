#include "train/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "train/device.h"
#include "train/safetensors.h"

namespace lra {
namespace {

constexpr const char* checkpoint_name = "checkpoint.safetensors";

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
  json.at("step").get_to(state.step);
  json.at("evaluated_step").get_to(state.evaluated_step);
  json.at("metrics_lines").get_to(state.metrics_lines);
  json.at("peak_tensor_bytes").get_to(state.peak_tensor_bytes);
  json.at("window_examples").get_to(state.window_examples);
  json.at("window_correct").get_to(state.window_correct);
  json.at("window_loss_sum").get_to(state.window_loss_sum);
  json.at("window_peak_tensor_bytes").get_to(state.window_peak_tensor_bytes);
  json.at("train_accuracy").get_to(state.train_accuracy);
  json.at("valid_accuracy").get_to(state.valid_accuracy);
  json.at("best_valid_accuracy").get_to(state.best_valid_accuracy);
  json.at("best_step").get_to(state.best_step);
  return state;
}

Json config_in(const std::map<std::string, std::string>& metadata, const std::filesystem::path& file) {
  const auto found = metadata.find("config");
  if (found == metadata.end()) throw Error(fmt::format("{}: has no configuration in it, so it was not written by lra-run", file.string()));
  return parse_json(found->second, file.string());
}

void check_config(const Json& saved, const Json& wanted, const std::filesystem::path& file) {
  std::set<std::string> keys;
  for (const auto* json : {&saved, &wanted}) {
    for (const auto& [key, value] : json->items()) keys.insert(key);
  }
  for (const auto& key : keys) {
    const Json before = saved.value(key, Json()), now = wanted.value(key, Json());
    if (before != now && keys_without_effect().count(key) == 0) {
      throw Error(fmt::format("{}: comes from a run with {} = {}, this one has {}", file.string(), key, before.dump(), now.dump()),
                  "choose another --out, or delete that folder to start anew");
    }
  }
}

}  // namespace

void save_checkpoint(const std::filesystem::path& folder, const RunConfig& config, const Classifier& model, const AdamW& optimizer,
                     const TrainState& state) {
  SafeTensors content;
  const auto put = [&](const std::string& name, const at::Tensor& tensor) { content.tensors.emplace(name, tensor); };
  for_each_model_tensor(model, put);
  for_each_optimizer_tensor(model, optimizer, put);
  for (const auto& [name, generator] : generators(device_of(model))) put(name, generator.get_state());
  content.metadata = {{"config", config.to_json().dump()}, {"state", to_json(state).dump()}};
  write_safetensors(folder / checkpoint_name, content);
}

std::optional<TrainState> load_checkpoint(const std::filesystem::path& folder, const RunConfig& config, Classifier& model, AdamW& optimizer) {
  const std::filesystem::path file = folder / checkpoint_name;
  if (!std::filesystem::exists(file)) return {};
  const SafeTensors content = read_safetensors(file);
  check_config(config_in(content.metadata, file), config.to_json(), file);
  TrainState state;
  try {
    state = state_from_json(parse_json(content.metadata.at("state"), file.string()));
  } catch (const std::exception&) {
    throw Error(fmt::format("{}: is not the checkpoint of a training run: its state is missing or incomplete", file.string()));
  }
  const at::NoGradGuard no_grad;
  const auto get = [&](const std::string& name, const at::Tensor& tensor) { at::Tensor(tensor).copy_(content.at(name, tensor, file)); };
  for_each_model_tensor(model, get);
  for_each_optimizer_tensor(model, optimizer, get);
  for (auto& [name, generator] : generators(device_of(model))) {
    at::Generator(generator).set_state(content.at(name, generator.get_state(), file));
  }
  return state;
}

void save_model(const std::filesystem::path& file, const RunConfig& config, const Classifier& model, std::int64_t step) {
  SafeTensors content;
  for_each_model_tensor(model, [&](const std::string& name, const at::Tensor& tensor) { content.tensors.emplace(name, tensor); });
  content.metadata = {{"config", config.to_json().dump()}, {"step", std::to_string(step)}};
  write_safetensors(file, content);
}

void load_model(const std::filesystem::path& file, Classifier& model) {
  const SafeTensors content = read_safetensors(file);
  const at::NoGradGuard no_grad;
  for_each_model_tensor(model, [&](const std::string& name, const at::Tensor& tensor) { at::Tensor(tensor).copy_(content.at(name, tensor, file)); });
}

Json read_model_config(const std::filesystem::path& file) { return config_in(read_safetensors_metadata(file), file); }

}  // namespace lra
