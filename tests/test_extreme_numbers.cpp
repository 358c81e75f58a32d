// Numbers that are very large, very small or none at all: every mixer, with kernels and without.
#include <ATen/ATen.h>
#include <torch/utils.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>

#include "mixer_cases.h"

using namespace lra;
using namespace lra::testing;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN(),
                 infinity = std::numeric_limits<double>::infinity();
const std::vector<std::string> layouts = {"per_sequence", "padded", "auto"};

SequenceLayout with_ids(SequenceLayout layout) {
  layout.set_token_ids(at::arange(layout.tokens(), at::kLong).remainder(6));
  return layout;
}

at::Tensor rows_that_differ(const at::Tensor& a, const at::Tensor& b) { return a.ne(b).any(1); }

}  // namespace

TEST_CASE("What is not a number reaches the tokens that see it, and no others", "[mixers][each]") {
  const SequenceLayout layout = with_ids(SequenceLayout({3, 44, 1}));
  const at::Tensor x = random_input(layout.tokens(), 8, 51), values = random_input(layout.tokens(), 8, 52);
  for (const auto& one : mixer_cases()) {
    for (const auto& how : layouts) {
      MixerSpec spec = small_spec();
      spec.layout = how;
      const auto mixer = make_mixer(one, spec);
      const at::NoGradGuard guard;
      const auto mixed = [&](std::int64_t token, double number) {
        at::Tensor changed = values.clone();
        changed[token].fill_(number);
        return mixer->mix_values(x, changed, layout);
      };
      const at::Tensor before = mixer->mix_values(x, values, layout);
      for (const std::int64_t token : {3, 3 + 17, 3 + 43}) {
        const at::Tensor see = rows_that_differ(before, mixed(token, 7));
        for (const double number : {not_a_number, infinity}) {
          INFO(one.name() << ", " << how << ", " << number << " at token " << token);
          const at::Tensor after = mixed(token, number);
          CHECK(largest_difference(after.index({see.logical_not()}), before.index({see.logical_not()})) < 1e-9);
          if (number != infinity) CHECK(after.isnan().any(1).equal(see));
        }
      }
    }
  }
}

TEST_CASE("A sequence's numbers leave every bit of its neighbours as it is, gradients included", "[mixers][each]") {
  const SequenceLayout layout = with_ids(SequenceLayout({5, 31, 1, 17}));
  const at::Tensor others = at::ones({layout.tokens()}, at::kBool);
  others.narrow(0, layout.offset(1), layout.length(1)).fill_(false);
  const at::Tensor x = random_input(layout.tokens(), 8, 53), direction = random_input(layout.tokens(), 8, 54);
  for (const auto& one : mixer_cases()) {
    for (const auto& how : layouts) {
      for (const auto type : {at::kFloat, at::kDouble}) {
        MixerSpec spec = small_spec();
        spec.layout = how;
        const auto mixer = make_mixer(one, spec);
        mixer->to(type);
        const auto run = [&](double number) {
          at::Tensor input = x.to(type, /*non_blocking=*/false, /*copy=*/true);
          if (number != 0) input[layout.offset(1) + 11].fill_(number);
          input.requires_grad_();
          const at::Tensor out = mixer->forward(input, layout);
          (out * direction.to(type)).sum().backward();
          return std::pair(out.detach().index({others}), input.grad().index({others}));
        };
        const auto [out, grad] = run(0);
        for (const double number : {1e6, not_a_number, infinity}) {
          INFO(one.name() << ", " << how << ", " << toString(type) << ", " << number);
          const auto [changed_out, changed_grad] = run(number);
          CHECK(changed_out.equal(out));
          CHECK(changed_grad.equal(grad));
        }
      }
    }
  }
}

TEST_CASE("A hidden token that is not a number reaches no other token", "[mixers][each]") {
  SequenceLayout layout = with_ids(SequenceLayout({5, 48, 17, 33}));
  const at::Tensor visible = random_input(layout.tokens(), 1, 7).squeeze(1).gt(-0.3);
  visible.narrow(0, layout.offset(1) + 10, 25).fill_(false);
  layout.set_visible(visible);
  const at::Tensor x = random_input(layout.tokens(), 8, 8),
                   changed = x.masked_fill(visible.logical_not().unsqueeze(1), not_a_number);
  for (const auto& one : mixer_cases()) {
    if (!one.traits().hides_keys) continue;
    for (const auto& how : layouts) {
      INFO(one.name() << ", " << how);
      MixerSpec spec = small_spec();
      spec.layout = how;
      const auto mixer = make_mixer(one, spec);
      const at::NoGradGuard guard;
      CHECK(largest_difference(mixer->forward(changed, layout).index({visible}),
                               mixer->forward(x, layout).index({visible})) < 1e-9);
    }
  }
}

TEST_CASE("In float32 the input gradients are those of float64", "[mixers][each]") {
  std::vector<MixerCase> cases = mixer_cases();
  cases.push_back(mixer_case("reformer", {{"chunk", 8}, {"rounds", 2}}));
  const SequenceLayout layout = with_ids(SequenceLayout({1, 40}));
  MixerSpec spec = small_spec();
  spec.d_model = spec.d_qkv = 16;
  const at::Tensor x = random_input(layout.tokens(), 16, 55), direction = random_input(layout.tokens(), 16, 56);
  for (const auto& one : cases) {
    const auto gradient = [&](at::ScalarType type) {
      const auto mixer = make_mixer(one, spec);
      mixer->to(type);
      const at::Tensor input = x.to(type, /*non_blocking=*/false, /*copy=*/true).requires_grad_();
      (mixer->forward(input, layout) * direction.to(type)).sum().backward();
      return input.grad().to(at::kDouble);
    };
    INFO(one.name());
    const at::Tensor expected = gradient(at::kDouble), found = gradient(at::kFloat);
    for (std::int64_t s = 0; s < layout.batch(); ++s) {
      const auto part = [&](const at::Tensor& all) { return all.narrow(0, layout.offset(s), layout.length(s)); };
      CHECK(largest_difference(part(found), part(expected)) <
            2e-5 * std::max(1.0, part(expected).abs().max().item<double>()));
    }
  }
}

