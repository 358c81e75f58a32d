// The mixers with fixed patterns and those with mixed heads, against computations number by number with the pattern as
// a condition.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <set>

#include "core/error.h"
#include "mixer_cases.h"
#include "ops/block_sparse_attention.h"

using namespace lra;
using namespace lra::testing;

namespace {

constexpr double exact = 1e-9;

// Softmax weights where `sees(h, i, j)` holds.
template <class Sees>
at::Tensor masked_attention(const Mixer& mixer, const MixerSpec& spec, const at::Tensor& x, Sees sees) {
  return attention_by_hand(mixer, spec, x,
                           [&](std::int64_t h, std::int64_t i, std::int64_t j, const double* q, const double* k,
                               std::int64_t d) { return sees(h, i, j) ? softmax_weight(q, k, d) : 0.0; });
}

template <class Sees>
void check_pattern(const MixerCase& one, std::int64_t n, Sees sees, const MixerSpec& spec = small_spec()) {
  INFO(one.name() << ", n " << n);
  const auto mixer = make_mixer(one, spec);
  const at::Tensor x = random_input(n, 8, 21) * 2;
  CHECK(largest_difference(alone(*mixer, x), masked_attention(*mixer, spec, x, sees)) < exact);
}

void check_equal_to_softmax(const MixerCase& one, std::int64_t n) {
  INFO(one.name() << ", n " << n);
  const auto mixer = make_mixer(one, small_spec());
  const auto softmax = make_mixer(mixer_case("softmax"), small_spec());
  copy_parameters(*mixer, *softmax);
  const at::Tensor x = random_input(n, 8, 22) * 2;
  CHECK(largest_difference(alone(*mixer, x), alone(*softmax, x)) < exact);
}

const std::vector<std::int64_t> lengths = {1, 2, 7, 16, 33, 48};

}  // namespace

TEST_CASE("Strided attention sees every stride-th key around the query", "[mixers]") {
  for (const std::int64_t n : lengths) {
    for (const std::int64_t stride : {1, 2, 5, 60}) {
      for (const std::int64_t window : {0, 1, 3, 50}) {
        check_pattern(mixer_case("strided", {{"stride", stride}, {"window", window}}), n,
                      [&](auto, std::int64_t i, std::int64_t j) {
                        return (i - j) % stride == 0 && std::abs(i - j) <= stride * window;
                      });
      }
    }
    check_equal_to_softmax(mixer_case("strided", {{"stride", 1}, {"window", n}}), n);
  }
}

TEST_CASE("Existing special tokens see all and are seen by all", "[mixers]") {
  for (const std::int64_t n : lengths) {
    for (const std::int64_t count : {1, 3, 47}) {
      check_pattern(mixer_case("global", {{"count", count}}), n,
                    [&](auto, std::int64_t i, std::int64_t j) { return i < count || j < count || i == j; });
    }
    check_equal_to_softmax(mixer_case("global", {{"count", n}}), n);
  }
}

TEST_CASE("Special tokens can be those with listed ids, as many as each sequence has", "[mixers]") {
  const MixerCase one = mixer_case("global", {{"token_ids", {4, 7}}});
  const at::Tensor x = random_input(28, 8, 23);
  const at::Tensor ids = at::tensor(
      {1, 4, 2, 7, 4, 9, 1, 3, /**/ 1, 2, 3, 1, 1, /**/ 7, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4}, at::kLong);
  for (const std::string how : {"per_sequence", "padded"}) {
    INFO(how);
    MixerSpec spec = small_spec();
    spec.layout = how;
    const auto mixer = make_mixer(one, spec);
    SequenceLayout layout({8, 5, 15});
    layout.set_token_ids(ids);
    const at::Tensor together = mixer->forward(x, layout);
    for (std::int64_t b = 0; b < 3; ++b) {
      const auto special = [&](std::int64_t place) {
        const auto id = ids[layout.offset(b) + place].item<std::int64_t>();
        return id == 4 || id == 7;
      };
      const at::Tensor mine = x.narrow(0, layout.offset(b), layout.length(b));
      const at::Tensor expected = masked_attention(
          *mixer, spec, mine, [&](auto, std::int64_t i, std::int64_t j) { return special(i) || special(j) || i == j; });
      CHECK(largest_difference(together.narrow(0, layout.offset(b), layout.length(b)), expected) < exact);
    }
  }
}

