#pragma once

#include <cstdint>
#include <span>

namespace lra::ops {

/// One round of HashRounds (packed_attention.h) for one sequence of n tokens and one head. Tokens are sorted by bucket,
/// then by place, and cut into chunks of `chunk` tokens. A token meets those of its own bucket in its own chunk and in
/// the chunk before; before the first chunk comes the last. `bucket` has n numbers below `buckets`. `order`, `own` and
/// `before` get n numbers each.
void sort_by_bucket(std::span<const std::int32_t> bucket, std::int64_t buckets, std::int64_t chunk, std::int32_t* order,
                    std::int32_t* own, std::int32_t* before);

}  // namespace lra::ops
