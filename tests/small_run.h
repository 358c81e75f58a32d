#pragma once

#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/json_file.h"
#include "data/task.h"
#include "mixers/mixer.h"
#include "train/bench.h"
#include "train/memory.h"
#include "train/stop_signals.h"
#include "train/trainer.h"

// Training runs that end in a tenth of a second.

namespace small_runs {
namespace fs = std::filesystem;

/// A folder of its own for every test, with a small ListOps in data/.
struct Workspace {
  Workspace() : path(fs::temp_directory_path() / ("lra-train-" + std::to_string(::getpid()))) {
    lra::memory::install();
    fs::remove_all(path);
    lra::PrepareOptions options;
    options.data_dir = (path / "data").string();
    options.generator = {{"train", 22}, {"valid", 9}, {"test", 9}, {"min_length", 5}, {"max_length", 40}};
    options.threads = 1;
    lra::task_registry().at("listops").make()->prepare(options);
  }
  ~Workspace() {
    lra::set_stop_requested(false);
    fs::remove_all(path);
  }
  fs::path path;
};

/// Two small layers on one thread, without a task.
inline lra::RunConfig small_model(const std::string& mixer, const lra::Json& options = lra::Json::object()) {
  lra::RunConfig config;
  config.model.num_layers = 2;
  config.model.d_model = 16;
  config.model.d_ff = 24;
  config.model.num_heads = 2;
  config.model.mixer = mixer;
  lra::LayeredJson source;
  source.merge(options, "test");
  config.model.mixer_options = lra::mixer_registry().at(mixer).resolve(source, "");
  config.train.device = "cpu";
  config.train.threads = 1;
  return config;
}

/// Dropout on, six batches an epoch the last of which is partial.
inline lra::RunConfig small_run(const Workspace& workspace, const std::string& mixer = "linear",
                                const lra::Json& options = lra::Json::object()) {
  lra::RunConfig config = small_model(mixer, options);
  config.task.task = "listops";
  config.task.data_dir = (workspace.path / "data").string();
  config.task.seq_len = 40;
  config.train.seed = 7;
  config.train.train_steps = 25;
  config.train.batch_size = 4;
  config.train.warmup_steps = 5;
  config.train.eval_every = 6;
  config.train.checkpoint_every = 4;
  config.train.selection = "best_valid";
  return config;
}

/// Asks for a stop after a given step.
struct Silent : lra::ProgressSink {
  explicit Silent(std::int64_t step = -1) : stop_after(step) {}
  void update(const lra::Progress& progress) override {
    last = progress;
    if (progress.step == stop_after) lra::set_stop_requested(true);
  }
  void evaluated(const lra::Progress& progress) override { evaluations.push_back(progress); }
  void resumed(std::int64_t step, std::int64_t) override { resumed_at = step; }
  void note(const std::string& text) override { notes.push_back(text); }
  std::int64_t stop_after;
  lra::Progress last;
  std::vector<lra::Progress> evaluations;
  std::vector<std::string> notes;
  std::int64_t resumed_at = -1;
};

inline lra::RunRecord train(const lra::RunConfig& config, const fs::path& folder) {
  Silent progress;
  return lra::train(config, folder, progress);
}

inline lra::RunRecord bench(const lra::RunConfig& config) {
  Silent progress;
  return lra::bench(config, progress);
}

/// The lines of metrics.jsonl without what is measured with a clock.
inline std::vector<lra::Json> metrics(const fs::path& folder) {
  std::ifstream file(folder / "metrics.jsonl");
  std::vector<lra::Json> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(lra::parse_json(line, "metrics.jsonl"));
    lines.back().erase("examples_per_second");
  }
  return lines;
}

inline void check_same_run(const fs::path& a, const fs::path& b) {
  CHECK(metrics(a) == metrics(b));
  for (const char* name : {"model.safetensors", "checkpoint.safetensors"}) {
    INFO(name);
    const bool same = lra::read_file(a / name) == lra::read_file(b / name);  // the bytes are nothing to print
    CHECK(same);
  }
}

}  // namespace small_runs
