#pragma once

#include <memory>

#include "data/task.h"

namespace lra {

/// Random bytes of exactly `seq_len` tokens with random labels, made on demand: for timing, nothing can be learnt.
std::unique_ptr<Task> make_bytes_task();

}  // namespace lra
