#include "train/threads.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "core/host_info.h"

namespace lra {
namespace {

// Of a step, outside the mixer. With 2e8, one sequence of 1,024 tokens in the profile `small` has two threads.
constexpr double bench_flops_per_thread = 2e8, train_flops_per_thread = 1e9;

// Waiting threads of a step with regions of some tens of microseconds find their work within this count; waiting for a thread that the system has put aside takes longer.
constexpr const char* spin_count = "10000";

/// The number that a variable such as OMP_NUM_THREADS begins with ("4,2": nested levels); `otherwise` where it is unset or has none.
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
  const auto sequences = static_cast<double>(train.micro_batch_size > 0 ? std::min(train.micro_batch_size, train.batch_size) : train.batch_size);
  const double tokens = sequences * (model.pair_head == "none" ? 1 : 2) * mean_length;
  const auto weights = static_cast<double>(model.num_layers * (4 * model.d_model * model.qkv_width() + 2 * model.d_model * model.d_ff));
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

void bound_spinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  std::array<char, 4096> program{};
  const ssize_t size = readlink("/proc/self/exe", program.data(), program.size() - 1);
  setenv("GOMP_SPINCOUNT", spin_count, 0);
  if (size > 0) execv(program.data(), argv);
}

}  // namespace lra
