#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace lra {

/// Takes the examples of a source one by one: the class, the bytes of the sequence, and of a pair those of its second
/// sequence. The views live until the call returns.
using ExampleSink = std::function<void(std::int32_t label, std::string_view first, std::string_view second)>;

/// The whole of a file of a source, which has at most `largest` bytes: a sparse file of 8 GB must not fill the memory.
/// Throws Error.
std::string read_source_file(const std::filesystem::path& file, std::uintmax_t largest = 64 << 20);

}  // namespace lra
