#pragma once

#include <filesystem>
#include <string>

#include "data/source.h"

/// The IDX files of MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017), gzip'ed or not.
namespace lra {

/// The folder with Fashion-MNIST's four files, all with or all without .gz, as find_folder() finds it, or each with or
/// without it in `from` itself; where Debian's package puts them if `from` is empty. Throws Error that names what is
/// missing.
std::filesystem::path find_fashion_mnist(const std::filesystem::path& from);

/// folder / name or folder / (name + ".gz"), whichever is there. Throws Error.
std::filesystem::path idx_file(const std::filesystem::path& folder, const std::string& name);

/// Reads pictures of 28x28 bytes and their labels 0-9. Gives 32x32 bytes, row by row: the picture between two black
/// pixels on each side. Throws Error "FILE: byte N: ..." (from 0, decompressed) or "FILE: ..." for another format, for
/// counts that differ, for a label out of range and for files that end too early or go on.
void read_idx(const std::filesystem::path& images, const std::filesystem::path& labels, const ExampleSink& sink);

}  // namespace lra
