#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "train/memory.h"

namespace memory = lra::memory;

namespace {
thread_local bool nothing_left = false;
}

// For all of this program.
void* operator new(std::size_t bytes) {
  void* const memory = nothing_left ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

TEST_CASE("the allocator counts what live tensors asked for, to the byte", "[train][memory]") {
  memory::install();
  const auto before = memory::current_bytes();
  memory::reset_peak();
  {
    const at::Tensor a = at::empty({1000, 3}, at::kFloat);
    CHECK(memory::current_bytes() == before + 12000);
    {
      const at::Tensor b = at::empty({7}, at::kByte);
      const at::Tensor c = at::empty({1 << 20}, at::kDouble);
      CHECK(memory::current_bytes() == before + 12000 + 7 + (8 << 20));
      const at::Tensor view = c.narrow(0, 0, 5);
      const at::Tensor nothing = at::empty({0}, at::kFloat);
      CHECK(memory::current_bytes() == before + 12000 + 7 + (8 << 20));
    }
    CHECK(memory::current_bytes() == before + 12000);
    CHECK(memory::peak_bytes() == before + 12000 + 7 + (8 << 20));
    memory::reset_peak();
    CHECK(memory::peak_bytes() == before + 12000);
  }
  CHECK(memory::current_bytes() == before);
  CHECK(memory::process_peak_bytes() > (8 << 20));
}

TEST_CASE("the allocator refuses above its limit and goes on below it", "[train][memory]") {
  memory::install();
  const auto before = memory::current_bytes(), limit = memory::limit();
  memory::set_limit(before + 1000000);
  CHECK_NOTHROW(at::empty({1000000}, at::kByte));
  bool refused = false;
  try {
    at::empty({1000001}, at::kByte);
  } catch (const c10::OutOfMemoryError& error) {
    refused = true;
    CHECK_THAT(error.what_without_backtrace(), Catch::Matchers::ContainsSubstring("above the memory limit of"));
  }
  memory::set_limit(0);
  CHECK(refused);
  CHECK(memory::current_bytes() == before);
  CHECK_NOTHROW(at::empty({1000001}, at::kByte));
  // More than any address space: the system's own refusal.
  CHECK_THROWS_AS(at::empty({std::int64_t{1} << 47}, at::kByte), c10::OutOfMemoryError);
  CHECK(memory::current_bytes() == before);
  memory::set_limit(limit);
}

TEST_CASE("the allocator uses freed blocks again, also for somewhat smaller tensors, and gives them back on demand",
          "[train][memory]") {
  memory::install();
  if (memory::allocator_name() != "caching") SKIP("LRA_ALLOCATOR=system");
  memory::release_cached();
  CHECK(memory::cached_bytes() == 0);
  at::Tensor tensor = at::zeros({3 << 20}, at::kByte);
  const void* place = tensor.data_ptr();
  tensor.reset();
  CHECK(memory::cached_bytes() >= (3 << 20));
  tensor = at::empty({(3 << 20) - 500000}, at::kByte);
  CHECK(tensor.data_ptr() == place);
  CHECK(memory::cached_bytes() == 0);
  CHECK(at::empty({1 << 20}, at::kByte).data_ptr() != place);
  tensor.reset();
  memory::release_cached();
  CHECK(memory::cached_bytes() == 0);
}

TEST_CASE("the cache is bounded by what tensors once took together", "[train][memory]") {
  memory::install();
  memory::release_cached();
  const std::int64_t bound = 2 * memory::peak_bytes() + (100 << 20);
  memory::reset_peak();
  // Many sizes one after another, each too large for the blocks before it.
  for (std::int64_t size = 1 << 20; size < 80 << 20; size += size / 2) at::empty({size}, at::kByte);
  CHECK(memory::cached_bytes() <= std::max(bound, 2 * memory::peak_bytes() + (64 << 20)));
  memory::release_cached();
}

TEST_CASE("tensors and what is kept for their reuse stay below the limit together", "[train][memory]") {
  memory::install();
  memory::release_cached();
  const auto before = memory::limit();
  const std::int64_t limit = memory::current_bytes() + (100 << 20);
  memory::set_limit(limit);
  const auto together = [] { return memory::current_bytes() + memory::cached_bytes(); };
  at::empty({60 << 20}, at::kByte);  // freed at once
  at::Tensor large = at::empty({90 << 20}, at::kByte);
  CHECK(together() <= limit);
  std::vector<at::Tensor> small;
  for (int i = 0; i < 300; ++i) small.push_back(at::empty({30000}, at::kByte));  // such small ones are never kept
  CHECK(together() <= limit);
  small.clear();
  large.reset();
  CHECK(together() <= limit);
  // Freeing a block that is larger than what was asked for must not bring both above it.
  at::empty({96 << 20}, at::kByte);
  large = at::empty({97 << 20}, at::kByte);
  large.reset();
  CHECK(together() <= limit);
  // What is refused leaves nothing in the cache: the program may need it for something else.
  at::empty({20 << 20}, at::kByte);
  CHECK_THROWS_AS(at::empty({101 << 20}, at::kByte), c10::OutOfMemoryError);
  CHECK(memory::cached_bytes() == 0);
  memory::set_limit(before);
}

TEST_CASE("tensors are freed where no memory is left for anything", "[train][memory]") {
  memory::install();
  memory::release_cached();
  std::vector<at::Tensor> tensors;
  for (std::int64_t i = 0; i < 5000; ++i) tensors.push_back(at::empty({40000 + 10 * i}, at::kByte));
  const auto before = memory::current_bytes();
  nothing_left = true;  // operator new throws: a deleter that needed it would end the program
  for (auto& tensor : tensors) tensor.reset();
  nothing_left = false;
  CHECK(memory::current_bytes() < before);
  memory::release_cached();
}

TEST_CASE("raw allocation works and is aligned", "[train][memory]") {
  memory::install();
  auto* allocator = c10::GetCPUAllocator();
  const auto before = memory::current_bytes();
  for (const std::size_t size : {1U, 63U, 64U, 5000U, 40000U, 3U << 20}) {
    void* data = allocator->raw_allocate(size);
    CHECK(reinterpret_cast<std::uintptr_t>(data) % 64 == 0);
    std::memset(data, 1, size);
    CHECK(memory::current_bytes() == before + static_cast<std::int64_t>(size));
    allocator->raw_deallocate(data);
  }
  CHECK(memory::current_bytes() == before);
}

TEST_CASE("threads may allocate and free each other's tensors", "[train][memory]") {
  memory::install();
  const auto before = memory::current_bytes();
  std::vector<std::vector<at::Tensor>> left(4);
  std::vector<int> spoiled(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < left.size(); ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 2000; ++i) {
        const auto size = static_cast<std::int64_t>(1 + random() % (i % 100 == 0 ? 4000000 : 100000));
        at::Tensor tensor = at::empty({size}, at::kByte);
        auto* data = tensor.mutable_data_ptr<std::uint8_t>();
        data[0] = data[size - 1] = static_cast<std::uint8_t>(t);
        left[t].push_back(tensor);
        if (left[t].size() > 8) {
          const at::Tensor& old = left[t][random() % left[t].size()];
          const auto* values = old.const_data_ptr<std::uint8_t>();
          spoiled[t] += values[0] != t || values[old.numel() - 1] != t;
          left[t].erase(left[t].begin() + static_cast<std::ptrdiff_t>(random() % left[t].size()));
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(spoiled == std::vector<int>(4, 0));  // no block was given to two tensors
  left.clear();
  CHECK(memory::current_bytes() == before);
  memory::release_cached();
}