TEST_CASE("Added special tokens read the sequence, then every token sees them and itself", "[mixers]") {
  const MixerSpec spec = small_spec();
  const auto mixer = make_mixer(mixer_case("global", {{"tokens", "added"}, {"count", 3}}), spec);
  const at::Tensor x = random_input(11, 8, 24);
  const auto project = [&](const std::string& name, const at::Tensor& rows) {
    return at::linear(rows, parameter(*mixer, name + ".weight"), parameter(*mixer, name + ".bias"));
  };
  const auto head = [](const at::Tensor& rows, std::int64_t h) { return rows.narrow(1, 4 * h, 4); };
  const auto weights = [](const at::Tensor& q, const at::Tensor& k) { return at::mm(q, k.t()) / 2.0; };
  std::vector<at::Tensor> read;
  for (std::int64_t h = 0; h < 2; ++h) {
    read.push_back(at::mm(
        at::softmax(weights(head(project("query", parameter(*mixer, "tokens")), h), head(project("key", x), h)), 1),
        head(project("value", x), h)));
  }
  const at::Tensor states = project("output", at::cat(read, 1));
  std::vector<at::Tensor> mixed;
  for (std::int64_t h = 0; h < 2; ++h) {
    const at::Tensor q = head(project("query", x), h), keys = head(project("key", states), h),
                     own = head(project("key", x), h);
    const at::Tensor all = at::softmax(at::cat({weights(q, keys), (q * own).sum(1, true) / 2.0}, 1), 1);
    mixed.push_back(at::mm(all.narrow(1, 0, 3), head(project("value", states), h)) +
                    all.narrow(1, 3, 1) * head(project("value", x), h));
  }
  CHECK(largest_difference(alone(*mixer, x), project("output", at::cat(mixed, 1))) < exact);
}

TEST_CASE("Sparse Transformer's heads see near and far keys, each once", "[mixers]") {
  for (const std::int64_t n : lengths) {
    for (const auto& [block, columns] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{4, 1}, {5, 3}, {7, 7}, {20, 2}, {60, 60}}) {
      const auto near = [&](std::int64_t i, std::int64_t j) { return i / block == j / block; };
      const auto far = [&](std::int64_t i, std::int64_t j) { return j % block >= block - columns || i == j; };
      Json options = {{"pattern", "fixed"}, {"block", block}, {"columns", columns}};
      check_pattern(mixer_case("sparse", options), n,
                    [&](std::int64_t h, std::int64_t i, std::int64_t j) { return h == 0 ? near(i, j) : far(i, j); });
      options["merged"] = true;
      check_pattern(mixer_case("sparse", options), n,
                    [&](auto, std::int64_t i, std::int64_t j) { return near(i, j) || far(i, j); });
      const auto window = [&](std::int64_t i, std::int64_t j) { return std::abs(i - j) <= block; };
      const auto column = [&](std::int64_t i, std::int64_t j) { return (i - j) % block == 0; };
      options = {{"pattern", "strided"}, {"block", block}, {"columns", columns}};
      check_pattern(mixer_case("sparse", options), n, [&](std::int64_t h, std::int64_t i, std::int64_t j) {
        return h == 0 ? window(i, j) : column(i, j);
      });
      options["merged"] = true;
      check_pattern(mixer_case("sparse", options), n,
                    [&](auto, std::int64_t i, std::int64_t j) { return window(i, j) || column(i, j); });
    }
    check_equal_to_softmax(mixer_case("sparse", {{"block", n}, {"columns", n}}), n);
  }
  MixerSpec three = small_spec();
  three.d_qkv = 6;
  three.num_heads = 3;
  check_pattern(
      mixer_case("sparse", {{"block", 4}, {"columns", 1}}), 19,
      [](std::int64_t h, std::int64_t i, std::int64_t j) { return h < 2 ? i / 4 == j / 4 : j % 4 == 3 || i == j; },
      three);
  MixerSpec one = small_spec();
  one.num_heads = 1;
  CHECK_THROWS_AS(make_mixer(mixer_case("sparse"), one), Error);
  CHECK_THROWS_AS(make_mixer(mixer_case("sparse", {{"block", 4}, {"columns", 5}}), small_spec()), Error);
}

