// Mixers with kernels of their own on packed tokens against what the same mixers compute operator by operator, and the
// kernels of each instruction set against each other.
#include <ATen/ATen.h>
#include <torch/utils.h>

#include <catch2/catch_test_macros.hpp>
#include <map>

#include "mixer_cases.h"
#include "ops/cpu/kernels.h"
#include "ops/fourier_mix.h"
#include "ops/projections.h"

using namespace lra;
using namespace lra::testing;
namespace cpu = lra::ops::cpu;

namespace {

struct Results {
  at::Tensor output;
  std::map<std::string, at::Tensor> gradients;
};

Results run(const MixerCase& one, MixerSpec spec, const std::string& layout_name, at::ScalarType type,
            const std::vector<std::int64_t>& lengths) {
  spec.layout = layout_name;
  const auto mixer = make_mixer(one, spec);
  mixer->to(type);
  const SequenceLayout layout(lengths);
  const at::Tensor x = random_input(layout.tokens(), spec.d_model, 31).to(type).requires_grad_();
  Results results{forward(*mixer, x, layout), {}};
  (results.output * random_input(layout.tokens(), spec.d_model, 32).to(type)).sum().backward();
  results.gradients["input"] = x.grad();
  for (const auto& item : mixer->named_parameters()) results.gradients[item.key()] = item.value().grad();
  return results;
}

// Relative to the largest number; of gradients that are zero by mathematics, to 1.
double relative(const at::Tensor& a, const at::Tensor& b, bool zero = false) {
  return largest_difference(a.to(at::kDouble), b.to(at::kDouble)) / (zero ? 1.0 : b.abs().max().item<double>());
}

std::vector<const cpu::Kernels*> tables() {
  std::vector<const cpu::Kernels*> all = {&cpu::plain_kernels()};
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(&cpu::avx2_kernels());
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    all.push_back(&cpu::avx512_kernels());
  }
#endif
  return all;
}

}  // namespace

TEST_CASE("Kernels on packed tokens give what the mixers compute operator by operator, gradients included",
          "[mixers][each]") {
  const std::vector<std::string> names = {"linear",      "efficient", "performer", "rfa",  "linformer", "compressed",
                                          "synthesizer", "fnet",      "mlp_mixer", "gmlp", "sinkhorn",  "routing"};
  for (const auto& one : mixer_cases()) {
    if (std::find(names.begin(), names.end(), one.mixer) == names.end()) continue;
    for (const std::int64_t d_head : {1, 3, 5, 16, 20}) {
      for (const auto& lengths :
           std::vector<std::vector<std::int64_t>>{{1, 3, 17, 48}, {48, 48}, {47}, {5, 130, 2, 64, 1, 65, 129}}) {
        MixerSpec spec = small_spec();
        spec.max_length = 130;
        spec.num_heads = lengths.size() == 1 ? 1 : 2;  // one unit of work, which threads share
        spec.d_qkv = spec.num_heads * d_head;
        if (one.mixer == "gmlp" && spec.d_qkv % 2 != 0) continue;
        if (one.mixer == "routing" && d_head == 1)
          continue;  // a normalised number is zero: every token is as near as every other
        const Results expected = run(one, spec, "per_sequence", at::kDouble, lengths);
        for (const auto type : {at::kDouble, at::kFloat}) {
          INFO(one.name() << ", head of " << d_head << ", " << lengths.size() << " sequences, " << c10::toString(type));
          const Results found = run(one, spec, "auto", type, lengths);
          // float32 is compared with float64: where operators lose digits (differences of large numbers), kernels may
          // lose some more.
          const Results rounded = type == at::kFloat ? run(one, spec, "per_sequence", type, lengths) : expected;
          const double bound = type == at::kFloat ? 3e-5 : 1e-10;
          CHECK(relative(found.output, expected.output) < bound + 5 * relative(rounded.output, expected.output));
          for (const auto& [name, gradient] : expected.gradients) {
            INFO(name);
            REQUIRE(found.gradients.at(name).defined() == gradient.defined());
            if (!gradient.defined()) continue;
            const bool zero = one.zero_gradients.count(name) > 0 || gradient.abs().max().item<double>() < 1e-9;
            CHECK(relative(found.gradients.at(name), gradient, zero) <
                  bound + 5 * relative(rounded.gradients.at(name), gradient, zero));
          }
        }
      }
    }
  }
}

