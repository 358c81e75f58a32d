#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/autograd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "mixer_cases.h"
#include "ops/embeddings.h"
#include "ops/fused/kernels.h"
#include "ops/fused_layers.h"

using namespace lra;
using namespace lra::testing;

namespace {

// Philox4x32-10 as in its paper.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0], b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

// The factor of element e, as ops/fused/kernels.h defines it.
double factor(std::uint64_t seed, std::uint64_t e, double probability) {
  const std::uint64_t block = e / 128 * 16 + e % 32 / 2;
  const auto words = philox({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0},
                            {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  const std::uint32_t number = words[e % 128 / 32] >> (e % 2 * 16) & 0xffff;
  const double dropped = std::round(probability * 65536);
  return number < dropped ? 0.0 : 65536 / (65536 - dropped);
}

// The factors of the next call, from the generator's state, which is left as it was.
at::Tensor factors(std::int64_t rows, std::int64_t width, double probability) {
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  const at::Tensor state = generator.get_state();
  const at::Tensor out =
      ops::residual_norm(at::zeros({rows, width}, at::kDouble), at::ones({rows, width}, at::kDouble), {},
                         {at::ones({width}, at::kDouble), at::zeros({width}, at::kDouble), 1e-5}, probability)
          .sum;
  generator.set_state(state);
  return out;
}

at::Tensor residual_norm_by_hand(const std::vector<at::Tensor>& in, const at::Tensor& factor) {
  const at::Tensor sum = in[0] + (in[1] + in[2]) * factor;
  const at::Tensor centred = sum - sum.mean(1, true);
  return at::cat({sum, centred / (centred.square().mean(1, true) + 1e-5).sqrt() * in[3] + in[4]});
}

at::Tensor gelu_by_hand(const at::Tensor& x, bool tanh) {
  return tanh ? 0.5 * x * (1 + (std::sqrt(2 / M_PI) * (x + 0.044715 * x.pow(3))).tanh())
              : 0.5 * x * at::erfc(-x / std::sqrt(2.0));
}

// Outputs and gradients for a fixed gradient of the outputs.
std::vector<at::Tensor> results(const std::function<at::Tensor(const std::vector<at::Tensor>&)>& function,
                                std::vector<at::Tensor> in) {
  for (auto& tensor : in) tensor = tensor.detach().clone().requires_grad_(true);
  const at::Tensor out = function(in);
  const at::Tensor weights =
      at::arange(out.numel(), at::kDouble).mul(0.37).sin().view(out.sizes()).to(out.scalar_type());
  std::vector<at::Tensor> all = torch::autograd::grad({out}, in, {weights});
  all.insert(all.begin(), out.detach());
  return all;
}

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return largest_difference(a.to(at::kDouble), b.to(at::kDouble)) / std::max(1.0, b.abs().max().item<double>());
}

// Widths below, at and above the 128 elements of a group and the 384 columns of a part; one chunk of rows, and many.
const std::vector<std::array<std::int64_t, 2>> shapes = {{1, 3}, {5, 64}, {70, 33}, {200, 128}, {7, 400}, {3, 1000}};

}  // namespace

TEST_CASE("Philox numbers are those of Random123's test vectors", "[ops]") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
}

TEST_CASE("Every instruction set draws the defined numbers, and the share of zeros is the probability", "[ops]") {
  const auto draws = [](const ops::fused::Kernels<double, double>& kernels, std::int64_t rows, std::int64_t width,
                        std::uint64_t seed) {
    const auto vector = [&](double value) {
      return std::vector<double>(static_cast<std::size_t>(rows * width), value);
    };
    std::vector<double> x = vector(0), y = vector(1), weight = vector(1), sum = vector(0), norm = vector(0),
                        mean = vector(0), rstd = vector(0);
    const ops::fused::Dropout dropout{.seed = seed, .drop_below = 19661, .scale = 65536.0 / (65536 - 19661)};
    kernels.residual_norm({width, 1e-5, dropout, x.data(), y.data(), x.data(), weight.data(), x.data(), sum.data(),
                           norm.data(), mean.data(), rstd.data()},
                          0, rows);
    return sum;
  };
  std::vector<ops::fused::Kernels<double, double>> sets{ops::fused::plain::kernels<double, double>()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) sets.push_back(ops::fused::avx2::kernels<double, double>());
  if (__builtin_cpu_supports("avx512f")) sets.push_back(ops::fused::avx512::kernels<double, double>());
#endif
  for (const auto& [rows, width] : shapes) {
    for (const auto& set : sets) {
      const std::uint64_t seed = 0x123456789abcdef0;
      const std::vector<double> drawn = draws(set, rows, width, seed);
      for (std::size_t e = 0; e < drawn.size(); ++e) REQUIRE(drawn[e] == factor(seed, e, 0.3));
    }
  }
  const at::Tensor many = factors(4000, 100, 0.1);
  const double zeros = many.eq(0).to(at::kDouble).mean().item<double>();
  CHECK(std::abs(zeros - 0.1) < 5 * std::sqrt(0.09 / 400000));
  CHECK(std::abs(many.mean().item<double>() - 1) < 5 * std::sqrt(1.0 / 9 / 400000));
}