TEST_CASE(
    "Longformer's ordinary tokens see their window and the global tokens, global ones see all by their own projections",
    "[mixers]") {
  const MixerSpec spec = small_spec();
  for (const std::int64_t n : lengths) {
    for (const std::int64_t global : {0, 1, 5}) {
      for (const std::int64_t dilated : {0, 1, 2}) {
        const MixerCase one = mixer_case(
            "longformer",
            {{"window", 2}, {"dilation", dilated > 0 ? 3 : 1}, {"dilated_heads", dilated}, {"global_tokens", global}});
        INFO(one.name() << ", n " << n);
        const auto mixer = make_mixer(one, spec);
        const at::Tensor x = random_input(n, 8, 25) * 2;
        at::Tensor expected = masked_attention(*mixer, spec, x, [&](std::int64_t h, std::int64_t i, std::int64_t j) {
          const std::int64_t step = h >= 2 - dilated ? 3 : 1;
          return j < global || ((i - j) % step == 0 && std::abs(i - j) <= 2 * step);
        });
        if (global > 0) {
          const auto rows = make_mixer(mixer_case("softmax"), spec);
          for (const std::string name : {"query", "key", "value"}) {
            for (const std::string part : {".weight", ".bias"})
              set(*rows, name + part, parameter(*mixer, name + "_global" + part));
          }
          set(*rows, "output.weight", parameter(*mixer, "output.weight"));
          set(*rows, "output.bias", parameter(*mixer, "output.bias"));
          const std::int64_t first = std::min(global, n);
          expected = at::cat({alone(*rows, x).narrow(0, 0, first), expected.narrow(0, first, n - first)});
        }
        CHECK(largest_difference(alone(*mixer, x), expected) < exact);
      }
    }
    check_equal_to_softmax(mixer_case("longformer", {{"window", n}, {"global_tokens", 0}}), n);
    const auto copied = make_mixer(mixer_case("longformer", {{"window", n}, {"global_tokens", 2}}), spec);
    for (const std::string name : {"query", "key", "value"}) {
      for (const std::string part : {".weight", ".bias"})
        set(*copied, name + "_global" + part, parameter(*copied, name + part));
    }
    const auto softmax = make_mixer(mixer_case("softmax"), spec);
    copy_parameters(*copied, *softmax);
    const at::Tensor x = random_input(n, 8, 26);
    CHECK(largest_difference(alone(*copied, x), alone(*softmax, x)) < exact);
  }
}

TEST_CASE("BigBird sees neighbouring, global and random blocks, each once", "[mixers]") {
  const MixerSpec spec = small_spec();
  for (const std::int64_t n : lengths) {
    for (const std::int64_t block : {1, 4, 5}) {
      for (const std::int64_t global : {0, 1, 2}) {
        for (const std::int64_t random : {0, 2}) {
          const MixerCase one =
              mixer_case("bigbird", {{"block", block}, {"global_blocks", global}, {"random_blocks", random}});
          const auto mixer = make_mixer(one, spec);
          const at::Tensor order = mixer->named_buffers()["random_order"];
          const std::int64_t blocks = (n + block - 1) / block;
          const auto sees = [&](std::int64_t h, std::int64_t i, std::int64_t j) {
            const std::int64_t from = i / block, to = j / block;
            if (from < global || to < global || std::abs(from - to) <= 1) return true;
            std::int64_t left = random;
            for (std::int64_t r = 0; r < order.size(2) && left > 0; ++r) {
              const auto drawn = order[h][from][r].item<std::int64_t>();
              if (drawn >= blocks || drawn < global || std::abs(drawn - from) <= 1) continue;
              if (drawn == to) return true;
              --left;
            }
            return false;
          };
          check_pattern(one, n, sees);
        }
      }
    }
    check_equal_to_softmax(mixer_case("bigbird", {{"block", n}}), n);
  }
}

TEST_CASE("BigBird's random blocks differ between heads, layers and query blocks, and cover the whole sequence",
          "[mixers]") {
  MixerSpec spec = small_spec();
  spec.max_length = 4096;
  const auto order = [&](std::uint64_t seed) {
    spec.seed = seed;
    return make_mixer(mixer_case("bigbird"), spec)->named_buffers()["random_order"].clone();
  };
  const at::Tensor drawn = order(5).narrow(2, 0, 3);
  CHECK(at::equal(drawn, order(5).narrow(2, 0, 3)));
  CHECK_FALSE(at::equal(drawn, order(6).narrow(2, 0, 3)));
  CHECK_FALSE(at::equal(drawn[0], drawn[1]));
  std::set<std::int64_t> seen;
  for (std::int64_t i = 0; i < drawn.numel(); ++i) seen.insert(drawn.flatten()[i].item<std::int64_t>());
  CHECK(seen.size() > 60);  // of 64; each is missed with probability (61/64)^128 = 0.2 %
}

TEST_CASE("Mixed heads are the heads of their parts side by side", "[mixers]") {
  const MixerSpec spec = small_spec();
  const auto mixed = make_mixer(
      mixer_case("mixed",
                 {{"parts",
                   {{{"mixer", "softmax"}, {"heads", 1}}, {{"mixer", "local"}, {"mixer_options", {{"window", 2}}}}}}}),
      spec);
  const auto whole = make_mixer(mixer_case("softmax"), spec);
  for (const std::string name : {"query", "key", "value"}) {
    for (const std::string part : {".weight", ".bias"})
      set(*whole, name + part,
          at::cat({parameter(*mixed, "part0." + name + part), parameter(*mixed, "part1." + name + part)}));
  }
  set(*whole, "output.weight",
      at::cat({parameter(*mixed, "part0.output.weight"), parameter(*mixed, "part1.output.weight")}, 1));
  set(*whole, "output.bias", parameter(*mixed, "part0.output.bias") + parameter(*mixed, "part1.output.bias"));
  const at::Tensor x = random_input(17, 8, 27);
  const at::Tensor expected = masked_attention(
      *whole, spec, x, [](std::int64_t h, std::int64_t i, std::int64_t j) { return h == 0 || std::abs(i - j) <= 2; });
  CHECK(largest_difference(alone(*mixed, x), expected) < exact);
}

