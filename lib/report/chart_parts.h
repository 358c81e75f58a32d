#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace lra::report {

inline constexpr std::size_t most_names =
    40;  ///< in one plot, and fewer among very many; who has none is named on hover

/// "A; B; C"
std::string sentence_list(const std::vector<std::string>& items);

/// Adds "Not drawn: A, B (no speed measured); C (oom)."
void add_not_drawn(std::vector<std::string>& caption,
                   const std::vector<std::pair<std::string, std::string>>& not_drawn);

}  // namespace lra::report