namespace {

// All steps of feature-map attention on one head: out, then the gradients.
template <class T>
at::Tensor features_by(const cpu::Kernels& kernels, cpu::Features map, std::int64_t n, std::int64_t d, std::int64_t m) {
  const auto type = c10::CppTypeToScalarType<T>::value;
  const auto random = [&](std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
    return random_input(rows, columns, seed).to(type);
  };
  const at::Tensor q = random(n, d, 1), k = random(n, d, 2), v = random(n, d, 3), grad = random(n, d, 4);
  const std::int64_t high = (m + 15) / 16 * 16, wide = (d + 15) / 16 * 16;
  const at::Tensor directions = at::zeros({high, wide}, type);
  directions.narrow(0, 0, m).narrow(1, 0, d).copy_(random(m, d, 5));
  const at::Tensor by_feature = directions.t().contiguous();
  const at::Tensor results = at::zeros({4, n, d}, type), sums = at::empty({2, cpu::feature_sums(map, d, m)}, type),
                   sigma = at::zeros({1}, type);
  const at::Tensor scratch = at::empty({cpu::feature_scratch(map, d, m)}, type);
  const auto rows = [&](const at::Tensor& x) { return cpu::Rows<const T>{x.const_data_ptr<T>(), d}; };
  const auto result = [&](std::int64_t i) { return cpu::Rows<T>{results[i].mutable_data_ptr<T>(), d}; };
  cpu::FeatureUnit<T> unit;
  unit.map = map, unit.d = d, unit.m = m, unit.n = n, unit.count = n;
  unit.directions = directions.const_data_ptr<T>();
  unit.directions_by_feature = by_feature.const_data_ptr<T>();
  unit.half = T{1} / 2;
  unit.epsilon = static_cast<T>(0.01);
  unit.sigma = static_cast<T>(0.7);
  unit.q = rows(q), unit.k = rows(k), unit.v = rows(v), unit.grad_out = rows(grad);
  unit.out = result(0), unit.saved_out = {unit.out.data, d}, unit.grad_q = result(1), unit.grad_k = result(2),
  unit.grad_v = result(3);
  unit.sums = sums[0].mutable_data_ptr<T>(), unit.grad_sums = sums[1].mutable_data_ptr<T>(),
  unit.grad_sigma = sigma.mutable_data_ptr<T>();
  for (const auto step :
       {cpu::FeatureStep::keys, cpu::FeatureStep::finish, cpu::FeatureStep::queries, cpu::FeatureStep::query_gradients,
        cpu::FeatureStep::finish_gradients, cpu::FeatureStep::key_gradients}) {
    kernels.feature_attention(step, unit, scratch.mutable_data_ptr<T>());
  }
  return at::cat({results.view({-1}), sigma}).to(at::kDouble);
}

}  // namespace

TEST_CASE("Feature maps are the same on every instruction set", "[mixers]") {
  using cpu::Features;
  for (const auto* kernels : tables()) {
    for (const auto map : {Features::elu, Features::softmax, Features::exponential, Features::relu, Features::sincos}) {
      for (const std::int64_t d : {4, 7, 16, 64}) {
        const bool of_input = map == Features::elu || map == Features::softmax;
        for (const std::int64_t m : of_input ? std::vector<std::int64_t>{d} : std::vector<std::int64_t>{5, 32, 100}) {
          INFO(kernels->name << ", map " << static_cast<int>(map) << ", d " << d << ", m " << m);
          const at::Tensor expected = features_by<double>(cpu::plain_kernels(), map, 150, d, m);
          REQUIRE(largest_difference(features_by<double>(*kernels, map, 150, d, m), expected) <
                  1e-10 * expected.abs().max().item<double>());
          CHECK(largest_difference(features_by<float>(*kernels, map, 150, d, m), expected) <
                1e-3 * expected.abs().max().item<double>());
        }
      }
    }
  }
}

