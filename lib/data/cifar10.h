#pragma once

#include <cstdint>
#include <filesystem>

#include "data/source.h"

/// CIFAR-10 (Krizhevsky 2009), the binary version, in grey as the Long Range Arena has it.
namespace lra {

/// The folder with data_batch_1.bin ... data_batch_5.bin and test_batch.bin, as find_folder() finds it. Throws Error
/// that says so for the Python version.
std::filesystem::path find_cifar10(const std::filesystem::path& from);

/// The grey value of a colour as TensorFlow's rgb_to_grayscale makes it of 8-bit colours, in float32 throughout: each
/// channel times 1/255, then times its weight (0.2989, 0.5870, 0.1140), red + green + blue added in this order, times
/// 255.5, cut to an integer.
std::uint8_t grey_of(std::uint8_t red, std::uint8_t green, std::uint8_t blue);

/// Reads records of 3073 bytes: a label 0-9, then 32x32 of red, of green and of blue, row by row (an official file has
/// 10,000). Gives the 1024 grey values row by row. Throws Error "FILE: ..." for another file size, "FILE: record N:
/// ..." (from 1) for another label.
void read_cifar10_batch(const std::filesystem::path& file, const ExampleSink& sink);

}  // namespace lra
