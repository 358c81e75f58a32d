#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <unistd.h>

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "cli/estimate.h"
#include "core/error.h"
#include "core/temporary_file.h"
#include "data/random.h"
#include "data/task.h"
#include "mixers/mixer.h"
#include "small_run.h"
#include "train/batch_loader.h"
#include "train/bench.h"
#include "train/checkpoint.h"
#include "train/device.h"
#include "train/evaluator.h"
#include "train/memory.h"
#include "train/optimizer.h"
#include "train/profile.h"
#include "train/run_status.h"
#include "train/safetensors.h"
#include "train/stop_signals.h"
#include "train/train_step.h"
#include "train/trainer.h"

namespace fs = std::filesystem;
using namespace small_runs;
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

namespace {

/// Examples whose tokens tell which they are.
struct Numbered : lra::Dataset {
  explicit Numbered(std::size_t count) : size_(count) {}
  std::size_t size() const override { return size_; }
  lra::Example get(std::size_t index) const override {
    return {std::vector<std::int32_t>(static_cast<std::size_t>(length(index)), static_cast<std::int32_t>(index % 16)),
            static_cast<std::int32_t>(index), 0};
  }
  std::int64_t length(std::size_t index) const override { return 1 + static_cast<std::int64_t>(index * 7 % 5); }
  std::int32_t label(std::size_t index) const override { return static_cast<std::int32_t>(index); }
  std::size_t size_;
};

/// Pair i: i + 1 tokens i, then two tokens 9.
struct Pairs : Numbered {
  using Numbered::Numbered;
  lra::Example get(std::size_t index) const override {
    std::vector<std::int32_t> tokens(index + 1, static_cast<std::int32_t>(index));
    tokens.insert(tokens.end(), {9, 9});
    return {tokens, static_cast<std::int32_t>(index), static_cast<std::int64_t>(index) + 1};
  }
};

std::vector<std::int64_t> labels_of(const lra::PackedBatch& batch) {
  const auto* data = batch.labels.const_data_ptr<std::int64_t>();
  return {data, data + batch.labels.numel()};
}

}  // namespace

TEST_CASE("the loader visits every example once an epoch, in an order that depends on the seed and the epoch",
          "[train]") {
  const Numbered data(22);
  lra::BatchLoader loader(data, 4, 3);
  REQUIRE(loader.steps_per_epoch() == 6);
  std::vector<std::vector<std::int64_t>> epochs(3);
  for (std::int64_t step = 0; step < 18; ++step) {
    const auto batch = loader.get(step);
    CHECK(batch.examples() == (step % 6 == 5 ? 2 : 4));
    CHECK(batch.tokens.size(0) == batch.layout.tokens());
    for (const auto label : labels_of(batch)) epochs[static_cast<std::size_t>(step / 6)].push_back(label);
    for (std::int64_t b = 0; b < batch.examples(); ++b) {
      const auto index = labels_of(batch)[static_cast<std::size_t>(b)];
      CHECK(batch.layout.length(b) == data.length(static_cast<std::size_t>(index)));
      CHECK(batch.tokens.narrow(0, batch.layout.offset(b), batch.layout.length(b)).eq(index % 16).all().item<bool>());
    }
    // Position is the step alone: a loader that begins here gives the same batch.
    lra::BatchLoader other(data, 4, 3);
    CHECK(labels_of(other.get(step)) == labels_of(batch));
  }
  CHECK(epochs[0] != epochs[1]);
  CHECK(epochs[1] != epochs[2]);
  for (auto& epoch : epochs) {
    std::sort(epoch.begin(), epoch.end());
    std::vector<std::int64_t> all(22);
    std::iota(all.begin(), all.end(), 0);
    CHECK(epoch == all);
  }
  CHECK(lra::shuffled(22, 3, 0) != lra::shuffled(22, 4, 0));
  const lra::PackedBatch pairs = lra::pack(Pairs(3), {2, 0, 1});
  CHECK(pairs.examples() == 3);
  CHECK(pairs.layout.lengths() == std::vector<std::int64_t>{3, 2, 1, 2, 2, 2});
  const lra::PackedBatch last_two = pairs.slice(1, 2);
  CHECK(last_two.layout.lengths() == std::vector<std::int64_t>{1, 2, 2, 2});
  CHECK(labels_of(last_two) == std::vector<std::int64_t>{0, 1});
  CHECK(last_two.tokens.eq(at::tensor({0, 9, 9, 1, 1, 9, 9}, at::kLong)).all().item<bool>());
  const Numbered nothing(0);
  CHECK_THROWS_AS(lra::BatchLoader(nothing, 4, 3), lra::Error);
}

