// The blocked kernel against softmax attention with a dense mask, computed by LibTorch.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <functional>

#include "mixer_cases.h"
#include "ops/cpu/kernels.h"
#include "ops/packed_attention.h"

namespace lra::testing {
namespace {

using Sees = std::function<bool(std::int64_t sequence, std::int64_t head, std::int64_t query, std::int64_t key)>;

struct Case {
  std::vector<std::int64_t> offsets;
  at::Tensor q, k, v;  // (T, H, d)

  Case(const std::vector<std::int64_t>& lengths, std::int64_t heads, std::int64_t d, at::ScalarType type,
       std::uint64_t seed) {
    offsets = {0};
    for (const std::int64_t length : lengths) offsets.push_back(offsets.back() + length);
    const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
    const auto draw = [&] {
      return at::randn({offsets.back(), heads, d}, generator, at::kDouble).to(type).requires_grad_();
    };
    q = draw();
    k = draw();
    v = draw();
  }

  // Masked softmax of each sequence; a query that sees nothing gets zeros.
  at::Tensor dense(const Sees& sees) const {
    std::vector<at::Tensor> rows;
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
      const std::int64_t first = offsets[s], n = offsets[s + 1] - first, heads = q.size(1);
      const auto part = [&](const at::Tensor& x) { return x.narrow(0, first, n).transpose(0, 1).to(at::kDouble); };
      const at::Tensor seen = at::zeros({heads, n, n}, at::kBool);
      auto flag = seen.accessor<bool, 3>();
      for (std::int64_t h = 0; h < heads; ++h) {
        for (std::int64_t i = 0; i < n; ++i) {
          for (std::int64_t j = 0; j < n; ++j) flag[h][i][j] = sees(static_cast<std::int64_t>(s), h, i, j);
        }
      }
      const at::Tensor logits =
          at::matmul(part(q), part(k).transpose(1, 2)) / std::sqrt(static_cast<double>(q.size(2)));
      const at::Tensor weights = at::softmax(logits.masked_fill(seen.logical_not(), -1e30), -1) * seen;
      rows.push_back(at::matmul(weights, part(v)).transpose(0, 1));
    }
    return at::cat(rows);
  }

  // Outputs and the gradients of all three inputs.
  void check(const at::Tensor& out, const Sees& sees) const {
    const at::Tensor expected = dense(sees);
    const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(std::uint64_t{9});
    const at::Tensor direction = at::randn(expected.sizes(), generator, at::kDouble);
    const double tolerance = q.scalar_type() == at::kDouble ? 1e-12 : q.scalar_type() == at::kFloat ? 3e-6 : 2e-2;
    const auto same = [&](const at::Tensor& a, const at::Tensor& b) {
      return largest_difference(a.detach().to(at::kDouble), b.detach().to(at::kDouble)) <=
             tolerance * std::max(1.0, b.abs().max().item<double>());
    };
    CHECK(same(out, expected));
    const auto gradients = torch::autograd::grad({out}, {q, k, v}, {direction.to(out.scalar_type())});
    const auto wanted = torch::autograd::grad({expected}, {q, k, v}, {direction});
    for (std::size_t i = 0; i < 3; ++i) CHECK(same(gradients[i], wanted[i]));
  }
};

const std::vector<std::int64_t> unequal{1, 3, 150, 64, 65, 17};

// Restores the number of threads.
struct Threads {
  const int before = at::get_num_threads();
  explicit Threads(int count) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before); }
};

}  // namespace

