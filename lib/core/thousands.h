#pragma once

#include <cstdint>
#include <string>

namespace lra {

/// 25000 as "25,000".
std::string with_commas(std::int64_t number);

}  // namespace lra