TEST_CASE("AdamW is the plain formula in float64, decays what has no gradient, and clips to the common norm",
          "[train]") {
  at::manual_seed(1);
  const double beta1 = 0.9, beta2 = 0.98, eps = 1e-9, decay = 0.1;
  std::vector<at::Tensor> parameters{at::randn({3, 5}, at::kDouble), at::randn({4}, at::kDouble),
                                     at::randn({2}, at::kDouble)};
  for (auto& parameter : parameters) parameter.requires_grad_(true);
  std::vector<at::Tensor> expected, m, v;
  for (const auto& parameter : parameters) {
    expected.push_back(parameter.detach().clone());
    m.push_back(at::zeros_like(expected.back()));
    v.push_back(at::zeros_like(expected.back()));
  }
  lra::AdamW optimizer(parameters, beta2, eps, decay);
  for (int t = 1; t <= 5; ++t) {
    const double rate = 0.01 * t;
    for (std::size_t i = 0; i < 3; ++i) {
      const at::Tensor gradient = i == 2 ? at::zeros_like(expected[i]) : at::randn(expected[i].sizes(), at::kDouble);
      if (i != 2) parameters[i].mutable_grad() = gradient.clone();
      m[i] = beta1 * m[i] + (1 - beta1) * gradient;
      v[i] = beta2 * v[i] + (1 - beta2) * gradient * gradient;
      const at::Tensor update = m[i] / (1 - std::pow(beta1, t)) / ((v[i] / (1 - std::pow(beta2, t))).sqrt() + eps);
      expected[i] = expected[i] - rate * decay * expected[i] - rate * update;
    }
    optimizer.step(rate, beta1);
    optimizer.zero_grad();
    for (std::size_t i = 0; i < 3; ++i)
      CHECK((parameters[i].detach() - expected[i]).abs().max().item<double>() < 1e-12);
  }

  const auto norm = [&] {
    double sum = 0;
    for (const auto& parameter : parameters) sum += parameter.grad().square().sum().item<double>();
    return std::sqrt(sum);
  };
  for (const auto& parameter : parameters) parameter.mutable_grad() = parameter.detach().clone();
  const double before = norm();
  optimizer.clip_gradients(2 * before);
  CHECK(norm() == Approx(before));
  optimizer.clip_gradients(before / 3);
  CHECK(norm() == Approx(before / 3).epsilon(1e-5));
}

TEST_CASE("micro-batches of any size give the gradient, loss and accuracy of the whole batch", "[train]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  config.model.dropout = 0;
  at::manual_seed(5);
  lra::Classifier model(config.task, config.model, 5);
  model.to(at::kDouble);
  const auto data = lra::task_registry().at("listops").make()->open(lra::Split::train, config.task);
  const auto batch = lra::pack(*data, {3, 1, 4, 15, 9, 2, 6});
  const auto gradients = [&](std::int64_t size) {
    for (auto& parameter : model.parameters()) parameter.mutable_grad().reset();
    const auto result = lra::accumulate_gradients(model, batch, size, false);
    CHECK(result.examples == 7);
    std::vector<at::Tensor> copies;
    for (const auto& parameter : model.parameters()) copies.push_back(parameter.grad().clone());
    return std::pair(result, copies);
  };
  const auto [whole, expected] = gradients(0);
  for (const std::int64_t size : {1, 2, 3, 7, 100}) {
    CAPTURE(size);
    const auto [result, found] = gradients(size);
    CHECK(result.loss_sum == Approx(whole.loss_sum).epsilon(1e-12));
    CHECK(result.correct == whole.correct);
    for (std::size_t i = 0; i < found.size(); ++i) CHECK((found[i] - expected[i]).abs().max().item<double>() < 1e-12);
  }
}

