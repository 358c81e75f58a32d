#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace lra {

/// Takes the examples of a source one by one: the class, the bytes of the sequence, and of a pair those of its second sequence. The views
/// live until the call returns.
using ExampleSink = std::function<void(std::int32_t label, std::string_view first, std::string_view second)>;

}  // namespace lra
