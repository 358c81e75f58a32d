#include "cli/estimate.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "cli/meta_device.h"
#include "core/error.h"
#include "data/task.h"
#include "model/classifier.h"
#include "train/device.h"
#include "train/run_status.h"
#include "train/threads.h"

namespace lra {
namespace {

/// FLOP/s of a matrix product of the size that these models have.
double matrix_rate() {
  static const double rate = [] {
    constexpr std::int64_t n = 384;
    const auto a = at::rand({n, n}), b = at::rand({n, n});
    at::mm(a, b);
    const auto start = std::chrono::steady_clock::now();
    int count = 0;
    double seconds = 0;
    for (; seconds < 0.05; ++count) {
      at::mm(a, b);
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    return 2.0 * n * n * n * count / seconds;
  }();
  return rate;
}

/// Bytes/s at which activations are written and read again; between fresh and reused memory.
constexpr double memory_rate = 8e9;

/// What a block's modules take beside their numbers, measured with d_model 1.
constexpr double bytes_per_layer = 24 << 10;

struct ModelSize {
  double parameters = 0, buffer_bytes = 0;
  ModelCost cost;
};

ModelSize size_of_built(const TaskConfig& task, const ModelConfig& config, std::int64_t length) {
  const MetaDevice no_memory;
  const Classifier model(task, config, 0);
  ModelSize size{.cost = model.cost(length)};
  for (const auto& parameter : model.parameters()) size.parameters += static_cast<double>(parameter.numel());
  for (const auto& buffer : model.buffers())
    size.buffer_bytes += static_cast<double>(buffer.numel()) * static_cast<double>(buffer.element_size());
  if (config.positions == "sinusoid")
    size.buffer_bytes += 4.0 * static_cast<double>(task.seq_len) * static_cast<double>(config.d_model);
  return size;
}

/// Layers repeat: one by one, or all parts of `mixed` in turn. Two small models say what one more of them costs.
ModelSize size_of(const TaskConfig& task, ModelConfig config, std::int64_t length) {
  const bool turns = config.mixer_options.is_object() && config.mixer_options.value("by", "") == "layers";
  const std::int64_t cycle = turns ? static_cast<std::int64_t>(config.mixer_options.at("parts").size()) : 1,
                     layers = config.num_layers;
  if (layers <= 4 * cycle) return size_of_built(task, config, length);
  config.num_layers = cycle + layers % cycle;
  const double repeats = static_cast<double>(layers - config.num_layers) / static_cast<double>(cycle);
  const ModelSize few = size_of_built(task, config, length);
  config.num_layers += cycle;
  ModelSize size = size_of_built(task, config, length);
  const auto extend = [&](double& with_one_more, double without) {
    with_one_more = without + repeats * (with_one_more - without);
  };
  extend(size.parameters, few.parameters);
  extend(size.buffer_bytes, few.buffer_bytes);
  extend(size.cost.flops, few.cost.flops);
  extend(size.cost.saved_values, few.cost.saved_values);
  extend(size.cost.mixer_values, few.cost.mixer_values);
  extend(size.cost.feed_forward_values, few.cost.feed_forward_values);
  return size;
}

std::int64_t whole_number(double value) {
  return value < 9e18 ? static_cast<std::int64_t>(value) : std::numeric_limits<std::int64_t>::max();
}

}  // namespace

Json Estimate::to_json() const {
  return {{"parameters", parameters},
          {"tokens_per_step", tokens_per_step},
          {"flops_per_step", flops_per_step},
          {"estimated_bytes", bytes},
          {"estimated_seconds_per_step", seconds_per_step}};
}

ExampleSizes example_sizes(const RunConfig& config) {
  try {
    const auto data = task_registry().at(config.task.task).make()->open(Split::train, config.task);
    return {mean_sequence_length(*data, config.model), static_cast<std::int64_t>(data->size())};
  } catch (const Error&) {
    return {static_cast<double>(config.task.seq_len), std::numeric_limits<std::int64_t>::max()};
  }
}

Estimate estimate(const RunConfig& config, const ExampleSizes& examples) {
  // The device of the configuration need not be here.
  const bool on_cpu = config.train.device == "cpu" || (config.train.device == "auto" && select_device("auto").is_cpu());
  const TrainConfig& train = config.train;
  ModelConfig computed = config.model;
  if (!on_cpu) computed.kernels = "reference";  // there are no others
  const auto length = static_cast<std::int64_t>(examples.mean_length + 0.5);
  const auto layers = static_cast<double>(config.model.num_layers);
  Estimate result;
  ModelSize model;
  try {
    model = size_of(config.task, computed, length);
    result.softmax_parameters = whole_number(model.parameters);
    if (config.model.mixer != "softmax") {
      ModelConfig full = computed;
      full.mixer = "softmax";
      full.mixer_options = mixer_registry().at("softmax").resolve(LayeredJson(), "");
      result.softmax_parameters = whole_number(size_of(config.task, full, length).parameters);
    }
  } catch (const c10::Error& error) {
    // Sizes of tensors are 64-bit numbers: so large a tensor cannot even be described.
    if (std::string(error.what_without_backtrace()).find("overflow") == std::string::npos) throw;
    model.parameters = std::numeric_limits<double>::infinity();
  }
  const double pair = config.model.pair_head == "none" ? 1 : 2,
               batch = static_cast<double>(std::min(train.batch_size, examples.count));
  const double at_once =
      train.micro_batch_size == 0 ? batch : std::min(batch, static_cast<double>(train.micro_batch_size));
  const double evaluated = static_cast<double>(
      std::min(train.eval_batch_size == 0 ? train.batch_size : train.eval_batch_size, examples.count));
  const double sequences = pair * batch;
  result.parameters = whole_number(model.parameters);
  result.tokens_per_step = sequences * examples.mean_length;
  result.flops_per_step = (config.model.checkpoint_layers ? 4 : 3) * sequences * model.cost.flops;
  // Weights and Adam's two moments, and gradients. These come one after another: only at the end, when little is kept
  // for them, are all of them there.
  const double state = 3 * model.parameters, gradients = at_once < batch ? model.parameters : 0;
  const double peak = state + gradients +
                      std::max(pair * at_once * model.cost.mixer_values,
                               pair * at_once * model.cost.feed_forward_values + model.cost.batch_values);
  const double last = state + model.parameters + pair * at_once * model.cost.last_values;
  result.bytes = 4 * std::max(peak, last) + model.buffer_bytes;
  const double evaluation =
      config.kind == "bench" ? 0 : 4 * (state + pair * evaluated * model.cost.forward_values) + model.buffer_bytes;
  // Examples of this step and the next, 32 bits a token.
  const double read = 2 * static_cast<double>(train.batch_size) * (64 + 4 * pair * examples.mean_length);
  result.process_bytes = std::max(result.bytes, evaluation) + read + layers * bytes_per_layer;
  result.seconds_per_step =
      result.flops_per_step / matrix_rate() + 3 * 4 * sequences * model.cost.saved_values / memory_rate;
  return result;
}

std::string too_large(const RunConfig& config, const Estimate& estimate) {
  if (!select_device(config.train.device).is_cpu()) return "";
  const double margin = config.train.precision == "bf16" ? 2.5 : 1.25;  // a mixer may keep all in half the bytes
  const double allowed = static_cast<double>(memory_limit_bytes(config.train));
  const bool asked = config.train.memory_limit_gb > 0 && allowed >= config.train.memory_limit_gb * 1e9 * 0.99;
  if (estimate.process_bytes <= margin * allowed) return "";
  const std::string needed = std::isfinite(estimate.process_bytes)
                                 ? fmt::format("an estimated {:.3g} GB of memory", estimate.process_bytes / 1e9)
                                 : "more memory than can be counted";
  return fmt::format(
      "not begun: it would take {}, and {} {:.3g} GB; make batch_size, seq_len, the model or the mixer's options "
      "smaller, or set "
      "micro_batch_size or checkpoint_layers",
      needed, asked ? "memory_limit_gb allows" : "this process may use", allowed / 1e9);
}

}  // namespace lra