TEST_CASE("evaluation scores every example once, in any batch size, and reports them in order", "[train]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  at::manual_seed(5);
  lra::Classifier model(config.task, config.model, 5);
  model.train();
  const auto data = lra::task_registry().at("listops").make()->open(lra::Split::train, config.task);
  double loss = 0;
  std::int64_t correct = 0;
  for (const std::int64_t size : {1, 4, 22, 50}) {
    CAPTURE(size);
    std::size_t seen = 0;
    std::int64_t right = 0;
    const auto result = lra::evaluate(
        model, *data,
        {.batch_size = size,
         .on_example = [&](std::size_t index, std::int64_t label, std::int64_t prediction, const at::Tensor& logits) {
           CHECK(index == seen++);
           CHECK(label == data->get(index).label);
           CHECK(logits.sizes() == at::IntArrayRef{10});
           CHECK(logits.argmax().item<std::int64_t>() == prediction);
           right += label == prediction;
         }});
    CHECK(seen == 22);
    CHECK(result.examples == 22);
    CHECK(result.correct == right);
    CHECK(model.is_training());
    if (size == 1) {
      loss = result.loss();
      correct = result.correct;
    }
    CHECK(result.loss() == Approx(loss).epsilon(1e-5));
    CHECK(result.correct == correct);
  }
  CHECK_THROWS_AS(lra::evaluate(model, Numbered(0), {}), lra::Error);
}

TEST_CASE("a run measures, selects, tests and records what it did", "[train]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  config.task.limit = 20;
  Silent progress;
  const auto record = lra::train(config, workspace.path / "run", progress);
  CHECK(record.status == "ok");
  CHECK(record.steps_done == 25);
  CHECK(record.test_examples == 9);
  CHECK(record.train_steps_per_second->count == 20);
  CHECK(record.train_examples_per_second->count == 20);
  CHECK(record.reference_levels.contains("majority"));
  CHECK(progress.last.step == 25);

  const auto lines = metrics(workspace.path / "run");
  std::vector<std::pair<std::int64_t, std::string>> found;
  double best = -1;
  std::int64_t best_step = 0;
  for (const auto& line : lines) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : line.items()) keys.push_back(key);
    CHECK(keys == std::vector<std::string>{"step", "split", "loss", "accuracy", "learning_rate", "peak_tensor_bytes"});
    found.emplace_back(line["step"], line["split"]);
    if (line["split"] == "valid" && line["accuracy"] > best) {
      best = line["accuracy"];
      best_step = line["step"];
    }
  }
  std::vector<std::pair<std::int64_t, std::string>> expected;
  for (const std::int64_t step : {6, 12, 18, 24, 25}) {
    expected.emplace_back(step, "train");
    expected.emplace_back(step, "valid");
  }
  expected.emplace_back(best_step, "test");
  CHECK(found == expected);
  CHECK(record.selected_step == best_step);
  CHECK(record.valid_accuracy == best);
  CHECK(record.train_accuracy == lines[8]["accuracy"].get<double>());
  CHECK(record.test_accuracy == lines.back()["accuracy"].get<double>());

  // Parameters, gradients and two moments at least, and not what other tests hold.
  const auto weights = 4 * *record.parameters;
  CHECK(*record.peak_tensor_bytes > 4 * weights);
  CHECK(*record.peak_tensor_bytes < 4 * weights + (16 << 20));

  // The weights in model.safetensors are the tested ones.
  lra::Classifier model(config.task, config.model, 0);
  lra::load_model(workspace.path / "run" / "model.safetensors", model);
  const auto data = lra::task_registry().at("listops").make()->open(lra::Split::test, config.task);
  CHECK(lra::evaluate(model, *data, {.batch_size = 4}).accuracy() == record.test_accuracy);
  CHECK(lra::read_model_facts(workspace.path / "run" / "model.safetensors").config == config.to_json());
}

TEST_CASE("the same configuration gives the same bytes, another seed others", "[train]") {
  const Workspace workspace;
  auto config = small_run(workspace, "softmax");
  config.train.train_steps = 8;
  config.train.threads = 2;
  config.train.micro_batch_size = 3;
  config.train.clip_norm = 1.0;
  train(config, workspace.path / "a");
  train(config, workspace.path / "b");
  check_same_run(workspace.path / "a", workspace.path / "b");
  config.train.seed = 8;
  train(config, workspace.path / "c");
  CHECK(metrics(workspace.path / "a") != metrics(workspace.path / "c"));
}

