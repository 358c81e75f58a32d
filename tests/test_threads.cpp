#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <set>
#include <string>
#include <thread>

#include "cli/resolve.h"
#include "core/config_files.h"
#include "core/host_info.h"
#include "ops/on_threads.h"
#include "train/device.h"
#include "train/threads.h"

using namespace lra;

namespace {

/// Sets a variable of the environment while it lives; nullptr: unsets it.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old, had_ = true;
    value == nullptr ? unsetenv(name) : setenv(name, value, 1);
  }
  ~Variable() { had_ ? setenv(name_, old_.c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

/// Two layers of width 64, as in the profile `small`.
RunConfig small(const std::string& kind, std::int64_t batch_size) {
  RunConfig config;
  config.kind = kind;
  config.model.num_layers = 2;
  config.model.d_model = 64;
  config.model.d_ff = 128;
  config.train.batch_size = batch_size;
  return config;
}

}  // namespace

TEST_CASE("Small steps have one thread, large ones more, and `threads` overrides", "[train]") {
  const Variable no_number("OMP_NUM_THREADS", nullptr), no_limit("OMP_THREAD_LIMIT", nullptr);
  const int most = most_threads();
  CHECK(most == usable_cores());
  CHECK(chosen_threads(small("train", 16), 30) == 1);    // short ListOps
  CHECK(chosen_threads(small("train", 64), 32) == 1);    // the quick start
  CHECK(chosen_threads(small("train", 32), 1000) == std::min(most, 12));
  CHECK(chosen_threads(small("bench", 1), 64) == 1);
  CHECK(chosen_threads(small("bench", 1), 1024) == std::min(most, 2));
  RunConfig config = small("train", 64);
  config.train.micro_batch_size = 2;
  CHECK(chosen_threads(config, 1000) == 1);
  config.train.threads = most + 3;
  CHECK(chosen_threads(config, 1) == most + 3);
  // All mixers of a comparison have the same number.
  config = small("bench", 1);
  for (const char* mixer : {"softmax", "none"}) {
    config.model.mixer = mixer;
    CHECK(chosen_threads(config, 1024) == std::min(most, 2));
  }
  CHECK(chosen_threads(small("train", 64), 0) == 1);
}

TEST_CASE("OMP_NUM_THREADS and OMP_THREAD_LIMIT bound the choice, not `threads`", "[train]") {
  RunConfig config = small("train", 256);
  for (const char* name : {"OMP_NUM_THREADS", "OMP_THREAD_LIMIT"}) {
    const Variable no_number("OMP_NUM_THREADS", nullptr), no_limit("OMP_THREAD_LIMIT", nullptr);
    const Variable one(name, "1");
    CHECK(most_threads() == 1);
    config.train.threads = 0;
    CHECK(chosen_threads(config, 1e6) == 1);
    config.train.threads = 2;
    CHECK(chosen_threads(config, 1e6) == 2);
  }
  const int cores = static_cast<int>(usable_cores());
  const Variable no_limit("OMP_THREAD_LIMIT", nullptr);
  for (const auto& [text, number] : {std::pair{" 1,4", 1}, {"100000", cores}, {"0", cores}, {"-1", cores}, {"many", cores}, {"", cores}}) {
    const Variable several("OMP_NUM_THREADS", text);
    INFO(text);
    CHECK(most_threads() == number);
  }
}

TEST_CASE("The calling thread makes the memory of all threads, each of which has its own", "[ops]") {
  const int before = at::get_num_threads();
  for (const int threads : {1, 2, 3}) {
    REQUIRE(set_threads(threads) == threads);
    for (const std::int64_t tasks : {0, 1, 2, 100}) {
      std::int64_t made = 0;
      const auto caller = std::this_thread::get_id();
      std::vector<std::atomic<int>> done(static_cast<std::size_t>(tasks));
      struct Memory {
        std::atomic<int>* users;
      };
      std::vector<std::atomic<int>> users(8);
      ops::on_threads_with(
          tasks,
          [&] {
            CHECK(std::this_thread::get_id() == caller);
            return Memory{&users[static_cast<std::size_t>(made++)]};
          },
          [&](std::int64_t task, Memory& memory) {
            if (++*memory.users != 1) std::abort();  // two threads with one memory
            ++done[static_cast<std::size_t>(task)];
            --*memory.users;
          });
      CHECK(made == std::min<std::int64_t>(tasks, threads));
      for (const auto& times : done) CHECK(times == 1);
    }
  }
  at::set_num_threads(before);
}