TEST_CASE("Blocked attention is masked softmax attention, on packed sequences of unequal length", "[kernels]") {
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    for (const std::int64_t d : {4, 16, 20, 64}) {
      INFO(toString(type) << ", head size " << d);
      const Case one(unequal, 2, d, type, 1);
      one.check(ops::packed_attention(one.q, one.offsets, {{one.k, one.v, {}, {}, ops::dense_pattern(150, 150)}}).out,
                [](auto...) { return true; });
      for (const std::int64_t band : {0, 5, 70}) {
        one.check(
            ops::packed_attention(one.q, one.offsets, {{one.k, one.v, {}, {}, ops::dense_pattern(150, 150, band)}}).out,
            [&](auto, auto, std::int64_t i, std::int64_t j) { return std::abs(i - j) <= band; });
      }
      // A dilated window; with a part for the first two places, which are not in the window then.
      const at::Tensor places =
          at::cat({at::arange(1), at::arange(3), at::arange(150), at::arange(64), at::arange(65), at::arange(17)});
      one.check(ops::packed_attention(one.q, one.offsets,
                                      {{one.k, one.v, {}, places.ge(2), ops::dense_pattern(150, 150, 4)},
                                       {one.k, one.v, {}, {}, ops::dense_pattern(150, 2), false}},
                                      0, 3)
                    .out,
                [](auto, auto, std::int64_t i, std::int64_t j) {
                  return j < 2 || ((i - j) % 3 == 0 && std::abs(i - j) <= 12);
                });
    }
  }
}

TEST_CASE("Blocked attention follows lists of blocks in any order, masks, and several sources", "[kernels]") {
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Case one(unequal, 2, 16, type, 2);
    const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(std::uint64_t{3});
    const std::int64_t block = 8, blocks = 19;
    // Four different blocks of 19 in a random order for each sequence, head and query block; the first never.
    const at::Tensor lists =
        at::rand({6, 2, blocks, blocks - 1}, generator, at::kDouble).argsort(std::int64_t{-1}).narrow(3, 0, 4) + 1;
    lists.narrow(3, 3, 1).masked_fill_(lists.narrow(3, 3, 1).gt(9), -1);
    const at::Tensor visible = at::rand({one.offsets.back()}, generator, at::kDouble).lt(0.7);
    const auto list = lists.accessor<std::int64_t, 4>();
    const auto listed = [&](std::int64_t s, std::int64_t h, std::int64_t i, std::int64_t j) {
      for (std::int64_t e = 0; e < 4; ++e) {
        if (list[s][h][i / block][e] == j / block) return true;
      }
      return false;
    };
    const auto shown = [&](std::int64_t s, std::int64_t j) {
      return visible[one.offsets[static_cast<std::size_t>(s)] + j].item<bool>();
    };
    const ops::BlockPattern pattern{block, block, lists, std::nullopt};
    one.check(ops::packed_attention(one.q, one.offsets, {{one.k, one.v, {}, {}, pattern}}).out, listed);
    one.check(ops::packed_attention(
                  one.q, one.offsets,
                  {{one.k, one.v, {}, visible, pattern}, {one.k, one.v, {}, {}, ops::dense_pattern(150, block)}})
                  .out,
              [&](std::int64_t s, std::int64_t h, std::int64_t i, std::int64_t j) {
                return j < block || (listed(s, h, i, j) && shown(s, j));
              });
  }
}