TEST_CASE("a run interrupted at any moment and resumed ends as an undisturbed one", "[train]") {
  const Workspace workspace;
  const bool performer = GENERATE(false, true);
  const auto config =
      performer ? small_run(workspace, "performer", {{"features", 8}, {"redraw_every", 3}}) : small_run(workspace);
  REQUIRE(train(config, workspace.path / "whole").status == "ok");
  lra::Random random(11, performer);
  for (int trial = 0; trial < 3; ++trial) {
    const fs::path folder = workspace.path / ("pieces" + std::to_string(trial));
    int pieces = 0;
    for (std::int64_t step = 0;; ++pieces) {
      // An evaluation is due at some of these steps, and is then the part that is cut off.
      step += 1 + random.below(9);
      Silent progress(step);
      const auto record = lra::train(config, folder, progress);
      lra::set_stop_requested(false);
      if (record.status == "ok") break;
      REQUIRE(record.status == "interrupted");
      CHECK(record.steps_done == step);
      // What a kill leaves behind.
      std::ofstream(folder / "metrics.jsonl", std::ios::app) << R"({"step": 999, "spl)";
      std::ofstream(lra::temporary_name(folder / "checkpoint.safetensors")) << "half";
    }
    CHECK(pieces >= 2);
    check_same_run(workspace.path / "whole", folder);
    CHECK(!fs::exists(lra::temporary_name(folder / "checkpoint.safetensors")));
  }
  // A finished run is only tested again.
  train(config, workspace.path / "pieces0");
  check_same_run(workspace.path / "whole", workspace.path / "pieces0");
}

TEST_CASE("a checkpoint of another configuration, or a broken one, is an error that says so", "[train]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  config.train.train_steps = 4;
  const fs::path folder = workspace.path / "run";
  train(config, folder);
  config.train.checkpoint_every = 1;
  config.train.time_limit_minutes = 10;
  CHECK_NOTHROW(train(config, folder));
  config.train.beta2 = 0.97;
  CHECK_THROWS_WITH(train(config, folder),
                    ContainsSubstring("checkpoint.safetensors") && ContainsSubstring("beta2 = 0.98"));
  config.train.beta2 = 0.98;
  const std::string whole = lra::read_file(folder / "checkpoint.safetensors");
  lra::write_file_atomically(folder / "checkpoint.safetensors", whole.substr(0, whole.size() / 2));
  CHECK_THROWS_WITH(train(config, folder), ContainsSubstring("checkpoint.safetensors: not a sound safetensors file"));
  // A model is not a checkpoint.
  fs::copy_file(folder / "model.safetensors", folder / "checkpoint.safetensors", fs::copy_options::overwrite_existing);
  CHECK_THROWS_WITH(train(config, folder), ContainsSubstring("is not the checkpoint of a training run"));
}

TEST_CASE("runs that end badly have a status, and the next run is not harmed", "[train]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  config.train.train_steps = 8;

  const auto exploding = [](lra::RunConfig run) {
    run.train.learning_rate = 1e30;
    run.train.schedule = "constant";
    run.train.warmup_steps = 0;
    return run;
  };
  auto record = train(exploding(config), workspace.path / "nan");
  CHECK(record.status == "nan");
  CHECK(record.steps_done < 8);
  CHECK_FALSE(record.test_accuracy.has_value());

  // Clusters choose their tokens by numbers that are none.
  CHECK(train(exploding(small_run(workspace, "routing", {{"clusters", 3}, {"window", 12}})),
              workspace.path / "nan_routing")
            .status == "nan");

  const auto before = lra::memory::current_bytes();
  auto large = config;
  large.train.memory_limit_gb = static_cast<double>(before + 150000) / 1e9;
  record = train(large, workspace.path / "oom");
  CHECK(record.status == "oom");
  CHECK_THAT(record.message, ContainsSubstring("above the memory limit"));
  CHECK(lra::memory::current_bytes() == before);

  auto slow = config;
  slow.train.time_limit_minutes = 1e-9;
  record = train(slow, workspace.path / "timeout");
  CHECK(record.status == "timeout");
  CHECK(record.steps_done == 1);
  slow.train.time_limit_minutes = 0;
  CHECK(train(slow, workspace.path / "timeout").status == "ok");  // goes on from where it was
  REQUIRE(train(config, workspace.path / "whole").status == "ok");
  CHECK(metrics(workspace.path / "whole") == metrics(workspace.path / "timeout"));
}

