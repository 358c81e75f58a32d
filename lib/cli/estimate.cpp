#include "cli/estimate.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "data/task.h"
#include "model/classifier.h"
#include "train/device.h"

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

}  // namespace

Json Estimate::to_json() const {
  return {{"parameters", parameters},
          {"tokens_per_step", tokens_per_step},
          {"flops_per_step", flops_per_step},
          {"estimated_bytes", bytes},
          {"estimated_seconds_per_step", seconds_per_step}};
}

double mean_example_length(const RunConfig& config) {
  try {
    const auto data = task_registry().at(config.task.task).make()->open(Split::train, config.task);
    double sum = 0;
    for (std::size_t i = 0; i < data->size(); ++i) sum += static_cast<double>(data->length(i));
    return sum / static_cast<double>(data->size() * (config.model.pair_head == "none" ? 1 : 2));
  } catch (const Error&) {
    return static_cast<double>(config.task.seq_len);
  }
}

Estimate estimate(const RunConfig& config, double mean_length) {
  // The device of the configuration need not be here.
  const bool on_cpu = config.train.device == "cpu" || (config.train.device == "auto" && select_device("auto").is_cpu());
  ModelConfig computed = config.model;
  if (!on_cpu) computed.kernels = "reference";  // there are no others
  Classifier model(config.task, computed, 0);
  Estimate result;
  result.parameters = model.parameter_count();
  result.softmax_parameters = result.parameters;
  if (config.model.mixer != "softmax") {
    ModelConfig full = computed;
    full.mixer = "softmax";
    full.mixer_options = mixer_registry().at("softmax").resolve(LayeredJson(), "");
    result.softmax_parameters = Classifier(config.task, full, 0).parameter_count();
  }
  const double sequences = static_cast<double>(config.train.batch_size) * (config.model.pair_head == "none" ? 1 : 2);
  const double micro = config.train.micro_batch_size == 0 ? 1.0 : static_cast<double>(config.train.micro_batch_size) / static_cast<double>(config.train.batch_size);
  const MixerCost cost = model.cost(static_cast<std::int64_t>(mean_length + 0.5));
  result.tokens_per_step = sequences * mean_length;
  result.flops_per_step = (config.model.checkpoint_layers ? 4 : 3) * sequences * cost.flops;
  constexpr double copies_of_weights = 4;  // weights, gradients, Adam's two moments
  result.bytes = 4 * (copies_of_weights * static_cast<double>(result.parameters) + micro * sequences * cost.saved_values);
  result.seconds_per_step = result.flops_per_step / matrix_rate() + 3 * 4 * sequences * cost.saved_values / memory_rate;
  return result;
}

}  // namespace lra
