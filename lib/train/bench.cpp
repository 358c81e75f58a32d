#include "train/bench.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <memory>
#include <vector>

#include "core/load.h"
#include "data/random.h"
#include "data/task.h"
#include "model/classifier.h"
#include "train/batch_loader.h"
#include "train/device.h"
#include "train/memory.h"
#include "train/optimizer.h"
#include "train/profile.h"
#include "train/run_status.h"
#include "train/threads.h"
#include "train/train_step.h"

namespace lra {
namespace {

using Clock = std::chrono::steady_clock;

/// The load until it is made and from then on; the second goes into the record when it ends, however the run ends.
class LoadOfRun {
 public:
  explicit LoadOfRun(RunRecord& record) : record_(record) {}
  ~LoadOfRun() {
    try {
      record_.host["load"] = now().to_json();
    } catch (const std::exception&) {  // no memory is left for it: it is absent
    }
  }
  LoadOfRun(const LoadOfRun&) = delete;
  LoadOfRun& operator=(const LoadOfRun&) = delete;
  Load now() const { return load_since(from_); }

 private:
  RunRecord& record_;
  const CpuTimes from_ = cpu_times_before_measuring();
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Training steps from `step` on, operator by operator.
Json profile(const RunConfig& config, Classifier& model, BatchLoader& loader, std::int64_t step, at::Device device,
             Clock::time_point start) {
  const TrainConfig& train = config.train;
  const at::AutoGradMode with_gradients(true);
  model.train();
  AdamW optimizer(model.parameters(), train.beta2, train.eps, train.weight_decay);
  const Json limits = machine_limits();
  take_recorded_operators();
  double seconds = 0;
  for (const std::int64_t last = step + config.measure.profile_steps; step < last; ++step) {
    const PackedBatch batch = loader.get(step).to(device);
    const OperatorRecording recording;
    seconds += train_step(model, optimizer, batch, train, step).seconds;
    end_if_asked(train, seconds_since(start));
  }
  return profile_json(take_recorded_operators(), config.measure.profile_steps, seconds, limits);
}

void measure(const RunConfig& config, ProgressSink& progress, RunRecord& record) {
  const auto start = Clock::now();
  const TrainConfig& train = config.train;
  const at::Device device = select_device(train.device);
  describe_run(config, device, record);
  const auto task = task_registry().at(config.task.task).make();
  const auto data = task->open(Split::train, config.task);
  record.host["threads"] = set_threads(chosen_threads(config, mean_sequence_length(*data, config.model)));
  describe_data(config, task->data_info(config.task), {{"train", data.get()}}, record, progress);
  BatchLoader loader(*data, train.batch_size, train.seed);

  const std::int64_t bytes_before_model = current_tensor_bytes(device);
  at::manual_seed(static_cast<std::uint64_t>(train.seed));
  Classifier model(config.task, config.model, static_cast<std::uint64_t>(train.seed));
  model.to(device);
  model.train();
  record.parameters = model.parameter_count();
  const std::int64_t steps = config.measure.measure_warmup_steps + config.measure.measure_steps;
  const auto tell = [&](std::int64_t done) {
    progress.update({.phase = "bench", .step = done, .train_steps = 2 * steps});
  };  // training, then inference

  const LoadOfRun load(record);
  bool uniform = true;
  std::int64_t length = -1, peak = 0;
  std::vector<double> steps_per_second, examples_per_second, inference;
  {
    AdamW optimizer(model.parameters(), train.beta2, train.eps, train.weight_decay);
    for (std::int64_t step = 0; step < steps; ++step) {
      const PackedBatch batch = loader.get(step).to(device);
      if (length == -1) length = batch.layout.max_length();
      uniform = uniform && batch.layout.uniform() && batch.layout.max_length() == length;
      const StepResult result = train_step(model, optimizer, batch, train, step);
      if (!std::isfinite(result.loss_sum)) throw Ended{"nan", "the loss is not a finite number"};
      peak = std::max(peak, result.peak_tensor_bytes - bytes_before_model);
      if (step >= config.measure.measure_warmup_steps) {
        steps_per_second.push_back(1 / result.seconds);
        examples_per_second.push_back(static_cast<double>(result.examples) / result.seconds);
      }
      record.steps_done = step + 1;
      tell(step + 1);
      end_if_asked(train, seconds_since(start));
    }
  }
  record.train_steps_per_second = measured(steps_per_second);
  record.train_examples_per_second = measured(examples_per_second);
  record.peak_tensor_bytes = peak;
  if (uniform) record.sequence_length = length;

  const at::NoGradGuard no_grad;
  model.eval();
  for (std::int64_t step = 0; step < steps; ++step) {
    const PackedBatch batch = loader.get(step).to(device);
    synchronize(device);
    const auto forward_start = Clock::now();
    {
      const Autocast autocast(device, train.precision == "bf16");
      model.forward(batch.tokens, batch.layout);
    }
    synchronize(device);
    if (step >= config.measure.measure_warmup_steps)
      inference.push_back(static_cast<double>(batch.examples()) / seconds_since(forward_start));
    tell(steps + step + 1);
    end_if_asked(train, seconds_since(start));
  }
  record.inference_examples_per_second = measured(inference);

  std::vector<double> loading;
  const auto order = shuffled(data->size(), static_cast<std::uint64_t>(train.seed), 0);
  for (std::int64_t step = 0; step < steps; ++step) {
    std::vector<std::size_t> indices;
    for (std::int64_t i = 0; i < train.batch_size; ++i)
      indices.push_back(order[static_cast<std::size_t>(step * train.batch_size + i) % order.size()]);
    const auto load_start = Clock::now();
    pack(*data, indices);
    if (step >= config.measure.measure_warmup_steps)
      loading.push_back(static_cast<double>(train.batch_size) / seconds_since(load_start));
  }
  record.loading_examples_per_second = measured(loading);
  record.disturbed = disturbance(load.now(), *record.train_examples_per_second);
  if (record.disturbed.empty() && record.host["threads"] > 1 && does_not_spin())
    record.disturbed = "other programs computed when it was started";

  record.peak_rss_bytes = memory::process_peak_bytes();  // without what profiling needs
  if (config.measure.profile_steps > 0) record.operator_profile = profile(config, model, loader, steps, device, start);
}

}  // namespace

RunRecord bench(const RunConfig& config, ProgressSink& progress) {
  RunRecord record;
  run_with_status(config, record, [&] { measure(config, progress, record); });
  return record;
}

}  // namespace lra