TEST_CASE("an error of LibTorch is one line of the record", "[train]") {
  lra::RunRecord record;
  lra::run_with_status(lra::RunConfig(), record, [] { at::ones({2, 3}).matmul(at::ones({2, 3})); });
  CHECK(record.status == "failed");
  CHECK_THAT(record.message, ContainsSubstring("2x3") && !ContainsSubstring("\n"));
  lra::run_with_status(lra::RunConfig(), record,
                       [] { TORCH_CHECK_WITH(OutOfMemoryError, false, "no memory\nsecond line"); });
  CHECK(record.status == "oom");
  CHECK(record.message == "no memory");
}

TEST_CASE("bfloat16 autocast trains and stays near float32", "[train]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  config.model.dropout = 0;
  at::manual_seed(5);
  lra::Classifier model(config.task, config.model, 5);
  const auto data = lra::task_registry().at("listops").make()->open(lra::Split::train, config.task);
  const auto batch = lra::pack(*data, {0, 1, 2, 3});
  const double exact = lra::accumulate_gradients(model, batch, 0, false).loss_sum;
  const double rounded = lra::accumulate_gradients(model, batch, 0, true).loss_sum;
  CHECK(rounded != exact);
  CHECK(rounded == Approx(exact).epsilon(0.03));
  config.train.precision = "bf16";
  CHECK(train(config, workspace.path / "run").status == "ok");
}

TEST_CASE("bench measures full-length batches and says their length only when they have one", "[train]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  config.kind = "bench";
  config.measure.measure_warmup_steps = 2;
  config.measure.measure_steps = 3;
  auto record = small_runs::bench(config);
  CHECK(record.status == "ok");
  CHECK_FALSE(record.sequence_length.has_value());
  config.task.task = "bytes";
  config.task.vocab_size = 257;
  config.task.num_classes = 2;
  record = small_runs::bench(config);
  CHECK(record.status == "ok");
  CHECK(record.sequence_length == 40);
  CHECK(record.train_steps_per_second->samples.size() == 3);
  CHECK(record.inference_examples_per_second->count == 3);
  CHECK(record.loading_examples_per_second->count == 3);
  CHECK(record.train_examples_per_second->median == Approx(4 * record.train_steps_per_second->median));
  CHECK(*record.peak_tensor_bytes > 16 * *record.parameters);
}

TEST_CASE("layers that are computed again need less memory, also under bfloat16 autocast", "[train]") {
  const Workspace workspace;
  for (const std::string precision : {"float32", "bf16"}) {
    lra::RunConfig config = small_run(workspace);
    config.model.num_layers = 6;
    config.model.d_model = 32;
    config.model.d_ff = 64;
    std::vector<std::size_t> all(400);
    std::iota(all.begin(), all.end(), std::size_t{0});
    lra::PackedBatch batch = lra::pack(Numbered(400), all);
    batch.labels = batch.labels.remainder(10);
    const auto gradients = [&] {
      at::manual_seed(1);
      lra::Classifier model(config.task, config.model, 1);
      model.train();
      lra::memory::reset_peak();
      const std::int64_t before = lra::memory::current_bytes();
      lra::accumulate_gradients(model, batch, 0, precision == "bf16");
      std::vector<at::Tensor> result;
      for (const auto& parameter : model.parameters()) result.push_back(parameter.grad());
      return std::pair(result, lra::memory::peak_bytes() - before);
    };
    const auto kept = gradients();
    config.model.checkpoint_layers = true;
    const auto again = gradients();
    for (std::size_t i = 0; i < kept.first.size(); ++i) {
      INFO(precision << ", parameter " << i);
      CHECK(at::equal(kept.first[i], again.first[i]));
    }
    CHECK(static_cast<double>(again.second) < 0.5 * static_cast<double>(kept.second));
  }
}