TEST_CASE("A row of weights sums to one at inputs of any size", "[mixers][each]") {
  const SequenceLayout layout = with_ids(SequenceLayout({5, 48, 1, 33}));
  const at::Tensor random = random_input(layout.tokens(), 8, 57);
  const std::vector<std::pair<std::string, at::Tensor>> inputs = {
      {"x 50", random * 50},
      {"x 10,000", random * 1e4},
      {"all equal", random.narrow(0, 0, 1).expand_as(random).contiguous()},
      {"all equal, x 10,000", (random.narrow(0, 0, 1) * 1e4).expand_as(random).contiguous()},
      {"zeros", at::zeros_like(random)}};
  for (const auto& one : mixer_cases()) {
    if (!one.traits().rows_sum_to_one) continue;
    for (const auto& how : layouts) {
      for (const auto type : {at::kFloat, at::kDouble}) {
        MixerSpec spec = small_spec();
        spec.layout = how;
        const auto mixer = make_mixer(one, spec);
        values_of_one(*mixer);
        mixer->to(type);
        for (const bool biased : {true, false}) {
          const at::NoGradGuard guard;
          for (const auto& item : mixer->named_parameters()) {
            const bool of_logits =
                item.key().find("query.bias") != std::string::npos || item.key().find("key.bias") != std::string::npos;
            if (!biased && of_logits) item.value().zero_();
          }
          for (const auto& [name, input] : inputs) {
            INFO(one.name() << ", " << how << ", " << toString(type) << ", " << name
                            << (biased ? "" : ", without biases"));
            // RFA's weights may be negative: their sum cancels, and is what the sums over values are divided by.
            const double tolerance = (type == at::kDouble ? 1e-9 : 1e-5) * (one.mixer == "rfa" ? 1e3 : 1);
            const at::Tensor out = mixer->forward(input.to(type), layout).to(at::kDouble);
            CHECK(largest_difference(out, at::ones_like(out)) < tolerance);
          }
        }
      }
    }
  }
}

TEST_CASE("Linear attention is what exact arithmetic gives where its features are too small for their type",
          "[mixers]") {
  const SequenceLayout layout({3, 140, 1});
  const at::Tensor direction = random_input(layout.tokens(), 8, 58);
  for (const double size : {1.0, 50.0}) {
    for (const double bias : {0.0, -30.0, -2000.0}) {
      for (const auto& how : layouts) {
        INFO("inputs x " << size << ", biases " << bias << ", " << how);
        MixerSpec spec = small_spec();
        spec.layout = how;
        spec.max_length = 140;
        const auto mixer = make_mixer(mixer_case("linear"), spec);
        set(*mixer, "query.bias", at::full({8}, bias, at::kDouble));
        set(*mixer, "key.bias", at::full({8}, bias, at::kDouble));
        const auto run = [&](const auto& function, at::ScalarType type) {
          const at::Tensor x = (random_input(layout.tokens(), 8, 59) * size).to(type).requires_grad_();
          const at::Tensor out = function(x);
          (out * direction.to(type)).sum().backward();
          return std::pair(out.detach().to(at::kDouble), x.grad().to(at::kDouble));
        };
        // Weights by their logarithms: log Σ_f φ(q)[f] φ(k)[f].
        const auto [out, grad] = run(
            [&](const at::Tensor& x) {
              const auto heads = [&](const std::string& name, const at::Tensor& rows) {
                return at::linear(rows, parameter(*mixer, name + ".weight"), parameter(*mixer, name + ".bias"))
                    .view({-1, 2, 4})
                    .transpose(0, 1);
              };
              const auto log_features = [](const at::Tensor& t) {
                return at::where(t.gt(0), t.clamp_min(0).log1p(), t.clamp_max(0));
              };
              std::vector<at::Tensor> rows;
              for (const at::Tensor& part : x.split_with_sizes(layout.lengths())) {
                const at::Tensor q = log_features(heads("query", part)).unsqueeze(2),
                                 k = log_features(heads("key", part)).unsqueeze(1);
                rows.push_back(at::matmul(at::softmax((q + k).logsumexp(-1), -1), heads("value", part))
                                   .transpose(0, 1)
                                   .reshape({-1, 8}));
              }
              return at::linear(at::cat(rows), parameter(*mixer, "output.weight"), parameter(*mixer, "output.bias"));
            },
            at::kDouble);
        for (const auto type : {at::kDouble, at::kFloat}) {
          mixer->to(type);
          const auto [found, found_grad] = run([&](const at::Tensor& x) { return mixer->forward(x, layout); }, type);
          // Exponents have the absolute error of logits of this size.
          const double tolerance = type == at::kDouble ? 1e-9 : 1e-6 * (30 + 20 * size - bias);
          CHECK(largest_difference(found, out) < tolerance * out.abs().max().item<double>());
          CHECK(largest_difference(found_grad, grad) < tolerance * grad.abs().max().item<double>());
        }
      }
    }
  }
}