TEST_CASE("Residual, dropout and norm in one pass are the formula and its derivative", "[ops]") {
  for (const double dropout : {0.0, 0.3}) {
    for (const auto& [rows, width] : shapes) {
      INFO(rows << " x " << width << ", dropout " << dropout);
      torch::manual_seed(3);
      std::vector<at::Tensor> in;
      for (const auto& shape :
           std::vector<std::vector<std::int64_t>>{{rows, width}, {rows, width}, {width}, {width}, {width}})
        in.push_back(at::randn(shape, at::kDouble));
      const at::Tensor factor = factors(rows, width, dropout);
      const auto fused = [&](const std::vector<at::Tensor>& t) {
        const auto out = ops::residual_norm(t[0], t[1], t[2], {t[3], t[4], 1e-5}, dropout);
        return at::cat({out.sum, out.norm});
      };
      at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
      const at::Tensor state = generator.get_state();
      const auto again = [&](const std::vector<at::Tensor>& tensors) {
        generator.set_state(state);
        return results(fused, tensors);
      };
      const auto expected =
          results([&](const std::vector<at::Tensor>& t) { return residual_norm_by_hand(t, factor); }, in);
      const auto found = again(in);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(relative_difference(found[i], expected[i]) < 1e-12);
      std::vector<at::Tensor> narrow;
      for (const auto& tensor : in) narrow.push_back(tensor.to(at::kFloat));
      const auto found_narrow = again(narrow);
      for (std::size_t i = 0; i < found.size(); ++i)
        CHECK(relative_difference(found_narrow[i], expected[i]) < (width == 3 ? 1e-4 : 4e-6));
      // A branch in bfloat16.
      narrow[1] = in[1].to(at::kBFloat16);
      const auto found_mixed = again(narrow);
      CHECK(found_mixed[2].scalar_type() == at::kBFloat16);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(relative_difference(found_mixed[i], expected[i]) < 0.1);
      // One gradient may be missing.
      if (dropout == 0.0) {
        for (const bool norm : {false, true}) {
          const auto one = [&](const std::vector<at::Tensor>& t) {
            const auto out = ops::residual_norm(t[0], t[1], t[2], {t[3], t[4], 1e-5}, 0);
            return norm ? out.norm + 0 * t[0].sum() : out.sum + 0 * (t[3].sum() + t[4].sum());
          };
          const auto by_hand = [&](const std::vector<at::Tensor>& t) {
            return residual_norm_by_hand(t, factor).narrow(0, norm ? rows : 0, rows);
          };
          const auto a = results(one, in), b = results(by_hand, in);
          for (std::size_t i = 0; i < a.size(); ++i) CHECK(relative_difference(a[i], b[i]) < 1e-12);
        }
      }
    }
  }
}

TEST_CASE("Bias, GELU and dropout in one pass are the formula and its derivative", "[ops]") {
  for (const bool tanh : {false, true}) {
    for (const double dropout : {0.0, 0.3}) {
      for (const auto& [rows, width] : shapes) {
        INFO(rows << " x " << width << ", dropout " << dropout << ", tanh " << tanh);
        torch::manual_seed(4);
        const std::vector<at::Tensor> in{at::randn({rows, width}, at::kDouble) * 3, at::randn({width}, at::kDouble)};
        const at::Tensor factor = factors(rows, width, dropout);
        at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
        const at::Tensor state = generator.get_state();
        const auto again = [&](const std::vector<at::Tensor>& tensors) {
          generator.set_state(state);
          return results([&](const std::vector<at::Tensor>& t) { return ops::bias_gelu(t[0], t[1], tanh, dropout); },
                         tensors);
        };
        const auto expected =
            results([&](const std::vector<at::Tensor>& t) { return gelu_by_hand(t[0] + t[1], tanh) * factor; }, in);
        const auto found = again(in), narrow = again({in[0].to(at::kFloat), in[1].to(at::kFloat)}),
                   mixed = again({in[0].to(at::kBFloat16), in[1].to(at::kFloat)});
        for (std::size_t i = 0; i < found.size(); ++i) {
          CHECK(relative_difference(found[i], expected[i]) < 1e-13);
          CHECK(relative_difference(narrow[i], expected[i]) < 2e-6);
          CHECK(relative_difference(mixed[i], expected[i]) < 0.03);
        }
        CHECK(mixed[0].scalar_type() == at::kBFloat16);
      }
    }
  }
}