TEST_CASE("Blocked attention: the log-sum-exp is right, and has a gradient", "[kernels]") {
  const Case one({40, 9}, 2, 8, at::kDouble, 4);
  const auto part = ops::packed_attention(one.q, one.offsets, {{one.k, one.v, {}, {}, ops::dense_pattern(40, 40)}});
  const at::NoGradGuard guard;
  const double scale = 1 / std::sqrt(8.0);
  const at::Tensor q = one.q.narrow(0, 0, 40).transpose(0, 1), k = one.k.narrow(0, 0, 40).transpose(0, 1);
  const at::Tensor logits = at::matmul(q, k.transpose(1, 2)) * scale, expected = at::zeros({40, 2}, at::kDouble);
  // By hand: LibTorch's logsumexp of float64 is wrong by 1e-9 in some processes.
  const auto logit = logits.accessor<double, 3>();
  for (std::int64_t h = 0; h < 2; ++h) {
    for (std::int64_t i = 0; i < 40; ++i) {
      double sum = 0;
      for (std::int64_t j = 0; j < 40; ++j) sum += std::exp(logit[h][i][j]);
      expected[i][h] = std::log(sum);
    }
  }
  CHECK(largest_difference(part.log_sum.narrow(0, 0, 40), expected) < 1e-12);
  const auto gradients = [&] {
    const at::AutoGradMode enabled(true);
    return torch::autograd::grad({part.log_sum.narrow(0, 0, 40).square().sum()}, {one.q, one.k});
  }();
  const at::Tensor of_logits = 2 * scale * expected.t().unsqueeze(2) * at::softmax(logits, -1);
  CHECK(largest_difference(gradients[0].narrow(0, 0, 40), at::matmul(of_logits, k).transpose(0, 1)) < 1e-11);
  CHECK(largest_difference(gradients[1].narrow(0, 0, 40), at::matmul(of_logits.transpose(1, 2), q).transpose(0, 1)) <
        1e-11);
}

TEST_CASE("Blocked attention gives the same numbers twice, and almost the same on any number of threads", "[kernels]") {
  const Case one({700}, 1, 32, at::kFloat, 5);  // one head: its queries are shared out
  const auto run = [&](int threads) {
    const Threads guard(threads);
    const at::Tensor out =
        ops::packed_attention(one.q, one.offsets, {{one.k, one.v, {}, {}, ops::dense_pattern(700, 700, 100)}}).out;
    auto all = torch::autograd::grad({out.square().sum()}, {one.q, one.k, one.v});
    all.push_back(out.detach());
    return all;
  };
  const auto serial = run(1), twice = run(2), again = run(2);
  for (std::size_t i = 0; i < serial.size(); ++i) {
    CHECK(twice[i].equal(again[i]));
    CHECK(largest_difference(serial[i], twice[i]) <= 2e-6 * serial[i].abs().max().item<double>());
  }
}

TEST_CASE("Blocked attention drops the same weights in both passes, on every number of threads", "[kernels]") {
  const std::int64_t n = 100;
  const double probability = 0.3, scale = 1 / (1 - std::lround(probability * 65536) / 65536.0);
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Case one({n}, 2, n, type, 7);
    const auto run = [&](const at::Tensor& v, std::uint64_t seed) {
      at::manual_seed(seed);
      return ops::packed_attention(one.q, one.offsets, {{one.k, v, {}, {}, ops::dense_pattern(n, n)}}, probability).out;
    };
    // With the unit matrix as values the weights themselves come out: (n, H, n).
    const at::Tensor unit = at::eye(n, one.v.options()).unsqueeze(1).expand({n, 2, n});
    const at::Tensor kept = run(unit, 1).detach().ne(0).transpose(0, 1);  // (H, queries, keys)
    const double share = 1 - kept.to(at::kDouble).mean().item<double>();
    CHECK(std::abs(share - probability) < 4 * std::sqrt(probability * (1 - probability) / (2 * n * n)));
    CHECK(!kept[0].equal(kept[1]));
    CHECK(!run(unit, 1).equal(run(unit, 2)));

    const auto part = [](const at::Tensor& x) { return x.transpose(0, 1).to(at::kDouble); };
    const at::Tensor weights =
        at::softmax(at::matmul(part(one.q), part(one.k).transpose(1, 2)) / std::sqrt(static_cast<double>(n)), -1);
    const at::Tensor expected = at::matmul(weights * kept * scale, part(one.v)).transpose(0, 1);
    const at::Tensor out = run(one.v, 1);
    const double exact = type == at::kDouble ? 1e-12 : type == at::kFloat ? 5e-6 : 5e-2;
    CHECK(largest_difference(out.detach().to(at::kDouble), expected.detach()) < exact);
    const auto gradients = torch::autograd::grad({out.square().sum()}, {one.q, one.k, one.v}),
               wanted = torch::autograd::grad({expected.square().sum()}, {one.q, one.k, one.v});
    for (std::size_t i = 0; i < 3; ++i)
      CHECK(largest_difference(gradients[i].to(at::kDouble), wanted[i].to(at::kDouble)) < 10 * exact);
    const Threads serial(1);
    CHECK(run(one.v, 1).equal(out));
  }
}