namespace {

// n rows of d numbers, transformed over d and, with zeros after them, over n + 3 by plans whose only radix may be any
// up to the largest.
template <class T>
at::Tensor fourier_by(const cpu::Kernels& kernels, std::int64_t n, std::int64_t d) {
  const auto type = c10::CppTypeToScalarType<T>::value;
  const auto roots = [&](std::int64_t size) {
    const at::Tensor angles = at::arange(size, at::kDouble) * (-2 * 3.14159265358979323846 / static_cast<double>(size));
    return at::stack({angles.cos(), angles.sin()}, 1).to(type).contiguous();
  };
  const std::int64_t length = n + 3;
  const at::Tensor roots_of_d = roots(d), roots_of_n = roots(length), x = random_input(n, d, 6).to(type),
                   out = at::empty_like(x);
  const at::Tensor scratch = at::empty({cpu::fourier_scratch(std::max(length, d))}, type);
  const cpu::FourierPlan<T> over_d{d, d, &d, 1, roots_of_d.const_data_ptr<T>()},
      over_n{length, length, &length, 1, roots_of_n.const_data_ptr<T>()};
  kernels.fourier_rows(over_d, n, x.const_data_ptr<T>(), out.mutable_data_ptr<T>(), scratch.mutable_data_ptr<T>());
  const std::int64_t lanes = kernels.vector_bytes / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t group = 0; group * lanes < (d + 1) / 2; ++group) {
    kernels.fourier_columns(over_n, n, d, group, out.mutable_data_ptr<T>(), scratch.mutable_data_ptr<T>());
  }
  return out.to(at::kDouble);
}

}  // namespace

TEST_CASE("Sinkhorn and routing drop the same weights in both passes", "[mixers][each]") {
  for (const auto& one : mixer_cases()) {
    if (one.mixer != "sinkhorn" && one.mixer != "routing") continue;
    INFO(one.name());
    MixerSpec spec = small_spec();
    spec.attention_dropout = 0.5;
    const auto mixer = make_mixer(one, spec);
    mixer->to(at::kDouble);
    mixer->train();
    const SequenceLayout layout({47, 30});
    const at::Tensor x = random_input(77, spec.d_model, 41), way = random_input(77, spec.d_model, 42),
                     direction = random_input(77, spec.d_model, 43);
    const auto value = [&](const at::Tensor& input) {
      torch::manual_seed(7);
      mixer->begin_training_step(3);
      return (mixer->forward(input, layout) * direction).sum();
    };
    const at::Tensor input = x.clone().requires_grad_();
    const double along = (torch::autograd::grad({value(input)}, {input})[0] * way).sum().item<double>();
    const at::NoGradGuard guard;
    constexpr double step = 1e-6;
    const double difference = ((value(x + step * way) - value(x - step * way)) / (2 * step)).item<double>();
    CHECK(std::abs(along - difference) < 1e-5 * std::max(1.0, std::abs(difference)));
  }
}

