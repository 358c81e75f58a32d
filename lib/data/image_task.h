#pragma once

#include <memory>

#include "data/task.h"

namespace lra {

/// `image`: CIFAR-10 (Krizhevsky 2009) in grey, pixel by pixel. Of the official training batches, in their order, the
/// last tenth is valid (LRA splits by TensorFlow Datasets' order, which is another).
std::unique_ptr<Task> make_image_task();

/// `image_standin`: Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) in a frame of two black pixels, split likewise;
/// Debian packages it.
std::unique_ptr<Task> make_image_standin_task();

}  // namespace lra
