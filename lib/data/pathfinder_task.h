#pragma once

#include <memory>

#include "data/task.h"

namespace lra {

/// Pathfinder (Linsley et al. 2018, arXiv 1805.08315; Houlsby et al. for LRA) with pictures of 32, 64, 128 (Path-X) or
/// 256 pixels a side, the hard ones (contours of 14 paddles), split 80/10/10 at random by `prepare --seed`: the
/// official split follows TensorFlow Datasets' order, which the files do not tell.
template <int side>
std::unique_ptr<Task> make_pathfinder_task();

/// The same from our own generator (pathfinder_generator.h), in the official layout.
template <int side>
std::unique_ptr<Task> make_pathfinder_standin_task();

}  // namespace lra
