#pragma once

#include <cstdint>
#include <string>

namespace lra::memory {

/// Puts this unit's allocator in the place of LibTorch's for every CPU tensor made from now on; call it before the
/// first one. It counts the bytes that tensors ask for, refuses above a limit (`machine_limit`, until another is set),
/// and keeps freed blocks for reuse, since fresh memory is the CPU's bottleneck: the first write to a page is an order
/// of magnitude slower than writing to one that was used before. The environment's LRA_ALLOCATOR=system turns the reuse
/// off (the counting stays); "caching" is the default, all else an Error. Scratch memory inside oneDNN and MKL is
/// theirs and not counted. Calling it again does nothing.
void install();

/// "caching" or "system"; "torch" where `install` was not called.
std::string allocator_name();

/// Bytes requested by the CPU tensors that are alive, and the most there have been since the last `reset_peak`.
std::int64_t current_bytes();
std::int64_t peak_bytes();
void reset_peak();

/// From now on an allocation that would bring `current_bytes` above `bytes` throws c10::OutOfMemoryError with one
/// sentence, and what is held for reuse is given back before both together are above it. 0: no limit.
void set_limit(std::int64_t bytes);
std::int64_t limit();

/// What tensors may take where nobody says less: nine tenths of what this process may use of the machine. The rest is
/// for the program and its libraries.
std::int64_t machine_limit();

/// Bytes held for reuse, and giving them back to the system.
std::int64_t cached_bytes();
void release_cached();

/// The process's high-water mark of resident memory in bytes (VmHWM).
std::int64_t process_peak_bytes();

}  // namespace lra::memory
