#pragma once

#include <functional>

#include "ops/fused_layers.h"

namespace lra {

/// Returns function(in) and stores only `in` for the backward pass, which calls `function` again with the same random
/// numbers and the same autocast. `function` must not read anything else that changes in between. Gradients of what it
/// uses besides `in` (parameters) are added to their .grad at once.
ops::SumAndNorm recomputed(const std::function<ops::SumAndNorm(const ops::SumAndNorm& in)>& function,
                           const ops::SumAndNorm& in);

}  // namespace lra