TEST_CASE("Without instructions for bfloat16 it is float32, rounded at the end", "[kernels]") {
  if (ops::cpu::rounded_kernels() != nullptr) SKIP("this processor has them");
  const Case one(unequal, 2, 16, at::kBFloat16, 10);
  const at::NoGradGuard guard;
  const auto run = [&](const auto& cast) {
    return ops::packed_attention(cast(one.q), one.offsets,
                                 {{cast(one.k), cast(one.v), {}, {}, ops::dense_pattern(150, 150)}});
  };
  const auto rounded = run([](const at::Tensor& x) { return x; }),
             wanted = run([](const at::Tensor& x) { return x.to(at::kFloat); });
  CHECK(rounded.out.equal(wanted.out.to(at::kBFloat16)));
  CHECK(rounded.log_sum.equal(wanted.log_sum));
}

TEST_CASE("Products in bfloat16, by tiles and by vectors, are those of rounded factors", "[kernels]") {
  if (ops::cpu::rounded_kernels() == nullptr) SKIP("no instructions for bfloat16");
  const std::int64_t n = 100, d = 40, queries = 70;
  const Case one({n}, 1, d, at::kFloat, 8);
  const at::Tensor q = one.q.detach().squeeze(1), k = one.k.detach().squeeze(1), v = one.v.detach().squeeze(1),
                   grad_out = (q + v).flip(0);
  // Output and gradients of the first queries, which see all keys.
  const auto run = [&](const auto& forward, const auto& backward, std::int64_t numbers) {
    const at::Tensor out = at::zeros_like(q), log_sum = at::zeros({n}), scratch = at::zeros({numbers});
    std::vector<at::Tensor> results{out, at::zeros_like(q), at::zeros_like(k), at::zeros_like(v)};
    const auto rows = [&](const at::Tensor& x) { return ops::cpu::Rows<const float>{x.const_data_ptr<float>(), d}; };
    const auto writable = [&](const at::Tensor& x) { return ops::cpu::Rows<float>{x.mutable_data_ptr<float>(), d}; };
    const ops::cpu::Run all{0, n};
    const ops::cpu::KeyPart<float> part{.k = rows(k),
                                        .v = rows(v),
                                        .grad_k = writable(results[2]),
                                        .grad_v = writable(results[3]),
                                        .runs = &all,
                                        .num_runs = 1};
    ops::cpu::QueryBlock<float> block;
    block.d = d;
    block.scale = 0.25F;
    block.count = queries;
    block.q = rows(q);
    block.parts = &part;
    block.num_parts = 1;
    block.out = writable(out);
    block.log_sum = log_sum.mutable_data_ptr<float>();
    forward(block, scratch.mutable_data_ptr<float>());
    block.saved_out = rows(out);
    block.grad_out = rows(grad_out);
    block.grad_q = writable(results[1]);
    backward(block, scratch.mutable_data_ptr<float>());
    return results;
  };
  const auto of = [&](const ops::cpu::RoundedKernels& kernels) {
    return run(kernels.attention_forward, kernels.attention_backward, kernels.scratch(d));
  };
  const ops::cpu::Kernels& exact = ops::cpu::kernels();
  const auto expected = run(exact.attention_forward_float, exact.attention_backward_float, exact.attention_scratch(d));
  const auto vectors = of(*ops::cpu::vector_kernels()), chosen = of(*ops::cpu::rounded_kernels());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double largest = expected[i].abs().max().item<double>(), error = largest_difference(vectors[i], expected[i]);
    CHECK(error > 1e-5 * largest);  // they are rounded
    CHECK(error < 2e-2 * largest);
    CHECK(largest_difference(vectors[i], chosen[i]) <
          5e-3 * largest);  // sums in another order move a few weights to the next bfloat16
  }
}

