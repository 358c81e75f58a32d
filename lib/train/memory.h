#pragma once

#include <cstdint>
#include <string>

namespace lra::memory {

/// Replaces LibTorch's CPU allocator by ours; call it before the first tensor is made. Ours counts the bytes that
/// tensors ask for, refuses to exceed a limit (`machine_limit`, until another is set), and keeps freed blocks for
/// reuse. Reuse matters because the first write to a fresh page is ten times as slow as writing to a used one. The
/// environment's LRA_ALLOCATOR=system turns the reuse off (the counting stays); "caching" is the default, all else an
/// Error. Scratch memory inside oneDNN and MKL is theirs and not counted. Calling it again does nothing.
void install();

/// "caching" or "system"; "torch" where `install` was not called.
std::string allocator_name();

/// Bytes requested by the CPU tensors that are alive, and the most there have been since the last `reset_peak`.
std::int64_t current_bytes();
std::int64_t peak_bytes();
void reset_peak();

/// An allocation that would bring `current_bytes` above `bytes` throws c10::OutOfMemoryError with one sentence. Blocks
/// kept for reuse count too: they are given back before the sum exceeds the limit. 0: no limit.
void set_limit(std::int64_t bytes);
std::int64_t limit();

/// The default limit: nine tenths of the memory that this process may use. The rest is for the program and its
/// libraries.
std::int64_t machine_limit();

/// Bytes held for reuse, and giving them back to the system.
std::int64_t cached_bytes();
void release_cached();

/// The process's high-water mark of resident memory in bytes (VmHWM).
std::int64_t process_peak_bytes();

}  // namespace lra::memory
