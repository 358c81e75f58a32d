#pragma once

#include <functional>

#include "ops/fused_layers.h"

namespace lra {

/// The two tensors that `function` makes of `in`, keeping nothing but `in` for the backward pass, which calls
/// `function` again: with the random numbers of the default generators and the autocast of this call. It must read
/// nothing else that changes in between. Gradients of what it uses besides `in` (parameters) are added to theirs at
/// once.
ops::SumAndNorm recomputed(const std::function<ops::SumAndNorm(const ops::SumAndNorm& in)>& function,
                           const ops::SumAndNorm& in);

}  // namespace lra
