#include "data/task.h"

#include "data/bytes.h"
#include "data/image_task.h"
#include "data/listops.h"
#include "data/pathfinder_task.h"
#include "data/retrieval_task.h"
#include "data/text_task.h"

namespace lra {

const char* split_name(Split split) {
  constexpr const char* names[] = {"train", "valid", "test"};
  return names[static_cast<int>(split)];
}

Registry<TaskEntry>& task_registry() {
  // Listed here, not registered by their own files: the linker drops files of a static library that nobody names.
  static Registry<TaskEntry> registry = [] {
    Registry<TaskEntry> tasks("task");
    const auto add = [&]<class Options>(const char* name, std::unique_ptr<Task> (*make)(), Options) {
      tasks.add(name, {make, resolve_options<Options>, options_schema<Options>});
    };
    add("bytes", make_bytes_task, NoOptions());
    add("listops", make_listops_task, ListopsOptions());
    add("text", make_text_task, TextOptions());
    add("text_standin", make_text_standin_task, NoOptions());
    add("retrieval", make_retrieval_task, NoOptions());
    add("retrieval_standin", make_retrieval_standin_task, NoOptions());
    add("image", make_image_task, NoOptions());
    add("image_standin", make_image_standin_task, NoOptions());
    add("pathfinder", make_pathfinder_task<32>, NoOptions());
    add("pathfinder_standin", make_pathfinder_standin_task<32>, NoOptions());
    add("pathfinder64", make_pathfinder_task<64>, NoOptions());
    add("pathfinder64_standin", make_pathfinder_standin_task<64>, NoOptions());
    add("pathx", make_pathfinder_task<128>, NoOptions());
    add("pathx_standin", make_pathfinder_standin_task<128>, NoOptions());
    add("pathfinder256", make_pathfinder_task<256>, NoOptions());
    add("pathfinder256_standin", make_pathfinder_standin_task<256>, NoOptions());
    return tasks;
  }();
  return registry;
}

}  // namespace lra
