#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lra {

/// A table for the console: the first `left` columns and the last are aligned to the left, the numbers between them to
/// the right. All rows have as many cells.
std::string columns(std::vector<std::vector<std::string>> rows, std::size_t left);

}  // namespace lra
