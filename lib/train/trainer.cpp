#include "train/trainer.h"

#include <ATen/Context.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/event_file.h"
#include "core/held_folder.h"
#include "core/load.h"
#include "core/sha256.h"
#include "core/temporary_file.h"
#include "data/task.h"
#include "model/classifier.h"
#include "train/batch_loader.h"
#include "train/checkpoint.h"
#include "train/device.h"
#include "train/evaluator.h"
#include "train/lr_schedule.h"
#include "train/optimizer.h"
#include "train/run_status.h"
#include "train/same_run.h"
#include "train/threads.h"
#include "train/train_step.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* start_anew = "delete that folder to start anew";

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// metrics.jsonl, one JSON object a line, and the same for TensorBoard.
class MetricsFile {
 public:
  /// Keeps the first `lines` lines of what is there. Throws Error if the lines that `saved` tells of are not what they
  /// were.
  MetricsFile(const fs::path& folder, std::int64_t lines, ResumeFacts saved)
      : file_(folder / "metrics.jsonl"), lines_(lines) {
    std::string text = std::max(lines, saved.metrics_lines) > 0 ? read_file(file_) : "";
    // Between the writing of resume.json and of the checkpoint a process may have been killed: the former may tell of
    // more lines.
    if (saved.metrics_lines > 0 &&
        sha256(std::string_view(text).substr(0, end_of_line(text, saved.metrics_lines))) != saved.metrics_sha256) {
      throw Error(fmt::format("{}: damaged: its first {} lines do not give the checksum in resume.json", file_.string(),
                              saved.metrics_lines),
                  "put back a copy from before; without one, delete that folder to start anew");
    }
    text.resize(end_of_line(text, lines));
    hash_.update(text);
    saved.metrics_lines = lines;
    saved.metrics_sha256 = checksum();
    write_resume_facts(folder, saved);
    write_file_atomically(file_, text);
    out_.open(file_, std::ios::app | std::ios::binary);
    if (!out_) throw Error(fmt::format("{}: cannot be written", file_.string()));
    bytes_ = text.size();
    events_ = std::make_unique<EventFile>(folder / "events.out.tfevents.lra", text);
  }

  void add(std::int64_t step, const std::string& split, double loss, double accuracy, double learning_rate,
           double examples_per_second, std::int64_t peak_tensor_bytes) {
    const Json line = {{"step", step},
                       {"split", split},
                       {"loss", loss},
                       {"accuracy", accuracy},
                       {"learning_rate", learning_rate},
                       {"examples_per_second", examples_per_second},
                       {"peak_tensor_bytes", peak_tensor_bytes}};
    const std::string text = line.dump() + "\n";
    out_ << text << std::flush;
    hash_.update(text);
    if (!out_) throw Error(fmt::format("{}: writing failed", file_.string()));
    bytes_ += text.size();
    check();
    events_->add(line);
    ++lines_;
  }

  std::int64_t lines() const { return lines_; }
  /// Before a checkpoint tells of the lines: they must outlive a power failure as it does.
  void sync() const {
    const int descriptor = ::open(file_.c_str(), O_RDONLY | O_CLOEXEC);
    const bool synced = descriptor >= 0 && ::fsync(descriptor) == 0;
    if (descriptor >= 0) ::close(descriptor);
    if (!synced) throw Error(fmt::format("{}: writing failed", file_.string()));
  }

  /// SHA-256 of what was written.
  std::string checksum() const { return Sha256(hash_).hex(); }

 private:
  /// What was written must still be found under the file's name.
  void check() const {
    std::error_code code;
    const auto found = fs::file_size(file_, code);
    if (code)
      throw Error(fmt::format("{}: was moved or removed while the run wrote to it", file_.string()), start_anew);
    if (found == bytes_) return;
    throw Error(
        fmt::format("{}: has {} bytes, {} were written: something else changed it", file_.string(), found, bytes_),
        start_anew);
  }

  /// Where line number `lines` ends.
  std::size_t end_of_line(const std::string& text, std::int64_t lines) const {
    std::size_t end = 0;
    for (std::int64_t line = 0; line < lines; ++line) {
      end = text.find('\n', end) + 1;
      if (end == 0)
        throw Error(fmt::format("{}: has fewer lines than its checkpoint says", file_.string()), start_anew);
    }
    return end;
  }

  const fs::path file_;
  std::int64_t lines_;
  std::uintmax_t bytes_ = 0;
  Sha256 hash_;
  std::ofstream out_;
  std::unique_ptr<EventFile> events_;
};

