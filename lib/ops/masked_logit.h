#pragma once

namespace lra {

/// The logit of a key that must not be seen. Finite, so that a row without any key gives numbers that can be ignored
/// instead of NaN.
inline constexpr double masked_logit = -1e30;

}  // namespace lra
