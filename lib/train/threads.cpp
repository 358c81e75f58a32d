#include "train/threads.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/host_info.h"
#include "core/load.h"
#include "train/stop_signals.h"

namespace lra {
namespace {

// Of a step, outside the mixer. With 2e8, one sequence of 1,024 tokens in the profile `small` has two threads.
constexpr double bench_flops_per_thread = 2e8, train_flops_per_thread = 1e9;

// Waiting threads of a step with regions of some tens of microseconds find their work within this count.
constexpr const char* spin_count = "10000";
constexpr const char* our_spin_count = "LRA_SPIN_COUNT";  ///< says that GOMP_SPINCOUNT is not the user's

bool spinning_is_ours() {
  const char *const set = std::getenv("GOMP_SPINCOUNT"), *const ours = std::getenv(our_spin_count);
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return false;
  return set == nullptr || (ours != nullptr && std::string_view(set) == ours);
}

/// The number that a variable such as OMP_NUM_THREADS begins with ("4,2": nested levels); `otherwise` where it is unset
/// or has none.
int number_in(const char* variable, int otherwise) {
  const char* const text = std::getenv(variable);
  if (text == nullptr) return otherwise;
  int number = 0;
  const auto parsed = std::from_chars(text + std::strspn(text, " "), text + std::strlen(text), number);
  return parsed.ec == std::errc() && number > 0 ? number : otherwise;
}

}  // namespace

int most_threads() {
  const auto cores = static_cast<int>(usable_cores());
  return std::min({cores, number_in("OMP_NUM_THREADS", cores), number_in("OMP_THREAD_LIMIT", cores)});
}

int chosen_threads(const RunConfig& config, double mean_length) {
  const TrainConfig& train = config.train;
  const ModelConfig& model = config.model;
  if (train.threads > 0) return static_cast<int>(train.threads);
  const auto sequences = static_cast<double>(
      train.micro_batch_size > 0 ? std::min(train.micro_batch_size, train.batch_size) : train.batch_size);
  const double tokens = sequences * (model.pair_head == "none" ? 1 : 2) * mean_length;
  const auto weights =
      static_cast<double>(model.num_layers * (4 * model.d_model * model.qkv_width() + 2 * model.d_model * model.d_ff));
  const double flops = 3 * 2 * tokens * weights;  // the backward pass takes twice as many as the forward pass
  const double threads = flops / (config.kind == "bench" ? bench_flops_per_thread : train_flops_per_thread);
  return static_cast<int>(std::clamp<double>(threads, 1, most_threads()));
}

double mean_sequence_length(const Dataset& dataset, const ModelConfig& model) {
  if (dataset.size() == 0) return 0;
  double sum = 0;
  for (std::size_t i = 0; i < dataset.size(); ++i) sum += static_cast<double>(dataset.length(i));
  return sum / static_cast<double>(dataset.size() * (model.pair_head == "none" ? 1 : 2));
}

void bound_spinning_of_children() {
  if (!spinning_is_ours()) return;
  static CpuTimes last = cpu_times_at_start();
  const CpuTimes now = cpu_times_before_measuring();
  const auto load = other_load(last, now);
  if (!load && std::getenv(our_spin_count) != nullptr) return;  // too soon to know more
  const char* const count = load.value_or(0) > disturbing_cores ? "0" : spin_count;
  setenv("GOMP_SPINCOUNT", count, 1);
  setenv(our_spin_count, count, 1);
  last = now;
}

void bound_spinning() {
  if (!spinning_is_ours() || std::getenv(our_spin_count) != nullptr) return;
  bound_spinning_of_children();
  std::ifstream in("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string argument; std::getline(in, argument, '\0');) arguments.push_back(argument);
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::error_code code;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", code);
  if (code || arguments.empty()) return;
  hold_stop_signals();  // the new program takes over those that come from now on
  if (!stop_requested()) execv(program.c_str(), argv.data());
  release_stop_signals();
}

bool does_not_spin() {
  const char* const count = std::getenv(our_spin_count);
  return count != nullptr && std::string_view(count) == "0" && spinning_is_ours();
}

}  // namespace lra
