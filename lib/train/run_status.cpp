#include "train/run_status.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>

#include "core/error.h"
#include "core/program.h"
#include "core/text.h"
#include "data/mapped_file.h"
#include "mixers/mixer.h"
#include "train/device.h"
#include "train/memory.h"
#include "train/stop_signals.h"

namespace lra {
namespace {

struct MemoryLimit {
  explicit MemoryLimit(std::int64_t bytes) : before(memory::limit()) { memory::set_limit(bytes); }
  ~MemoryLimit() { memory::set_limit(before); }
  const std::int64_t before;
};

}  // namespace

std::int64_t memory_limit_bytes(const TrainConfig& config) {
  const std::int64_t machine = memory::machine_limit();
  const double asked = config.memory_limit_gb * 1e9;
  return asked > 0 && asked < static_cast<double>(machine) ? std::max<std::int64_t>(static_cast<std::int64_t>(asked), 1)
                                                           : machine;
}

void run_with_status(const RunConfig& config, RunRecord& record, const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  const auto ended = [&](const char* status, const std::string& message) {
    record.status = status;
    record.message = message;
  };
  try {
    const MemoryLimit limit(memory_limit_bytes(config.train));
    work();
  } catch (const Ended& end) {
    ended(end.status.c_str(), end.message);
  } catch (const DataLost& lost) {
    ended("failed", lost.what());
  } catch (const Error&) {
    throw;
  } catch (const c10::OutOfMemoryError& error) {
    ended("oom", first_line(error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    ended("oom", "the system has no memory left");
  } catch (const c10::Error& error) {
    ended("failed", first_line(error.what_without_backtrace()));
  } catch (const std::exception& error) {
    ended("failed", message_of(error));
  }
  if (!record.peak_rss_bytes) record.peak_rss_bytes = memory::process_peak_bytes();
  record.wall_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int within_memory(const std::function<int()>& work) {
  constexpr const char* help = "make batch_size, eval_batch_size, seq_len or the model smaller";
  try {
    return work();
  } catch (const c10::OutOfMemoryError& error) {
    throw Error("memory ended: " + first_line(error.what_without_backtrace()), help);
  } catch (const std::bad_alloc&) {
    throw Error("memory ended: the system has none left", help);
  }
}

void end_if_asked(const TrainConfig& config, double seconds) {
  if (stop_requested()) throw Ended{"interrupted", stop_reason() + "; run it again to go on"};
  if (config.time_limit_minutes > 0 && seconds > 60 * config.time_limit_minutes) {
    throw Ended{"timeout", fmt::format("the limit of {} minutes was reached", config.time_limit_minutes)};
  }
}

void describe_data(const RunConfig& config, const Json& info,
                   const std::vector<std::pair<std::string, const Dataset*>>& splits, RunRecord& record,
                   ProgressSink& progress) {
  record.data = info;
  const auto say = [&](const std::string& text) { progress.note(fmt::format("{}: {}", config.task.task, text)); };
  const auto note = [&](const std::string& text) {
    record.notes.push_back(text);
    say(text);
  };
  if (info.contains("incomplete")) {
    record.notes.push_back(fmt::format("not the official data: {}", info["incomplete"].get<std::string>()));
    say("not the official data (lra-run data status says how they differ)");
  }
  std::string cut;
  for (const auto& [split, data] : splits) {
    if (!info.contains(split) || !info[split].is_object()) continue;  // valid may be test, or a part of train
    const double share = data->cut_share();
    record.data[split]["cut_share"] = share;
    if (share > 0) cut += fmt::format("{}{:.3g} % of the {} sequences", cut.empty() ? "" : ", ", 100 * share, split);
  }
  if (!cut.empty()) note(fmt::format("seq_len {} cuts {}", config.task.seq_len, cut));
  const Dataset& train = *splits.front().second;
  if (config.train.batch_size > static_cast<std::int64_t>(train.size())) {
    record.data["examples_per_step"] = train.size();
    note(fmt::format("batch_size is {}, but the train split has {} examples: each step takes all of them",
                     config.train.batch_size, train.size()));
  }
}

void describe_run(const RunConfig& config, at::Device device, RunRecord& record) {
  record.config = config.to_json();
  record.host = {{"device", device_name(device)}, {"allocator", memory::allocator_name()}};
  record.notes.push_back(
      "sequences are packed: nothing is computed on padding, and padding does not enter attention or pooling as it "
      "does in the official code");
  if (config.task.limit > 0)
    record.notes.push_back(fmt::format("only the first {} examples of each split were used", config.task.limit));
  if (config.model.attention_dropout > 0 &&
      !mixer_registry().at(config.model.mixer).traits(config.model.mixer_options).attention_dropout) {
    record.notes.push_back("no attention dropout: this mixer does not materialise its weights");
  }
}

}  // namespace lra