TEST_CASE("Projections are x W^T + b for several W, gradients included, with and without a kernel", "[mixers]") {
  for (const auto type : {at::kDouble, at::kFloat}) {
    for (const std::int64_t rows : {1, 64, 131, 500}) {
      for (const auto& widths : std::vector<std::vector<std::int64_t>>{
               {16, 16}, {64, 64, 64, 64}, {48, 128, 16}, {128, 32}, {40, 64}, {64, 256}}) {
        for (const bool has_biases : {true, false}) {
          INFO(toString(type) << ", " << rows << " rows, " << widths.size() - 1 << " maps of " << widths[0]
                              << ", the last to " << widths.back() << (has_biases ? ", biases" : ""));
          const auto random = [&](std::int64_t n, std::int64_t m, std::uint64_t seed) {
            return random_input(n, m, seed).to(type).requires_grad_();
          };
          const at::Tensor x = random(rows, widths[0], 1);
          std::vector<at::Tensor> weights, biases, inputs{x};
          for (std::size_t i = 1; i < widths.size(); ++i) {
            weights.push_back(random(widths[i], widths[0], i + 1));
            biases.push_back(has_biases ? random(1, widths[i], i + 20).detach().squeeze(0).requires_grad_()
                                        : at::Tensor());
            inputs.push_back(weights.back());
            if (has_biases) inputs.push_back(biases.back());
          }
          const std::vector<at::Tensor> found = ops::projections(x, weights, biases);
          // Of several outputs the first is not used: its gradient is undefined.
          const std::size_t first = weights.size() > 1 ? 1 : 0;
          at::Tensor sum = at::zeros({}, type), expected_sum = at::zeros({}, type);
          for (std::size_t i = 0; i < weights.size(); ++i) {
            const at::Tensor expected = at::linear(x, weights[i], biases[i]),
                             direction = random_input(rows, widths[i + 1], 50 + i).to(type);
            CHECK(relative(found[i].detach(), expected.detach()) < (type == at::kDouble ? 1e-14 : 2e-6));
            if (i < first) continue;
            sum = sum + (found[i] * direction).sum();
            expected_sum = expected_sum + (expected * direction).sum();
          }
          const auto gradients = torch::autograd::grad({sum}, inputs, {}, false, false, true),
                     wanted = torch::autograd::grad({expected_sum}, inputs, {}, false, false, true);
          for (std::size_t i = 0; i < inputs.size(); ++i) {
            REQUIRE(gradients[i].defined() == wanted[i].defined());
            if (wanted[i].defined()) CHECK(relative(gradients[i], wanted[i]) < (type == at::kDouble ? 1e-13 : 5e-6));
          }
        }
      }
    }
  }
}

namespace {

template <class T>
cpu::Rows<const T> rows_of(const at::Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0)};
}

// A linear map, a mixture of five blocks and normalised vectors, forward and backward.
template <class T>
std::vector<at::Tensor> small_products_by(const cpu::Kernels& kernels, std::int64_t d) {
  const auto type = c10::CppTypeToScalarType<T>::value;
  const auto random = [&](std::int64_t n, std::int64_t m, std::uint64_t seed) {
    return random_input(n, m, seed).to(type).contiguous();
  };
  const auto zeros = [&](std::int64_t n, std::int64_t m) { return at::zeros({n, m}, type); };
  const auto write = [](const at::Tensor& x) { return x.mutable_data_ptr<T>(); };
  std::vector<at::Tensor> results;

  const std::int64_t rows = 101, in = 48, out = 80;
  const at::Tensor x = random(rows, in, 1), weight = random(out, in, 2), transposed = weight.t().contiguous(),
                   bias = random(1, out, 3), grad_y = random(rows, out, 4);
  const at::Tensor y = zeros(rows, out), grad_x = zeros(rows, in), grad_weight = zeros(out, in),
                   grad_bias = zeros(1, out);
  const cpu::LinearMap<T> map{out,
                              weight.const_data_ptr<T>(),
                              transposed.const_data_ptr<T>(),
                              bias.const_data_ptr<T>(),
                              write(y),
                              grad_y.const_data_ptr<T>(),
                              write(grad_weight),
                              write(grad_bias)};
  const cpu::LinearMaps<T> maps{in, 0, rows, x.const_data_ptr<T>(), write(grad_x), &map, 1};
  kernels.linear_forward(maps);
  kernels.linear_backward(maps);
  results.insert(results.end(), {y, grad_x, grad_weight, grad_bias});

  const std::int64_t block = 3, blocks = 5, places = block * blocks;
  const at::Tensor vectors = random(places, d, 5), weights = random(blocks, blocks, 6),
                   grad_mixed = random(places, d, 7);
  const at::Tensor mixed = zeros(places, d), grad_vectors = zeros(places, d), grad_weights = zeros(blocks, blocks);
  const at::Tensor scratch = at::empty({cpu::mixture_scratch(d, blocks)}, type);
  const cpu::BlockMixture<T> mixture{d,
                                     block,
                                     blocks,
                                     blocks,
                                     0,
                                     block,
                                     weights.const_data_ptr<T>(),
                                     blocks,
                                     rows_of<T>(vectors),
                                     write(mixed),
                                     grad_mixed.const_data_ptr<T>(),
                                     {write(grad_vectors), d},
                                     write(grad_weights)};
  kernels.mix_blocks(mixture, write(scratch));
  kernels.mix_blocks_backward(mixture, write(scratch));
  results.insert(results.end(), {mixed, grad_vectors, grad_weights});

  const at::Tensor normalised = zeros(places, d), grad = grad_mixed.clone();
  kernels.normalise(rows_of<T>(vectors), places, d, write(normalised));
  kernels.normalise_backward(rows_of<T>(vectors), places, d, normalised.const_data_ptr<T>(), {write(grad), d});
  results.insert(results.end(), {normalised, grad});
  return results;
}

}  // namespace