TEST_CASE("GELU in float32 is as exact as LibTorch's, at any size of its argument", "[ops]") {
  const at::Tensor x = at::cat({at::linspace(-14, 14, 200001, at::kDouble).to(at::kFloat),
                                at::tensor({0.0f, -1e15f, 1e15f, 1e-30f, -1e-30f})})
                           .unsqueeze(1);
  const at::Tensor bias = at::zeros({1});
  for (const bool tanh : {false, true}) {
    const auto ours =
        results([&](const std::vector<at::Tensor>& t) { return ops::bias_gelu(t[0], bias, tanh, 0); }, {x});
    const auto torchs =
        results([&](const std::vector<at::Tensor>& t) { return at::gelu(t[0], tanh ? "tanh" : "none"); }, {x});
    const auto exact = results([&](const std::vector<at::Tensor>& t) { return at::gelu(t[0], tanh ? "tanh" : "none"); },
                               {x.to(at::kDouble)});
    const at::Tensor usual = x.abs().le(14);
    for (std::size_t i = 0; i < 2; ++i) {
      CHECK(ours[i].isfinite().all().item<bool>());
      const at::Tensor size = exact[i].abs().clamp_min(1);
      const double error = ((ours[i] - exact[i]).abs() / size).masked_select(usual).max().item<double>();
      const double torch_error = ((torchs[i] - exact[i]).abs() / size).masked_select(usual).max().item<double>();
      INFO("tanh " << tanh << ", output " << i << ": " << error << ", LibTorch's " << torch_error);
      CHECK(error < std::max(2e-7, torch_error));
    }
  }
  CHECK(std::isnan(ops::bias_gelu(at::full({1, 1}, NAN), bias, false, 0).item<float>()));
  CHECK(std::isnan(ops::bias_gelu(at::full({1, 1}, NAN), bias, true, 0).item<float>()));
}

TEST_CASE("A feed-forward part by blocks of rows is its pieces one after another", "[ops]") {
  const auto whole = [](const std::vector<at::Tensor>& t, bool tanh, double dropout) {
    return ops::feed_forward(t[0], t[1], {t[2], t[3], 1e-5}, {t[4], t[5], t[6], t[7]}, {t[8], t[9], 1e-6}, tanh,
                             dropout);
  };
  const auto pieces = [](const std::vector<at::Tensor>& t, bool tanh, double dropout) {
    const auto first = ops::residual_norm(t[0], t[1], {}, {t[2], t[3], 1e-5}, dropout);
    const at::Tensor active = ops::bias_gelu(at::mm(first.norm, t[4].t()), t[5], tanh, dropout);
    return ops::residual_norm(first.sum, at::mm(active, t[6].t()), t[7], {t[8], t[9], 1e-6}, dropout);
  };
  // Below, at and above a block's 96 rows and the 4096 from which chunks are longer.
  for (const auto& [rows, width, inner] :
       std::vector<std::array<std::int64_t, 3>>{{64, 16, 32}, {200, 64, 128}, {192, 128, 64}, {4500, 32, 16}}) {
    for (const bool tanh : {false, true}) {
      for (const double dropout : {0.0, 0.3}) {
        // Of the two outputs: both, and one alone.
        for (const int outputs : {0, 1, 2}) {
          INFO(rows << " rows, " << width << " -> " << inner << ", tanh " << tanh << ", dropout " << dropout
                    << ", outputs " << outputs);
          torch::manual_seed(7);
          std::vector<at::Tensor> in;
          for (const auto& shape : std::vector<std::vector<std::int64_t>>{{rows, width},
                                                                          {rows, width},
                                                                          {width},
                                                                          {width},
                                                                          {inner, width},
                                                                          {inner},
                                                                          {width, inner},
                                                                          {width},
                                                                          {width},
                                                                          {width}}) {
            in.push_back(at::randn(shape, at::kDouble));
          }
          const auto of = [&](const auto& function, const std::vector<at::Tensor>& tensors) {
            torch::manual_seed(8);
            return results(
                [&](const std::vector<at::Tensor>& t) {
                  const ops::SumAndNorm out = function(t, tanh, dropout);
                  if (outputs == 0) return at::cat({out.sum, out.norm});
                  const at::Tensor unused = 0 * (t[8].sum() + t[9].sum());
                  return outputs == 1 ? out.sum + unused : out.norm + unused;
                },
                tensors);
          };
          const auto expected = of(pieces, in), found = of(whole, in);
          std::vector<at::Tensor> narrow;
          for (const auto& tensor : in) narrow.push_back(tensor.to(at::kFloat));
          const auto found_narrow = of(whole, narrow);
          for (std::size_t i = 0; i < found.size(); ++i) {
            CHECK(relative_difference(found[i], expected[i]) < 1e-12);
            CHECK(relative_difference(found_narrow[i], expected[i]) < 1e-4);
          }
        }
      }
    }
  }
  const std::vector<at::Tensor> in{at::randn({70, 16}).requires_grad_(true),
                                   at::randn({70, 16}),
                                   at::ones({16}),
                                   at::zeros({16}),
                                   at::randn({16, 16}),
                                   at::zeros({16}),
                                   at::randn({16, 16}),
                                   at::zeros({16}),
                                   at::ones({16}),
                                   at::zeros({16})};
  CHECK_THROWS(torch::autograd::grad({whole(in, false, 0).norm.sum()}, {in[0]}, {}, true, true));
}

