// Reformer's sorting by buckets.
#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <map>
#include <numeric>
#include <random>

#include "mixer_cases.h"
#include "ops/hash_rounds.h"

using namespace lra;
using namespace lra::testing;

namespace {

using Numbers = std::vector<std::int32_t>;

// A token meets those that have its bucket, in its own chunk of the sorted tokens and in the one before.
void check_sorting(const Numbers& bucket, std::int64_t buckets, std::int64_t chunk) {
  const auto n = static_cast<std::int64_t>(bucket.size());
  Numbers order(bucket.size()), own(bucket.size()), before(bucket.size());
  ops::sort_by_bucket(bucket, buckets, chunk, order.data(), own.data(), before.data());
  Numbers expected(bucket.size());
  std::iota(expected.begin(), expected.end(), 0);
  const auto of = [&](std::int32_t i) { return bucket[static_cast<std::size_t>(i)]; };
  std::stable_sort(expected.begin(), expected.end(), [&](std::int32_t a, std::int32_t b) { return of(a) < of(b); });
  CHECK(order == expected);
  std::map<std::pair<std::int64_t, std::int64_t>, std::int32_t> numbers;  // of bucket and chunk
  std::map<std::int32_t, std::pair<std::int64_t, std::int64_t>> parts;
  bool right = true;
  for (std::int64_t place = 0; place < n; ++place) {
    const std::int32_t i = expected[static_cast<std::size_t>(place)], number = own[static_cast<std::size_t>(i)];
    const std::pair<std::int64_t, std::int64_t> part(of(i), place / chunk);
    right = right && number >= 0 && numbers.try_emplace(part, number).first->second == number &&
            parts.try_emplace(number, part).first->second == part;
  }
  for (std::int64_t place = 0; place < n; ++place) {
    const std::int32_t i = expected[static_cast<std::size_t>(place)];
    const std::int64_t c = place / chunk;
    const auto found = numbers.find({of(i), c > 0 ? c - 1 : (n - 1) / chunk});
    const std::int32_t number = before[static_cast<std::size_t>(i)];
    right = right && (found == numbers.end() ? parts.count(number) == 0 : number == found->second);
  }
  CHECK(right);
}

Numbers random_buckets(std::int64_t n, std::int32_t buckets) {
  std::mt19937 generator(3);
  std::uniform_int_distribution<std::int32_t> draw(0, buckets - 1);
  Numbers bucket(static_cast<std::size_t>(n));
  for (auto& b : bucket) b = draw(generator);
  return bucket;
}

}  // namespace

TEST_CASE("Tokens are sorted by bucket, and meet their bucket's part in their own chunk and in the one before",
          "[mixers]") {
  for (const std::int64_t n : {1, 2, 7, 8, 61}) {
    for (const std::int32_t buckets : {1, 2, 5, 40}) {
      for (const std::int64_t chunk : {1, 3, 8, 64}) check_sorting(random_buckets(n, buckets), buckets, chunk);
    }
  }
}

TEST_CASE("Buckets and chunks of 200,000 tokens have numbers that an int32 holds", "[mixers]") {
  check_sorting(random_buckets(200000, 200000), 200000, 1);
}

TEST_CASE("Reformer hashes a long sequence some tokens at a time", "[mixers]") {
  MixerSpec spec = small_spec();
  spec.num_heads = 1;
  spec.max_length = 6000;
  const MixerCase one = mixer_case("reformer", {{"chunk", 1}, {"rounds", 1}});  // 6,000 x 3,000 products: two parts
  const at::Tensor x = random_input(6000, 8, 4);
  const at::NoGradGuard guard;
  const at::Tensor found = alone(*make_mixer(one, spec), x);
  spec.layout = "per_sequence";
  CHECK(largest_difference(found, alone(*make_mixer(one, spec), x)) < 1e-9);
}