class Trainer {
 public:
  Trainer(const RunConfig& config, const fs::path& folder, ProgressSink& progress, RunRecord& record)
      : config_(config),
        train_(config.train),
        folder_(folder),
        progress_(progress),
        record_(record),
        device_(select_device(train_.device)),
        held_(folder) {}

  /// Whatever ends the run, the record says how far it came.
  ~Trainer() {
    try {
      describe_progress();
    } catch (const std::exception&) {  // no memory is left for the record's numbers: they are absent
    }
  }

  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  void run() {
    describe_run(config_, device_, record_);
    open_data();
    record_.host["threads"] = set_threads(chosen_threads(config_, mean_sequence_length(*train_data_, config_.model)));
    make_model();
    start_or_resume();
    first_step_ = state_.step;
    loop_start_load_ = cpu_times_before_measuring();
    loop_start_ = Clock::now();
    try {
      while (true) {
        const bool last = state_.step == train_.train_steps;
        if (state_.step > 0 && state_.evaluated_step != state_.step && on_schedule()) evaluate_valid();
        if (changed_ && (last || state_.step % train_.checkpoint_every == 0)) save();
        if (last) break;
        step();
        end_if_asked(train_, seconds_so_far());
      }
      // Not in the checkpoint: the run can be lengthened to one that has no evaluation at this step.
      if (state_.evaluated_step != state_.step) evaluate_valid();
    } catch (const Ended& end) {
      if (end.status != "nan" && changed_) save();
      throw;
    }
    test();
    check_files();
  }

 private:
  void describe_progress() {
    record_.steps_done = state_.step;
    if (state_.train_accuracy >= 0) record_.train_accuracy = state_.train_accuracy;
    if (state_.valid_accuracy >= 0) record_.valid_accuracy = state_.valid_accuracy;
    if (state_.peak_tensor_bytes > 0) record_.peak_tensor_bytes = state_.peak_tensor_bytes;
    const Load load = load_since(loop_start_load_);
    if (!record_.host.is_null()) record_.host["load"] = load.to_json();
    if (steps_per_second_.empty()) return;
    record_.disturbed = disturbance(load, measured(tokens_per_second_));
    if (record_.disturbed.empty() && record_.host["threads"] > 1 && does_not_spin())
      record_.disturbed = "other programs computed when it was started";
    record_.train_steps_per_second = measured(steps_per_second_);
    record_.train_examples_per_second = measured(examples_per_second_);
  }

  void save() {
    held_.check();
    state_.metrics_lines = metrics_->lines();
    metrics_->sync();
    write_resume_facts(folder_, {seconds_so_far(), metrics_->lines(), metrics_->checksum()});
    save_checkpoint(folder_, config_, hashes_, *model_, *optimizer_, state_);
    remove_best_weights(state_.best_step);
    changed_ = false;
  }

  void open_data() {
    const auto task = task_registry().at(config_.task.task).make();
    train_data_ = task->open(Split::train, config_.task);
    valid_data_ = task->open(Split::valid, config_.task);
    test_data_ = task->open(Split::test, config_.task);
    record_.reference_levels = task->reference_levels(config_.task, *train_data_, *test_data_);
    describe_data(config_, task->data_info(config_.task),
                  {{"train", train_data_.get()}, {"valid", valid_data_.get()}, {"test", test_data_.get()}}, record_,
                  progress_);
    hashes_ = split_hashes(record_.data);
    loader_ = std::make_unique<BatchLoader>(*train_data_, train_.batch_size, train_.seed);
  }

  void make_model() {
    bytes_before_model_ = current_tensor_bytes(device_);
    at::manual_seed(static_cast<std::uint64_t>(train_.seed));
    model_ = std::make_shared<Classifier>(config_.task, config_.model, static_cast<std::uint64_t>(train_.seed));
    model_->to(device_);
    model_->train();
    optimizer_ = std::make_unique<AdamW>(model_->parameters(), train_.beta2, train_.eps, train_.weight_decay);
    record_.parameters = model_->parameter_count();
  }

  void start_or_resume() {
    ResumeFacts facts;
    if (const auto saved = load_checkpoint(folder_, config_, hashes_, *model_, *optimizer_)) {
      state_ = saved->state;
      facts = read_resume_facts(folder_).value_or(facts);
      seconds_before_ = facts.seconds;
      for (const auto& note : saved->notes) record_.notes.push_back(note);
      record_.notes.push_back(fmt::format(
          "resumed at step {}: speeds and wall_seconds are of the steps after it; {:.0f} seconds came before",
          state_.step, seconds_before_));
      if (best_valid() && state_.best_step > 0) find_best_weights();
      progress_.resumed(state_.step, train_.train_steps);
    } else {
      remove_best_weights(0);
      for (const char* name : {"best.safetensors", "model.safetensors", "resume.json"}) fs::remove(folder_ / name);
    }
    remove_temporary_files(folder_);
    metrics_ = std::make_unique<MetricsFile>(folder_, state_.metrics_lines, facts);
  }

