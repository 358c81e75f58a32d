#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/CPUAllocator.h>
#include <torch/autograd.h>
#include <torch/utils.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/host_info.h"
#include "mixers/mixer.h"
#include "model/encoder.h"
#include "ops/linear_in_order.h"
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
  CHECK(chosen_threads(small("train", 16), 30) == 1);  // short ListOps
  CHECK(chosen_threads(small("train", 64), 32) == 1);  // the quick start
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
  for (const auto& [text, number] :
       {std::pair{" 1,4", 1}, {"100000", cores}, {"0", cores}, {"-1", cores}, {"many", cores}, {"", cores}}) {
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

TEST_CASE("Gradients of the encoder have the same bits with any number of threads", "[ops]") {
  const int before = at::get_num_threads();
  ModelConfig model;
  model.num_layers = 2;
  model.d_model = 32;
  model.d_ff = 48;
  model.num_heads = 2;
  model.attention_dropout = 0;
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < 48; ++i) lengths.push_back(20 + 7 * i % 60);
  const SequenceLayout layout(lengths);
  torch::manual_seed(3);
  const at::Tensor x = at::randn({layout.tokens(), 32}), direction = at::randn_like(x);
  for (const char* mixer : {"none", "linear", "flash", "fnet", "local"}) {
    for (const double dropout : {0.0, 0.1}) {
      INFO(mixer << ", dropout " << dropout);
      model.mixer = mixer;
      model.dropout = dropout;
      model.mixer_options = mixer_registry().at(mixer).resolve(LayeredJson(), "");
      std::vector<std::vector<at::Tensor>> found;
      for (const int threads : {1, 2, 3}) {
        set_threads(threads);
        torch::manual_seed(4);
        Encoder encoder(model, 100, 17, 5);
        encoder.train();
        const at::Tensor in = x.detach().requires_grad_(true);
        (encoder.forward(in, layout, {}) * direction).sum().backward();
        found.push_back({in.grad()});
        for (const auto& parameter : encoder.parameters()) {
          if (parameter.grad().defined()) found.back().push_back(parameter.grad());
        }
      }
      for (std::size_t i = 0; i < found[0].size(); ++i) {
        CHECK(at::equal(found[0][i], found[1][i]));
        CHECK(at::equal(found[0][i], found[2][i]));
      }
    }
  }
  at::set_num_threads(before);
}

namespace {

/// LibTorch's allocator, which counts what other threads than its maker's ask for.
class Watched : public c10::Allocator {
 public:
  Watched() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this); }
  ~Watched() override { c10::SetCPUAllocator(before_); }
  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes > 0 && std::this_thread::get_id() != maker_) ++by_others;
    return before_->allocate(bytes);
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { before_->copy_data(to, from, bytes); }
  std::atomic<int> by_others = 0;

 private:
  c10::Allocator* const before_;
  const std::thread::id maker_ = std::this_thread::get_id();
};

}  // namespace

TEST_CASE("Kernels ask for no tensors on other threads, whose overlap would change the peak of the tensors' bytes",
          "[ops]") {
  const int before = at::get_num_threads();
  ModelConfig model;
  model.num_layers = 2;
  model.d_model = 64;
  model.d_ff = 128;
  model.num_heads = 2;
  const SequenceLayout layout(std::vector<std::int64_t>(20, 50));
  torch::manual_seed(3);
  for (const char* mixer :
       {"none", "linear", "performer", "flash", "local", "sinkhorn", "routing", "reformer", "fnet"}) {
    INFO(mixer);
    model.mixer = mixer;
    model.mixer_options = mixer_registry().at(mixer).resolve(LayeredJson(), "");
    set_threads(2);
    Encoder encoder(model, 50, 17, 5);
    encoder.train();
    const at::Tensor x = at::randn({layout.tokens(), 64}).requires_grad_(true);
    Watched allocator;
    encoder.forward(x, layout, {}).sum().backward();
    CHECK(allocator.by_others == 0);
  }
  at::set_num_threads(before);
}

TEST_CASE("A linear map whose gradient is added up in order is the linear map", "[ops]") {
  torch::manual_seed(8);
  for (const auto type : {at::kDouble, at::kFloat}) {
    const std::vector<at::Tensor> in{at::randn({37, 20}, type).requires_grad_(true),
                                     at::randn({10, 20}, type).requires_grad_(true),
                                     at::randn({10}, type).requires_grad_(true)};
    const at::Tensor direction = at::randn({37, 10}, type), expected = at::linear(in[0], in[1], in[2]),
                     found = ops::linear_in_order(in[0], in[1], in[2]);
    CHECK(at::equal(found, expected));
    const auto wanted = torch::autograd::grad({expected}, in, {direction}),
               gradients = torch::autograd::grad({found}, in, {direction});
    for (std::size_t i = 0; i < 3; ++i)
      CHECK(at::allclose(gradients[i], wanted[i], type == at::kDouble ? 1e-12 : 1e-5, 1e-5));
  }
}