TEST_CASE(
    "Token and place vectors in one pass are two tables' rows, and their gradients sums over the rows that read them",
    "[ops]") {
  torch::manual_seed(9);
  const at::Tensor ids = at::randint(17, {500}, at::kLong), places = at::arange(500).remainder(60);
  const int threads = at::get_num_threads();
  for (const std::int64_t width : {3, 50, 64}) {
    const std::vector<at::Tensor> in{at::randn({17, width}, at::kDouble), at::randn({64, width}, at::kDouble)};
    const auto expected = results(
        [&](const std::vector<at::Tensor>& t) { return t[0].index_select(0, ids) + t[1].index_select(0, places); }, in);
    for (const int count : {1, 2, 3}) {
      at::set_num_threads(count);
      const auto found =
          results([&](const std::vector<at::Tensor>& t) { return ops::embeddings(t[0], ids, t[1], places); }, in);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(relative_difference(found[i], expected[i]) < 1e-13);
      const auto one =
          results([&](const std::vector<at::Tensor>& t) { return ops::embeddings(in[0], ids, t[0], places); }, {in[1]});
      CHECK(at::equal(one[1], found[2]));
    }
  }
  at::set_num_threads(threads);
  CHECK_THROWS(ops::embeddings(at::zeros({16, 2}), ids, at::zeros({64, 2}), places));
  CHECK_THROWS(ops::embeddings(at::zeros({17, 2}), ids, at::zeros({59, 2}), places));
}

TEST_CASE("Fused layers do not depend on the number of threads, and refuse a second derivative", "[ops]") {
  torch::manual_seed(5);
  const std::vector<at::Tensor> in{at::randn({3000, 48}), at::randn({3000, 48}), at::randn({48}),
                                   at::randn({48}),       at::randn({48}),       at::randn({32, 48}),
                                   at::randn({32}),       at::randn({48, 32}),   at::randn({48})};
  const auto both = [&](const std::vector<at::Tensor>& t) {
    const auto out = ops::residual_norm(t[0], t[1], t[2], {t[3], t[4], 1e-5}, 0.2);
    const auto after = ops::feed_forward(out.sum, out.norm, {t[3], t[4], 1e-5}, {t[5], t[6], t[7], t[8]},
                                         {t[3], t[4], 1e-5}, true, 0.2);
    return at::cat({out.sum, out.norm, ops::bias_gelu(out.norm, t[2], true, 0.2), after.sum, after.norm});
  };
  const int threads = at::get_num_threads();
  std::vector<std::vector<at::Tensor>> all;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    torch::manual_seed(6);
    all.push_back(results(both, in));
  }
  at::set_num_threads(threads);
  for (std::size_t i = 0; i < all[0].size(); ++i) {
    CHECK(at::equal(all[0][i], all[1][i]));
    CHECK(at::equal(all[0][i], all[2][i]));
  }
  const at::Tensor x = at::randn({2, 3}).requires_grad_(true);
  CHECK_THROWS(torch::autograd::grad({ops::bias_gelu(x, at::zeros({3}), true, 0).sum()}, {x}, {}, true, true));
}