  /// Weights that were the best on `valid` when they were saved. Those of the step that the checkpoint names stay until
  /// a checkpoint names others: what a process did after its last checkpoint is not bound to repeat itself on other
  /// hardware or threads.
  fs::path best_weights(std::int64_t step) const { return folder_ / fmt::format("best-{}.safetensors", step); }

  void remove_best_weights(std::int64_t but_of_step) const {
    std::error_code no_folder;
    for (const auto& entry : fs::directory_iterator(folder_, no_folder)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("best-") && name.ends_with(".safetensors") && entry.path() != best_weights(but_of_step))
        fs::remove(entry.path());
    }
  }

  /// The best weights have their final name when the run was finished before. Older versions called them
  /// best.safetensors.
  void find_best_weights() const {
    const fs::path best = best_weights(state_.best_step);
    if (fs::exists(best)) return;
    for (const char* name : {"best.safetensors", "model.safetensors"}) {
      if (!fs::exists(folder_ / name) || read_model_facts(folder_ / name).step != state_.best_step) continue;
      fs::rename(folder_ / name, best);
      return;
    }
    throw Error(fmt::format("{}: is not there, though the checkpoint tells of it", best.string()),
                "delete that folder to start anew");
  }

  void step() {
    // 1. Sample.
    const PackedBatch batch = loader_->get(state_.step).to(device_);
    // 2, 3, 4. Forward, backward, optimise.
    StepResult result = train_step(*model_, *optimizer_, batch, train_, state_.step);
    if (!std::isfinite(result.loss_sum))
      throw Ended{"nan", fmt::format("the loss of step {} is not a finite number", state_.step + 1)};
    result.peak_tensor_bytes -= bytes_before_model_;
    ++state_.step;
    changed_ = true;
    state_.peak_tensor_bytes = std::max(state_.peak_tensor_bytes, result.peak_tensor_bytes);
    state_.window_peak_tensor_bytes = std::max(state_.window_peak_tensor_bytes, result.peak_tensor_bytes);
    state_.window_examples += result.examples;
    state_.window_correct += result.correct;
    state_.window_loss_sum += result.loss_sum;
    const auto examples = static_cast<double>(result.examples);
    window_seconds_ += result.seconds;
    window_timed_examples_ += examples;
    if (state_.step - first_step_ > config_.measure.measure_warmup_steps) {
      steps_per_second_.push_back(1 / result.seconds);
      examples_per_second_.push_back(examples / result.seconds);
      tokens_per_second_.push_back(static_cast<double>(batch.tokens.size(0)) / result.seconds);
    }
    Progress progress = window_progress();
    const auto done = static_cast<double>(state_.step - first_step_);
    progress.seconds_left = seconds_since(loop_start_) / done * static_cast<double>(train_.train_steps - state_.step);
    progress_.update(progress);
  }

  /// Means over the training batches since the last evaluation.
  Progress window_progress() const {
    const auto examples = static_cast<double>(state_.window_examples);
    return {.phase = "train",
            .step = state_.step,
            .train_steps = train_.train_steps,
            .loss = state_.window_loss_sum / examples,
            .accuracy = static_cast<double>(state_.window_correct) / examples,
            .examples_per_second = window_seconds_ > 0 ? window_timed_examples_ / window_seconds_ : 0,
            .peak_tensor_bytes = state_.window_peak_tensor_bytes};
  }

  /// Scores a whole split with the model as it is.
  Progress score(const Dataset& data, const char* split, std::int64_t step) {
    reset_peak_tensor_bytes(device_);
    const auto start = Clock::now();
    const Evaluation result =
        evaluate(*model_, data,
                 {.batch_size = train_.eval_batch_size == 0 ? train_.batch_size : train_.eval_batch_size,
                  .device = device_,
                  .bf16 = train_.precision == "bf16",
                  .before_batch = [this] { end_if_asked(train_, seconds_so_far()); }});
    synchronize(device_);
    if (!std::isfinite(result.loss_sum))
      throw Ended{"nan", fmt::format("the loss on the {} split is not a finite number after step {}", split, step)};
    return {.phase = split,
            .step = step,
            .train_steps = train_.train_steps,
            .loss = result.loss(),
            .accuracy = result.accuracy(),
            .examples_per_second = static_cast<double>(result.examples) / seconds_since(start),
            .peak_tensor_bytes = peak_tensor_bytes(device_) - bytes_before_model_};
  }

  /// A line of metrics.jsonl; the learning rate is that of the update which ended the step.
  void report(const Progress& progress) {
    held_.check();
    metrics_->add(progress.step, progress.phase, progress.loss, progress.accuracy,
                  learning_rate_at(train_, progress.step - 1), progress.examples_per_second,
                  progress.peak_tensor_bytes);
    progress_.evaluated(progress);
  }

  void evaluate_valid() {
    const Progress valid = score(*valid_data_, "valid", state_.step);
    const Progress window = window_progress();
    report(window);
    report(valid);
    state_.train_accuracy = window.accuracy;
    state_.valid_accuracy = valid.accuracy;
    if (valid.accuracy > state_.best_valid_accuracy) {
      state_.best_valid_accuracy = valid.accuracy;
      state_.best_step = state_.step;
      if (best_valid() && on_schedule()) save_model(best_weights(state_.step), config_, hashes_, *model_, state_.step);
    }
    state_.evaluated_step = state_.step;
    state_.window_examples = state_.window_correct = state_.window_peak_tensor_bytes = 0;
    state_.window_loss_sum = 0;
    window_seconds_ = window_timed_examples_ = 0;
    changed_ = on_schedule();
  }

  void test() {
    const std::int64_t step = best_valid() ? state_.best_step : state_.step;
    if (step != state_.step) load_model(best_weights(step), *model_);
    const Progress result = score(*test_data_, "test", step);
    report(result);
    save_model(folder_ / "model.safetensors", config_, hashes_, *model_, step);
    fs::remove(best_weights(step));
    record_.test_accuracy = result.accuracy;
    record_.test_examples = static_cast<std::int64_t>(test_data_->size());
    record_.selected_step = step;
    if (best_valid()) record_.valid_accuracy = state_.valid_accuracy = state_.best_valid_accuracy;
  }

  /// A run that is done has all of its files.
  void check_files() const {
    held_.check();
    for (const char* name : {"checkpoint.safetensors", "metrics.jsonl", "model.safetensors"}) {
      if (!fs::exists(folder_ / name)) {
        throw Error(
            fmt::format("{}: was moved or removed while the run worked in its folder", (folder_ / name).string()),
            "run the same command again");
      }
    }
  }

  bool best_valid() const { return train_.selection == "best_valid"; }
  /// Would a longer run be evaluated at this step too?
  bool on_schedule() const { return state_.step % train_.eval_every == 0; }
  double seconds_so_far() const { return seconds_before_ + seconds_since(start_); }

  const RunConfig& config_;
  const TrainConfig& train_;
  const fs::path folder_;
  ProgressSink& progress_;
  RunRecord& record_;
  const at::Device device_;
  const HeldFolder held_;
  const Clock::time_point start_ = Clock::now();

  std::unique_ptr<Dataset> train_data_, valid_data_, test_data_;
  Json hashes_;  ///< of the data
  std::unique_ptr<BatchLoader> loader_;
  std::int64_t bytes_before_model_ = 0;
  std::shared_ptr<Classifier> model_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<MetricsFile> metrics_;
  TrainState state_;
  bool changed_ = false;  ///< since the last checkpoint

  double seconds_before_ = 0;  ///< of earlier processes, up to the checkpoint

  // Of this process only: they differ from run to run, so they are not part of the checkpoint.
  std::int64_t first_step_ = 0;
  Clock::time_point loop_start_;
  CpuTimes loop_start_load_ = cpu_times_at_start();
  double window_seconds_ = 0, window_timed_examples_ = 0;
  std::vector<double> steps_per_second_, examples_per_second_;
  std::vector<double> tokens_per_second_;  ///< batches differ in length: the speed in tokens spreads less than the
                                           ///< others where nothing disturbs it
};

}  // namespace

RunRecord train(const RunConfig& config, const fs::path& folder, ProgressSink& progress) {
  RunRecord record;
  run_with_status(config, record, [&] { Trainer(config, folder, progress, record).run(); });
  for (const char* name : {"metrics.jsonl", "model.safetensors"}) {
    // The weights are a run's own once they are selected: an earlier, shorter run may have left some.
    if (!fs::exists(folder / name) || (name == std::string("model.safetensors") && !record.selected_step)) continue;
    record.files[name] = {{"bytes", fs::file_size(folder / name)}, {"sha256", sha256_file(folder / name)}};
  }
  return record;
}

}  // namespace lra
