#include "core/thousands.h"

#include <cstddef>

namespace lra {

std::string with_commas(std::int64_t number) {
  const std::size_t sign = number < 0 ? 1 : 0;
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > sign + 3;) text.insert(at -= 3, ",");
  return text;
}

}  // namespace lra