TEST_CASE("a profile counts every product and no more time than there was", "[train]") {
  const Workspace workspace;
  lra::RunConfig config = small_run(workspace, "none");
  config.model.pooling = "mean";
  lra::Classifier model(config.task, config.model, 1);
  lra::take_recorded_operators();
  const std::vector<std::int64_t> lengths{40, 40, 40};
  lra::PackedBatch batch{at::ones({120}, at::kLong), lra::SequenceLayout(lengths), at::zeros({3}, at::kLong)};
  for (const std::string kernels : {"fused", "reference"}) {
    config.model.kernels = kernels;
    lra::Classifier one(config.task, config.model, 1);
    one.train();
    {
      const lra::OperatorRecording recording;
      lra::accumulate_gradients(one, batch, 0, false);
    }
    double forward = 0, backward = 0;
    bool ours = false;
    for (const auto& operation : lra::take_recorded_operators()) {
      (operation.backward ? backward : forward) += operation.flops;
      ours = ours || operation.name == "lra::residual_norm_backward";
      CHECK(operation.seconds >= 0);
    }
    CHECK(forward == 3 * one.cost(40).flops);
    CHECK(backward == 2 * forward);  // gradients of inputs and of weights
    CHECK(ours == (kernels == "fused"));
  }
  // Nothing is recorded when nobody asks.
  lra::accumulate_gradients(model, batch, 0, false);
  CHECK(lra::take_recorded_operators().empty());
  // An operator's time is without that of those it calls; bytes are counted where the work is done.
  const at::Tensor a = at::ones({64, 64}), b = at::ones({64, 64});
  {
    const lra::OperatorRecording recording;
    at::linear(a, b).view({-1});
  }
  for (const auto& operation : lra::take_recorded_operators()) {
    INFO(operation.name);
    if (operation.name == "aten::mm") CHECK(operation.bytes == 3 * 64 * 64 * 4);
    if (operation.name != "aten::mm") CHECK(operation.bytes == 0);
    CHECK(operation.flops == (operation.name == "aten::mm" ? 2.0 * 64 * 64 * 64 : 0.0));
  }

  config = small_run(workspace);
  config.kind = "bench";
  config.measure.measure_warmup_steps = 1;
  config.measure.measure_steps = 2;
  CHECK(small_runs::bench(config).operator_profile.is_null());
  config.measure.profile_steps = 3;
  const lra::RunRecord record = small_runs::bench(config);
  REQUIRE(record.status == "ok");
  CHECK(record.to_json().dump().find("outside operators") == std::string::npos);
  const lra::Json& profile = record.operator_profile;
  CHECK(profile["steps"] == 3);
  for (const char* limit : {"float32_flops", "bf16_flops", "copy_bytes", "first_touch_bytes"})
    CHECK(profile["limits"][limit].get<double>() > 1e8);
  double seconds = 0, share = 0;
  for (const lra::Json& row : profile["operators"]) {
    INFO(row.dump());
    for (const char* key : {"calls", "seconds", "share", "flops", "bytes"}) REQUIRE(row[key].get<double>() >= 0);
    if (row["flops"].get<double>() > 0) CHECK(row["flops_per_second"].get<double>() > 0);
    seconds += row["seconds"].get<double>();
    share += row["share"].get<double>();
  }
  // With the remainder, which is not negative, they are the step.
  CHECK(profile["operators"].back()["name"] == "outside operators");
  CHECK(share == Approx(1));
  CHECK(seconds == Approx(profile["seconds_per_step"].get<double>()));
  CHECK(profile["operators"].back()["share"].get<double>() < 0.5);
  CHECK_THAT(lra::profile_table(profile), ContainsSubstring("aten::mm"));
}

TEST_CASE("the memory of a step is about what was estimated", "[train][memory]") {
  const Workspace workspace;
  for (const std::string& mixer : lra::mixer_registry().names()) {
    if (mixer == "mixed") continue;  // has no defaults
    auto config = small_run(workspace, mixer);
    config.kind = "bench";
    config.task.task = "bytes";
    config.task.vocab_size = 257;
    config.task.num_classes = 2;
    config.task.seq_len = 1024;
    config.model.d_model = config.model.d_qkv = config.model.d_ff = 64;
    config.measure.measure_warmup_steps = 1;
    config.measure.measure_steps = 1;
    const lra::RunRecord record = small_runs::bench(config);
    REQUIRE(record.status == "ok");
    const double ratio = lra::estimate(config, {1024, 1024}).bytes / static_cast<double>(*record.peak_tensor_bytes);
    INFO(mixer);
    CHECK(ratio > 0.75);
    CHECK(ratio < 1.25);
  }
}

