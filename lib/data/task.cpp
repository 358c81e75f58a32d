#include "data/task.h"

#include "data/bytes.h"
#include "data/listops.h"

namespace lra {

const char* split_name(Split split) {
  constexpr const char* names[] = {"train", "valid", "test"};
  return names[static_cast<int>(split)];
}

Registry<TaskEntry>& task_registry() {
  // Listed here, not registered by their own files: the linker drops files of a static library that nobody names.
  static Registry<TaskEntry> registry = [] {
    Registry<TaskEntry> tasks("task");
    tasks.add("bytes", {"random bytes of exactly seq_len tokens, in memory, for timing", make_bytes_task});
    tasks.add("listops", {"nested MIN, MAX, MED, SM of digits; 10 classes, up to 2,000 tokens", make_listops_task});
    return tasks;
  }();
  return registry;
}

}  // namespace lra
