#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/ScalarType.h>

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

/// Calls work(task, scratch) for all tasks; each thread has `scratch_size` numbers of T.
template <class T, class Work>
void on_threads(std::int64_t tasks, std::int64_t scratch_size, const Work& work) {
  on_threads(tasks, [&](const auto& for_each_task) {
    const at::Tensor scratch = at::empty({scratch_size}, c10::CppTypeToScalarType<T>::value);
    for_each_task([&](std::int64_t task) { work(task, scratch.template mutable_data_ptr<T>()); });
  });
}

}  // namespace lra::ops