TEST_CASE("a device is parsed, and one that is not there is an error", "[train]") {
  CHECK(lra::select_device("cpu") == at::Device(at::kCPU));
  for (const char* name : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", ""})
    CHECK_THROWS_WITH(lra::select_device(name), ContainsSubstring("expected auto, cpu"));
  CHECK_THROWS_WITH(lra::select_device("cuda:99"), ContainsSubstring("not available"));
  CHECK_FALSE(lra::device_name(lra::select_device("auto")).empty());
}

TEST_CASE("parallel loops run on all threads, of one OpenMP runtime", "[train]") {
  const int before = at::get_num_threads();
  CHECK(lra::set_threads(2) == 2);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  at::parallel_for(0, 2, 1, [&](std::int64_t, std::int64_t) {
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  CHECK(threads.size() == 2);
  at::set_num_threads(before);
  std::set<std::string> runtimes;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const auto name = line.substr(line.find_last_of('/') + 1);
    for (const char* runtime : {"libgomp", "libomp", "libiomp"}) {
      if (name.rfind(runtime, 0) == 0) runtimes.insert(name);
    }
  }
  CAPTURE(runtimes);
  CHECK(runtimes.size() == 1);
}

TEST_CASE("a run on a CUDA device learns what a run on the CPU learns", "[train][cuda]") {
  if (lra::select_device("auto").is_cpu()) SKIP("no CUDA device");
  const Workspace workspace;
  auto config = small_run(workspace);
  config.model.dropout = 0;
  REQUIRE(train(config, workspace.path / "cpu").status == "ok");
  config.train.device = "cuda";
  const auto record = train(config, workspace.path / "cuda");
  REQUIRE(record.status == "ok");
  CHECK(*record.peak_tensor_bytes > 16 * *record.parameters);
  const auto here = metrics(workspace.path / "cpu"), there = metrics(workspace.path / "cuda");
  REQUIRE(here.size() == there.size());
  CHECK(there[0]["loss"].get<double>() == Approx(here[0]["loss"].get<double>()).epsilon(1e-3));
}

TEST_CASE("a run on a CUDA device that is interrupted ends as an undisturbed one", "[train][cuda]") {
  if (lra::select_device("auto").is_cpu()) SKIP("no CUDA device");
  const Workspace workspace;
  auto config = small_run(workspace);
  config.train.device = "cuda";
  REQUIRE(train(config, workspace.path / "whole").status == "ok");
  Silent progress(9);
  REQUIRE(lra::train(config, workspace.path / "pieces", progress).status == "interrupted");
  lra::set_stop_requested(false);
  REQUIRE(train(config, workspace.path / "pieces").status == "ok");
  check_same_run(workspace.path / "whole", workspace.path / "pieces");
}

TEST_CASE("a cache that is cut short while a run reads it ends the run with the status failed", "[train]") {
  const Workspace workspace;
  lra::task_registry()
      .at("text_standin")
      .make()
      ->prepare({.data_dir = (workspace.path / "data").string(),
                 .from = "",
                 .threads = 1,
                 .generator = {{"train", 40}, {"valid", 8}, {"test", 8}}});
  lra::RunConfig config = small_run(workspace);
  config.task.task = "text_standin";
  config.task.vocab_size = 257;
  config.task.num_classes = 2;
  config.task.task_options = lra::Json::object();
  struct Cutting : Silent {
    explicit Cutting(fs::path data) : file(std::move(data)) {}
    void update(const lra::Progress& progress) override {
      if (progress.step == 3) fs::resize_file(file, 100);
    }
    const fs::path file;
  } cutting(workspace.path / "data/text_standin/train.packed");
  const lra::RunRecord record = lra::train(config, workspace.path / "run", cutting);
  CHECK(record.status == "failed");
  CHECK_THAT(record.message, ContainsSubstring("train.packed: was changed while it was read"));
  CHECK(*record.steps_done >= 3);
}