TEST_CASE("Linear maps, mixed blocks and normalised vectors are those of LibTorch on every instruction set",
          "[mixers]") {
  for (const std::int64_t d : {3, 16, 20, 64}) {
    const auto random = [&](std::int64_t n, std::int64_t m, std::uint64_t seed) {
      return random_input(n, m, seed).requires_grad_();
    };
    const at::Tensor x = random(101, 48, 1), weight = random(80, 48, 2), bias = random(1, 80, 3),
                     vectors = random(15, d, 5), weights = random(5, 5, 6);
    const at::Tensor y = at::linear(x, weight, bias.squeeze(0)),
                     mixed = at::matmul(weights, vectors.view({5, 3 * d})).view({15, d}),
                     normalised = at::layer_norm(vectors, {d});
    const auto of_linear = torch::autograd::grad({y}, {x, weight, bias}, {random_input(101, 80, 4)});
    const auto of_mixed = torch::autograd::grad({mixed}, {vectors, weights}, {random_input(15, d, 7)});
    const auto of_normalised = torch::autograd::grad({normalised}, {vectors}, {random_input(15, d, 7)});
    const std::vector<at::Tensor> expected{y.detach(),   of_linear[0],        of_linear[1],
                                           of_linear[2], mixed.detach(),      of_mixed[0],
                                           of_mixed[1],  normalised.detach(), of_normalised[0]};
    for (const auto* kernels : tables()) {
      const auto in_double = small_products_by<double>(*kernels, d), in_float = small_products_by<float>(*kernels, d);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        INFO(kernels->name << ", d " << d << ", result " << i);
        CHECK(relative(in_double[i], expected[i]) < 1e-12);
        CHECK(relative(in_float[i], expected[i]) < 1e-5);
      }
    }
  }
}

TEST_CASE("Fourier transforms are the same on every instruction set, with radices that are odd or large", "[mixers]") {
  for (const auto* kernels : tables()) {
    for (const std::int64_t n : {2, 4, 28, 50}) {
      for (const std::int64_t d : {5, 7, 33, 61}) {
        INFO(kernels->name << ", n " << n << ", d " << d);
        const at::Tensor padded = at::constant_pad_nd(random_input(n, d, 6), {0, 0, 0, 3});
        const at::Tensor expected = at::real(at::fft_fft2(padded)).narrow(0, 0, n);
        CHECK(largest_difference(fourier_by<double>(*kernels, n, d), expected) <
              1e-12 * expected.abs().max().item<double>());
        CHECK(largest_difference(fourier_by<float>(*kernels, n, d), expected) <
              1e-5 * expected.abs().max().item<double>());
      }
    }
  }
}

TEST_CASE("FNet's kernels take every length, also one that is a large prime", "[mixers]") {
  for (const std::int64_t length : {1, 2, 48, 64, 67, 150, 251}) {
    for (const std::int64_t d : {1, 2, 6, 32, 67, 130}) {
      INFO("length " << length << ", d " << d);
      const std::vector<std::int64_t> lengths = {length, 1, (length + 1) / 2};
      const at::Tensor x = random_input(length + 1 + (length + 1) / 2, d, 7);
      const at::Tensor expected = ops::fourier_mix(x, lengths, length, false);
      CHECK(largest_difference(ops::fourier_mix(x, lengths, length, true), expected) <
            1e-12 * expected.abs().max().item<double>());
      CHECK(largest_difference(ops::fourier_mix(x.to(at::kFloat), lengths, length, true).to(at::kDouble), expected) <
            1e-5 * expected.abs().max().item<double>());
    }
  }
}