TEST_CASE("Blocked attention with queries that see no key gives zeros and no gradient", "[kernels]") {
  const Case one({70, 5}, 1, 16, at::kFloat, 6);
  const at::Tensor visible = at::arange(75).ge(70);  // none of the first sequence
  const auto part =
      ops::packed_attention(one.q, one.offsets, {{one.k, one.v, {}, visible, ops::dense_pattern(70, 70)}});
  CHECK(part.out.narrow(0, 0, 70).abs().max().item<float>() == 0);
  const auto gradients = torch::autograd::grad({part.out.sum()}, {one.q, one.k, one.v});
  for (const auto& gradient : gradients) {
    CHECK(gradient.isfinite().all().item<bool>());
    CHECK(gradient.narrow(0, 0, 70).abs().max().item<float>() == 0);
  }
}

TEST_CASE("Blocked attention's gradients are right where the log-sum-exp of large logits is rounded", "[kernels]") {
  for (const double size : {-1.0, 1.0}) {
    Case one({3, 100}, 2, 16, at::kFloat, 11);
    {
      // All keys are one, so that the weights are 1/n; logits are some 1e5, exactly.
      const at::NoGradGuard no_grad;
      one.k.fill_(1);
      one.q.copy_((one.q.abs() * 1e5).round() * size);
    }
    one.check(ops::packed_attention(one.q, one.offsets, {{one.k, one.v, {}, {}, ops::dense_pattern(100, 100)}}).out,
              [](auto...) { return true; });
  }
}

TEST_CASE("Blocked attention: a value that is not finite reaches those that see it, and changes no other bit",
          "[kernels]") {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    for (const std::int64_t d : {16, 20}) {
      Case one({150, 40}, 1, d, type, 8);
      const at::NoGradGuard no_grad;
      const auto run = [&] {
        return ops::packed_attention(one.q, one.offsets, {{one.k, one.v, {}, {}, ops::dense_pattern(150, 150, 30)}})
            .out.squeeze(1);
      };
      const at::Tensor before = run(), touched = at::arange(190).ge(40).logical_and(at::arange(190).le(100));
      for (const double number : {std::nan(""), HUGE_VAL}) {
        INFO(type << ", head size " << d << ", " << number);
        one.v[70][0][3] = number;
        const at::Tensor after = run(), feature = at::arange(d).eq(3);
        CHECK(after.isfinite().logical_not().equal(touched.unsqueeze(1).logical_and(feature)));
        CHECK(after.index({touched.logical_not()}).equal(before.index({touched.logical_not()})));
        if (std::isinf(number)) CHECK(after.isinf().select(1, 3).equal(touched));
      }
    }
  }
}

TEST_CASE("Blocked attention: what is not a number reaches those that see it, and nobody else", "[kernels]") {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    for (const bool in_query : {true, false}) {
      Case one({150, 40}, 1, 16, type, 8);
      const at::NoGradGuard no_grad;
      (in_query ? one.q : one.k)[70].fill_(std::nan(""));
      const auto part =
          ops::packed_attention(one.q, one.offsets, {{one.k, one.v, {}, {}, ops::dense_pattern(150, 150, 30)}});
      const at::Tensor places = at::arange(190),
                       touched = in_query ? places.eq(70) : places.ge(40).logical_and(places.le(100));
      INFO(type << (in_query ? " query" : " key"));
      CHECK(at::equal(part.out.isnan().any(2).squeeze(1), touched));
      CHECK(at::equal(part.log_sum.isnan().squeeze(1), touched));
    }
  }
}

}  // namespace lra::testing
