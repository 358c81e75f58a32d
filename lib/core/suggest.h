#pragma once

#include <string>
#include <vector>

namespace lra {

/// "did you mean 'x'?" for the nearest of `known` (edit distance), else "known: a, b, c".
std::string suggestion(const std::string& given, const std::vector<std::string>& known);

}  // namespace lra
