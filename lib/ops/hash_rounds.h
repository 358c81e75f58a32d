#pragma once

#include <cstdint>
#include <span>

namespace lra::ops {

/// One round of HashRounds (packed_attention.h) for one sequence of n tokens and one head: tokens in the order of their
/// buckets, then of their places, in chunks of `chunk`; each meets its own bucket in its own chunk and in the chunk
/// before, the first chunk the last. `bucket` (n) below `buckets`; writes n numbers each.
void sort_by_bucket(std::span<const std::int32_t> bucket, std::int64_t buckets, std::int64_t chunk, std::int32_t* order,
                    std::int32_t* own, std::int32_t* before);

}  // namespace lra::ops
