#include "ops/hash_rounds.h"

#include <algorithm>
#include <vector>

namespace lra::ops {

void sort_by_bucket(std::span<const std::int32_t> bucket, std::int64_t buckets, std::int64_t chunk, std::int32_t* order,
                    std::int32_t* own, std::int32_t* before) {
  const auto n = static_cast<std::int64_t>(bucket.size());
  std::vector<std::int64_t> starts(static_cast<std::size_t>(buckets) + 1, 0);  // of the buckets in the order
  for (const auto b : bucket) ++starts[static_cast<std::size_t>(b) + 1];
  for (std::size_t b = 1; b < starts.size(); ++b) starts[b] += starts[b - 1];
  std::vector<std::int64_t> next(starts.begin(), starts.end() - 1);
  // A bucket's part in a chunk is named by its first place: below n, where a number made of bucket and chunk could be
  // n².
  const auto part = [&](std::size_t b, std::int64_t c) {
    const std::int64_t first = std::max(starts[b], c * chunk), last = std::min(starts[b + 1], (c + 1) * chunk);
    return static_cast<std::int32_t>(first < last ? first : -1);
  };
  const std::int64_t last_chunk = (n - 1) / chunk;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto b = static_cast<std::size_t>(bucket[static_cast<std::size_t>(i)]);
    const std::int64_t place = next[b]++, c = place / chunk;
    order[place] = static_cast<std::int32_t>(i);
    own[i] = part(b, c);
    before[i] = part(b, c > 0 ? c - 1 : last_chunk);
  }
}

}  // namespace lra::ops