TEST_CASE("Layers can take turns", "[mixers]") {
  const MixerCase turns = mixer_case(
      "mixed",
      {{"by", "layers"}, {"parts", {{{"mixer", "local"}, {"mixer_options", {{"window", 1}}}}, {{"mixer", "fnet"}}}}});
  MixerSpec spec = small_spec();
  const at::Tensor x = random_input(17, 8, 28);
  for (std::int64_t layer = 0; layer < 4; ++layer) {
    spec.layer = layer;
    const MixerCase expected = layer % 2 == 0 ? mixer_case("local", {{"window", 1}}) : mixer_case("fnet");
    CHECK(at::equal(alone(*make_mixer(turns, spec), x), alone(*make_mixer(expected, spec), x)));
  }
}

TEST_CASE("Wrong parts of mixed heads are refused with their place", "[mixers]") {
  const auto refused = [](const Json& options, const std::string& words) {
    try {
      make_mixer(mixer_case("mixed", options), small_spec());
    } catch (const Error& error) {
      INFO(error.what());
      CHECK(std::string(error.what()).find(words) != std::string::npos);
      return;
    }
    FAIL("not refused: " << options.dump());
  };
  refused({{"parts", {{{"mixer", "softmax"}, {"heads", 3}}}}}, "add up to 3, but num_heads is 2");
  refused({{"parts", {{{"mixer", "softmax"}, {"heads", 1}}}}}, "add up to 1");
  refused({{"parts", {{{"mixer", "softmax"}}, {{"mixer", "local"}}}}}, "every part but one");
  refused({{"parts", {{{"mixer", "local"}, {"mixer_options", {{"windw", 1}}}}}}}, "/parts/0/mixer_options/windw");
  refused({{"parts", {{{"mixer", "locl"}}}}}, "locl");
  refused({{"parts", {{{"mixre", "local"}}}}}, "/parts/0/mixre");
  refused({{"parts", {{{"mixer", "fnet"}, {"heads", 1}}, {{"mixer", "local"}}}}}, "fnet has no heads");
  refused({{"parts", {{{"mixer", "softmax"}, {"heads", 2}}, {{"mixer", "local"}}}}}, "nothing of 2 heads is left");
  refused({{"parts", "local"}}, "expected a list");
  refused({{"by", "layers"}}, "a mixer for each layer");
}

TEST_CASE("Options of fixed patterns without effect are refused", "[mixers]") {
  CHECK_THROWS_AS(make_mixer(mixer_case("longformer", {{"dilation", 2}}), small_spec()), Error);
  CHECK_THROWS_AS(make_mixer(mixer_case("longformer", {{"dilated_heads", 1}}), small_spec()), Error);
  CHECK_THROWS_AS(make_mixer(mixer_case("longformer", {{"dilation", 2}, {"dilated_heads", 3}}), small_spec()), Error);
  CHECK_THROWS_AS(make_mixer(mixer_case("global", {{"tokens", "added"}, {"token_ids", {1}}}), small_spec()), Error);
  MixerSpec spec = small_spec();
  spec.vocab_size = 17;
  make_mixer(mixer_case("global", {{"token_ids", {17}}}), spec);  // CLS
  CHECK_THROWS_AS(make_mixer(mixer_case("global", {{"token_ids", {18}}}), spec), Error);
}

TEST_CASE("Block-sparse attention is an operator that other programs can call", "[mixers]") {
  const auto random = [](std::uint64_t seed) { return random_input(2 * 2 * 13, 4, seed).view({2, 2, 13, 4}); };
  const at::Tensor q = random(1), k = random(2), v = random(3);
  const auto pattern = ops::window_pattern(13, 2, at::kCPU);
  using Schema = std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                    const std::optional<at::Tensor>&, const at::Tensor&, std::int64_t,
                                                    std::int64_t, std::optional<std::int64_t>);
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("lra::block_sparse_attention", "").typed<Schema>();
  const auto [out, log_sum] =
      op.call(q, k, v, std::nullopt, pattern.key_blocks, pattern.query_block, pattern.key_block, pattern.band);
  const at::Tensor distance = (at::arange(13).unsqueeze(1) - at::arange(13)).abs();
  const at::Tensor logits = (at::matmul(q, k.transpose(-2, -1)) / 2.0).masked_fill(distance.gt(2), -INFINITY);
  CHECK(largest_difference(out, at::matmul(at::softmax(logits, -1), v)) < exact);
  CHECK(largest_difference(log_sum, at::logsumexp(logits, -1)) < exact);
}
