#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace lra::ops {

/// Calls work(for_each_task) on all threads of at::parallel_for, which each take the next of the tasks 0 .. tasks - 1 when they have done one: tasks may differ in
/// size, and work has its thread's memory outside for_each_task(do_task).
template <class Work>
void on_threads(std::int64_t tasks, const Work& work) {
  std::atomic<std::int64_t> next{0};
  at::parallel_for(0, std::min<std::int64_t>(at::get_num_threads(), tasks), 1, [&](std::int64_t, std::int64_t) {
    work([&](const auto& do_task) {
      for (std::int64_t task = next++; task < tasks; task = next++) do_task(task);
    });
  });
}

}  // namespace lra::ops
