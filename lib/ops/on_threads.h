#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lra::ops {

/// Calls work(task, memory) for the tasks 0 .. tasks - 1 on all threads of at::parallel_for. A thread takes the next
/// task when it has finished one, so tasks may differ in size. make_memory() makes the memory of one thread. The
/// calling thread makes all of it. Otherwise the measured peak of memory would depend on timing.
template <class Make, class Work>
void on_threads_with(std::int64_t tasks, const Make& make_memory, const Work& work) {
  const std::int64_t threads = std::min<std::int64_t>(at::get_num_threads(), tasks);
  std::vector<decltype(make_memory())> memory;
  memory.reserve(static_cast<std::size_t>(threads));
  for (std::int64_t thread = 0; thread < threads; ++thread) memory.push_back(make_memory());
  std::atomic<std::int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](std::int64_t thread, std::int64_t) {
    for (std::int64_t task = next++; task < tasks; task = next++) work(task, memory[static_cast<std::size_t>(thread)]);
  });
}

/// Calls work(task, scratch) for all tasks; each thread has `scratch_size` numbers of T.
template <class T, class Work>
void on_threads(std::int64_t tasks, std::int64_t scratch_size, const Work& work) {
  const auto make_scratch = [&] { return at::empty({scratch_size}, c10::CppTypeToScalarType<T>::value); };
  on_threads_with(tasks, make_scratch, [&](std::int64_t task, const at::Tensor& scratch) {
    work(task, scratch.template mutable_data_ptr<T>());
  });
}

}  // namespace lra::ops
