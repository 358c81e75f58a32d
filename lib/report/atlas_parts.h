#pragma once

#include <string>

#include "report/atlas.h"

namespace lra::report {

// What the atlas's pictures and its page have in common.

/// Pixels of a map about `about` wide: whole ones for each token, so that thin stripes look alike.
double map_pixels(std::int64_t n, double about);

/// "2 layers", or what is known where that many were not enough.
std::string layers_text(const std::optional<std::int64_t>& layers, std::int64_t tried);

/// Null where the cost was not computed at this length.
const AtlasCost* cost_at(const AtlasMixer& mixer, std::int64_t n);

}  // namespace lra::report
