// The mixers whose weights are dense or that have none, each computed number by number from its definition, and their
// exact limits.
#include <ATen/ATen.h>
#include <torch/utils.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <functional>
#include <set>

#include "mixer_cases.h"

using namespace lra;
using namespace lra::testing;

namespace {

constexpr double exact = 1e-9;

at::Tensor project(const Mixer& mixer, const std::string& name, const at::Tensor& x) {
  return (at::matmul(x, parameter(mixer, name + ".weight").t()) + parameter(mixer, name + ".bias")).detach();
}

double number(const at::Tensor& tensor) { return tensor.item<double>(); }

// What attention with the weight of key j for query i in head h, not normalised, makes of `values` (keys, d_qkv).
at::Tensor attention_over_values(const Mixer& mixer, const MixerSpec& spec, std::int64_t n, const at::Tensor& values,
                                 const std::function<double(std::int64_t h, std::int64_t i, std::int64_t j)>& weight) {
  const std::int64_t d = spec.d_head();
  const auto value = values.accessor<double, 2>();
  at::Tensor mixed = at::zeros({n, spec.d_qkv}, at::kDouble);
  auto out = mixed.accessor<double, 2>();
  for (std::int64_t h = 0; h < spec.num_heads; ++h) {
    for (std::int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (std::int64_t j = 0; j < values.size(0); ++j) {
        const double w = weight(h, i, j);
        sum += w;
        for (std::int64_t f = h * d; f < (h + 1) * d; ++f) out[i][f] += w * value[j][f];
      }
      for (std::int64_t f = h * d; f < (h + 1) * d; ++f) out[i][f] /= sum;
    }
  }
  return project(mixer, "output", mixed);
}

// Product of head h of row i of a and row j of b.
double head_product(const MixerSpec& spec, const at::Tensor& a, const at::Tensor& b, std::int64_t h, std::int64_t i,
                    std::int64_t j) {
  const auto left = a.accessor<double, 2>(), right = b.accessor<double, 2>();
  double dot = 0;
  for (std::int64_t f = h * spec.d_head(); f < (h + 1) * spec.d_head(); ++f) dot += left[i][f] * right[j][f];
  return dot;
}

double gelu(double t) { return 0.5 * t * (1 + std::erf(t / std::sqrt(2.0))); }

const std::vector<std::int64_t> lengths = {1, 2, 5, 16, 17, 47};

}  // namespace

TEST_CASE("Compressed attention equals a convolution and a softmax number by number", "[mixers]") {
  MixerSpec spec = small_spec();
  spec.d_model = 12;  // neither d_qkv nor d_head
  for (const auto& [stride, kernel] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {1, 3}, {3, 0}, {4, 2}, {4, 6}, {100, 0}}) {
    const auto mixer = make_mixer(mixer_case("compressed", {{"stride", stride}, {"kernel", kernel}}), spec);
    const std::int64_t size = kernel == 0 ? stride : kernel;
    const std::int64_t d = spec.d_head();
    for (const std::int64_t n : lengths) {
      INFO("stride " << stride << ", kernel " << kernel << ", n " << n);
      const at::Tensor x = random_input(n, 12, 1) * 2;
      const auto compress = [&](const std::string& name, const at::Tensor& rows) {
        REQUIRE(parameter(*mixer, "compress_" + name + ".weight").sizes() == at::IntArrayRef({8, d, size}));
        const at::Tensor weights = parameter(*mixer, "compress_" + name + ".weight").detach(),
                         biases = parameter(*mixer, "compress_" + name + ".bias").detach();
        const auto weight = weights.accessor<double, 3>();
        const auto bias = biases.accessor<double, 1>();
        const auto in = rows.accessor<double, 2>();
        at::Tensor result = at::zeros({(n + stride - 1) / stride, 8}, at::kDouble);
        auto out = result.accessor<double, 2>();
        for (std::int64_t slot = 0; slot < result.size(0); ++slot) {
          for (std::int64_t e = 0; e < 8; ++e) {
            out[slot][e] = bias[e];
            for (std::int64_t u = 0; u < size && slot * stride + u < n; ++u) {
              for (std::int64_t f = 0; f < d; ++f)
                out[slot][e] += weight[e][f][u] * in[slot * stride + u][e / d * d + f];
            }
          }
        }
        return result;
      };
      const at::Tensor q = project(*mixer, "query", x), k = compress("key", project(*mixer, "key", x)),
                       v = compress("value", project(*mixer, "value", x));
      const at::Tensor expected =
          attention_over_values(*mixer, spec, n, v, [&](std::int64_t h, std::int64_t i, std::int64_t j) {
            return std::exp(head_product(spec, q, k, h, i, j) / std::sqrt(static_cast<double>(d)));
          });
      CHECK(largest_difference(alone(*mixer, x), expected) < exact);
    }
  }
}

TEST_CASE("Compressed attention with stride 1, kernel 1 and identity weights is softmax attention", "[mixers]") {
  MixerSpec spec = small_spec();
  spec.d_model = 32;  // logits divided by its root, as a public implementation has them, are another softmax
  const auto softmax = make_mixer(mixer_case("softmax"), spec);
  const auto compressed = make_mixer(mixer_case("compressed", {{"stride", 1}}), spec);
  copy_parameters(*softmax, *compressed);
  for (const std::string name : {"compress_key", "compress_value"}) {
    set(*compressed, name + ".weight", at::eye(4, at::kDouble).repeat({2, 1}).unsqueeze(-1));
    set(*compressed, name + ".bias", at::zeros({8}));
  }
  const SequenceLayout layout({48, 1, 29});
  const at::Tensor x = random_input(layout.tokens(), 32, 2);
  CHECK(largest_difference(compressed->forward(x, layout), softmax->forward(x, layout)) < exact);
}

TEST_CASE("Efficient attention equals its two softmaxes number by number", "[mixers]") {
  const MixerSpec spec = small_spec();
  const auto mixer = make_mixer(mixer_case("efficient"), spec);
  for (const std::int64_t n : lengths) {
    INFO("n " << n);
    const at::Tensor x = random_input(n, 8, 3) * 2;
    const at::Tensor q = project(*mixer, "query", x).exp(), k = project(*mixer, "key", x).exp(),
                     v = project(*mixer, "value", x);
    const at::Tensor columns = k / k.sum(0, true);
    // The features' sum of a query is its normaliser: the weights of all keys then sum to 1 by themselves.
    const at::Tensor expected = attention_over_values(
        *mixer, spec, n, v,
        [&](std::int64_t h, std::int64_t i, std::int64_t j) { return head_product(spec, q, columns, h, i, j); });
    CHECK(largest_difference(alone(*mixer, x), expected) < exact);
  }
}

TEST_CASE("RFA's weights are sums of cosines of the difference of query and key, negative ones too", "[mixers]") {
  const MixerSpec spec = small_spec();
  for (const auto& [features, scales] :
       std::vector<std::pair<std::int64_t, std::vector<double>>>{{40, {0.7, 1.1}}, {2, {2.0, 4.0}}}) {
    const auto mixer = make_mixer(mixer_case("rfa", {{"features", features}}), spec);
    const at::Tensor sigma = at::tensor(scales, at::kDouble);
    set(*mixer, "sigma", sigma);
    const at::Tensor directions = mixer->named_buffers()["directions"].to(at::kDouble);
    REQUIRE(directions.sizes() == at::IntArrayRef({features, 4}));
    double least = 1;
    for (const std::int64_t n : lengths) {
      INFO("features " << features << ", n " << n);
      const at::Tensor x = random_input(n, 8, 4) * 2;
      const auto unit = [&](const std::string& name) {
        const at::Tensor rows = project(*mixer, name, x).view({n, 2, 4});
        return rows / rows.square().sum(-1, true).sqrt();
      };
      const at::Tensor q = unit("query"), k = unit("key"), v = project(*mixer, "value", x);
      const at::Tensor differences = q.unsqueeze(1) - k.unsqueeze(0);  // (i, j, h, d)
      const at::Tensor weights = (at::matmul(differences, directions.t()) * sigma.view({1, 1, 2, 1})).cos().sum(-1);
      least = std::min(least, number(weights.sum(1).min()));
      const auto weight = weights.accessor<double, 3>();
      const at::Tensor expected = attention_over_values(
          *mixer, spec, n, v, [&](std::int64_t h, std::int64_t i, std::int64_t j) { return weight[i][j][h]; });
      CHECK(largest_difference(alone(*mixer, x), expected) < exact);
    }
    CHECK((least < 0) == (features == 2));  // a query's sum of weights, which nothing clamps
  }
}

TEST_CASE("RFA's error to the softmax of unit vectors falls as the square root of its features", "[mixers]") {
  MixerSpec spec = small_spec();
  const at::Tensor x = random_input(32, 8, 5);
  const at::Tensor sigma = at::tensor({0.6, 1.0}, at::kDouble);
  at::Tensor target;
  const auto squared_error = [&](std::int64_t features) {
    double sum = 0;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      spec.seed = seed;
      const auto mixer = make_mixer(mixer_case("rfa", {{"features", features}}), spec);
      set(*mixer, "sigma", sigma);
      if (!target.defined()) {
        const auto unit = [&](const std::string& name) {
          const at::Tensor rows = project(*mixer, name, x).view({32, 2, 4});
          return (rows / rows.square().sum(-1, true).sqrt()).view({32, 8}).contiguous();
        };
        const at::Tensor q = unit("query"), k = unit("key");
        target = attention_over_values(
            *mixer, spec, 32, project(*mixer, "value", x), [&](std::int64_t h, std::int64_t i, std::int64_t j) {
              return std::exp(std::pow(number(sigma[h]), 2) * head_product(spec, q, k, h, i, j));
            });
      }
      sum += number((alone(*mixer, x) - target).square().mean());
    }
    return sum / 40;
  };
  const double few = squared_error(64), more = squared_error(256), many = squared_error(4096);
  CHECK(few / more > 2.5);
  CHECK(few / more < 6.5);
  CHECK(more / many > 10);
  CHECK(more / many < 26);
  CHECK(many < 1e-3 * number(target.square().mean()));
}

TEST_CASE("RFA's directions are standard normal, from its own seed, and its scales start at 1", "[mixers]") {
  MixerSpec spec = small_spec();
  spec.d_qkv = 32;
  const MixerCase one = mixer_case("rfa", {{"features", 400}});
  const at::Tensor directions = make_mixer(one, spec)->named_buffers()["directions"].to(at::kDouble);
  REQUIRE(directions.sizes() == at::IntArrayRef({400, 16}));
  CHECK(std::abs(number(directions.mean())) < 4 / 80.0);  // 6,400 numbers
  CHECK(std::abs(number(directions.var()) - 1) < 4 * std::sqrt(2.0) / 80);
  CHECK(std::abs(number(directions.pow(4).mean()) - 3) < 4 * std::sqrt(96.0) / 80);
  spec.seed += 1;
  CHECK_FALSE(at::equal(make_mixer(one, spec)->named_buffers()["directions"].to(at::kDouble), directions));
  CHECK(at::equal(parameter(*mixer_registry().at("rfa").make(spec, one.options), "sigma"), at::ones({2})));
}

TEST_CASE("Every kind of Synthesizer equals its logits computed number by number", "[mixers]") {
  const MixerSpec spec = small_spec();
  for (const bool mixture : {false, true}) {
    for (const Json& options :
         {Json{{"kind", "random"}}, Json{{"factorized", true}, {"rank", 3}}, Json{{"kind", "dense"}},
          Json{{"kind", "dense"}, {"factorized", true}}, Json{{"kind", "dense"}, {"factorized", true}, {"factor", 5}},
          Json{{"kind", "dense"}, {"factorized", true}, {"factor", 99}}}) {
      Json all = options;
      all["mixture"] = mixture;
      const auto mixer = make_mixer(mixer_case("synthesizer", all), spec);
      const bool factorized = options.value("factorized", false);
      const std::int64_t b = options.value("factor", 0) == 0
                                 ? 7
                                 : std::min(options.value("factor", 0), 48);  // 7: the root of 48, rounded up
      for (const std::int64_t n : {1, 2, 5, 16, 17, 47, 48}) {
        INFO(all.dump() << ", n " << n);
        const at::Tensor x = random_input(n, 8, 6) * 2;
        const auto p = [&](const std::string& name) { return parameter(*mixer, name).detach(); };
        at::Tensor logits = at::zeros({2, n, n}, at::kDouble);
        auto logit = logits.accessor<double, 3>();
        const at::Tensor hidden =
            options.value("kind", "") == "dense" ? project(*mixer, "hidden", x).clamp_min(0) : at::Tensor();
        const at::Tensor q = mixture ? project(*mixer, "query", x) : at::Tensor(),
                         k = mixture ? project(*mixer, "key", x) : at::Tensor();
        // The number that row j of a layer makes of token i.
        const auto dense = [&](const std::string& name, std::int64_t h, std::int64_t i, std::int64_t j) {
          return number((p(name + "_weight")[h][j] * hidden[i].narrow(0, h * 4, 4)).sum() + p(name + "_bias")[h][j]);
        };
        for (std::int64_t h = 0; h < 2; ++h) {
          for (std::int64_t i = 0; i < n; ++i) {
            for (std::int64_t j = 0; j < n; ++j) {
              if (n > 17 && i % 5 != 0) continue;  // some of the long ones' rows
              if (hidden.defined()) {
                logit[h][i][j] =
                    factorized ? dense("a", h, i, j / b) * dense("b", h, i, j % b) : dense("dense", h, i, j);
              } else {
                logit[h][i][j] = number(factorized ? (p("left")[h][i] * p("right")[h][j]).sum() : p("logits")[h][i][j]);
              }
              if (mixture) logit[h][i][j] += head_product(spec, q, k, h, i, j) / 2;
            }
          }
        }
        const at::Tensor expected = attention_over_values(
            *mixer, spec, n, project(*mixer, "value", x),
            [&](std::int64_t h, std::int64_t i, std::int64_t j) { return std::exp(logit[h][i][j]); });
        const std::int64_t step = n > 17 ? 5 : 1;
        CHECK(largest_difference(alone(*mixer, x).slice(0, 0, n, step), expected.slice(0, 0, n, step)) < exact);
      }
    }
  }
}

TEST_CASE("Synthesizer has the parameters of its kind alone", "[mixers]") {
  const auto names = [](const Json& options) {
    std::set<std::string> result;
    MixerSpec spec = small_spec();
    spec.bias = false;
    for (const auto& item : make_mixer(mixer_case("synthesizer", options), spec)->named_parameters())
      result.insert(item.key());
    result.erase("value.weight");
    result.erase("output.weight");
    return result;
  };
  CHECK(names(Json::object()) == std::set<std::string>{"logits"});
  CHECK(names({{"mixture", true}}) == std::set<std::string>{"logits", "query.weight", "key.weight"});
  CHECK(names({{"factorized", true}}) == std::set<std::string>{"left", "right"});
  CHECK(names({{"kind", "dense"}}) == std::set<std::string>{"hidden.weight", "dense_weight", "dense_bias"});
  CHECK(names({{"kind", "dense"}, {"factorized", true}}) ==
        std::set<std::string>{"hidden.weight", "a_weight", "a_bias", "b_weight", "b_bias"});
}

TEST_CASE("A Synthesizer mixture without learned logits is softmax attention", "[mixers]") {
  const auto softmax = make_mixer(mixer_case("softmax"), small_spec());
  const auto mixture = make_mixer(mixer_case("synthesizer", {{"mixture", true}}), small_spec());
  copy_parameters(*softmax, *mixture);
  set(*mixture, "logits", at::zeros({2, 48, 48}));
  const SequenceLayout layout({48, 1, 29});
  const at::Tensor x = random_input(layout.tokens(), 8, 7);
  CHECK(largest_difference(mixture->forward(x, layout), softmax->forward(x, layout)) < exact);
}

TEST_CASE("Synthesizer's dropout differs between sequences that share their weights", "[mixers]") {
  MixerSpec spec = small_spec();
  spec.attention_dropout = 0.5;
  spec.layout = "padded";
  const auto mixer = make_mixer(mixer_case("synthesizer"), spec);
  mixer->train();
  torch::manual_seed(3);
  const at::Tensor x = random_input(20, 8, 8);
  const at::Tensor out = mixer->forward(at::cat({x, x}), SequenceLayout({20, 20}));
  CHECK(largest_difference(out.narrow(0, 0, 20), out.narrow(0, 20, 20)) > 1e-3);
}

TEST_CASE("MLP-Mixer equals its MLP along the tokens number by number", "[mixers]") {
  const MixerSpec spec = small_spec();
  for (const auto& [option, hidden] : std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 12}, {1, 1}, {7, 7}}) {
    const auto mixer = make_mixer(mixer_case("mlp_mixer", {{"hidden", option}}), spec);
    REQUIRE(parameter(*mixer, "expand_weight").sizes() == at::IntArrayRef({hidden, 48}));
    const auto p = [&](const std::string& name) { return parameter(*mixer, name).detach(); };
    const at::Tensor expand = p("expand_weight"), contract = p("contract_weight");
    for (const std::int64_t n : {1, 2, 17, 48}) {
      INFO("hidden " << option << ", n " << n);
      const at::Tensor x = random_input(n, 8, 9);
      at::Tensor expected = at::zeros({n, 8}, at::kDouble);
      for (std::int64_t f = 0; f < 8; ++f) {
        for (std::int64_t t = 0; t < n; ++t) expected[t][f] = p("contract_bias")[t];
        for (std::int64_t u = 0; u < hidden; ++u) {
          double sum = number(p("expand_bias")[u]);
          for (std::int64_t t = 0; t < n; ++t) sum += number(expand[u][t]) * number(x[t][f]);
          for (std::int64_t t = 0; t < n; ++t) expected[t][f] += number(contract[t][u]) * gelu(sum);
        }
      }
      CHECK(largest_difference(alone(*mixer, x), expected) < exact);
    }
  }
  const auto width = [&](std::int64_t max_length) {
    MixerSpec other = small_spec();
    other.max_length = max_length;
    return parameter(*make_mixer(mixer_case("mlp_mixer"), other), "expand_bias").size(0);
  };
  CHECK(width(3) == 1);
  CHECK(width(1024) == 256);
  CHECK(width(4096) == 256);
}

TEST_CASE("gMLP equals its gate number by number", "[mixers]") {
  MixerSpec spec = small_spec();
  spec.d_qkv = 6;
  const auto mixer = make_mixer(mixer_case("gmlp"), spec);
  const auto p = [&](const std::string& name) { return parameter(*mixer, name).detach(); };
  for (const std::int64_t n : {1, 2, 17, 48}) {
    INFO("n " << n);
    const at::Tensor x = random_input(n, 8, 10);
    at::Tensor wide = project(*mixer, "input", x);
    for (std::int64_t i = 0; i < wide.numel(); ++i) wide.view({-1})[i] = gelu(number(wide.view({-1})[i]));
    at::Tensor v = wide.narrow(1, 3, 3);
    v = v - v.mean(1, true);
    v = v / (v.square().mean(1, true) + 1e-5).sqrt() * p("norm.weight") + p("norm.bias");
    at::Tensor gated = at::zeros({n, 3}, at::kDouble);
    for (std::int64_t t = 0; t < n; ++t) {
      at::Tensor gate = p("spatial_bias")[t].expand({3});
      for (std::int64_t s = 0; s < n; ++s) gate = gate + p("spatial_weight")[t][s] * v[s];
      gated[t] = wide[t].narrow(0, 0, 3) * gate;
    }
    CHECK(largest_difference(alone(*mixer, x), project(*mixer, "output", gated)) < exact);
  }
}

TEST_CASE("gMLP starts as a feed-forward layer of each token", "[mixers]") {
  torch::manual_seed(1);
  const MixerSpec spec = small_spec();
  const auto mixer = mixer_registry().at("gmlp").make(spec, Json::object());
  CHECK(at::equal(parameter(*mixer, "spatial_bias"), at::ones({48})));
  CHECK(number(parameter(*mixer, "spatial_weight").abs().max().to(at::kDouble)) > 0.99e-3 / 48);
  mixer->to(at::kDouble);
  const at::Tensor x = random_input(48, 8, 11);
  const at::Tensor plain = project(*mixer, "output", at::gelu(project(*mixer, "input", x)).narrow(1, 0, 4));
  // The gate is 1 + a sum of at most 48 numbers of 1e-3 / 48, each times a normalised channel, which is at most √3 for
  // 4 of them.
  const double difference = largest_difference(alone(*mixer, x), plain);
  CHECK(difference > 0);
  CHECK(difference < 1e-3 * std::sqrt(3.0) * 4 * number(plain.abs().max()));
}

TEST_CASE("gMLP needs an even width", "[mixers]") {
  MixerSpec spec = small_spec();
  spec.d_qkv = 7;
  spec.num_heads = 1;
  CHECK_THROWS_AS(make_mixer(mixer_case("gmlp"), spec), Error);
}

TEST_CASE("Of parameters tied to the length only the first n places count for n tokens", "[mixers][each]") {
  const std::set<std::string> tied = {
      "logits",   "left",   "right",         "dense_weight",    "dense_bias",    "a_weight",       "a_bias",
      "b_weight", "b_bias", "expand_weight", "contract_weight", "contract_bias", "spatial_weight", "spatial_bias"};
  for (const auto& one : mixer_cases()) {
    if (one.mixer != "synthesizer" && one.mixer != "mlp_mixer" && one.mixer != "gmlp") continue;
    INFO(one.name());
    const auto mixer = make_mixer(one, small_spec());
    const at::Tensor x = random_input(20, 8, 12);
    const at::Tensor before = alone(*mixer, x);
    const at::NoGradGuard guard;
    for (const auto& item : mixer->named_parameters()) {
      if (tied.count(item.key()) == 0) continue;
      INFO(item.key());
      // Factors a (48 / b rows) are used up to the one that 20 falls in; factors b whole, since b < 20.
      const std::int64_t b = mixer->named_parameters().contains("b_bias") ? parameter(*mixer, "b_bias").size(1) : 0;
      const std::int64_t used = item.key().starts_with("a_") ? (20 + b - 1) / b : item.key().starts_with("b_") ? b : 20;
      bool changed = false;
      for (std::int64_t dim = 0; dim < item.value().dim(); ++dim) {
        const bool places = item.value().size(dim) == 48 || (dim == 1 && item.key()[1] == '_');
        if (!places || used == item.value().size(dim)) continue;
        item.value().slice(dim, used).fill_(1e6);
        changed = true;
      }
      CHECK((changed || item.key().starts_with("b_")));
    }
    CHECK(largest_difference(alone(*mixer, x), before) == 0);
    CHECK(largest_difference(mixer->forward(x, SequenceLayout({9, 11})).narrow(0, 0, 9),
                             alone(*mixer, x.narrow(0, 0, 9))) < exact);
  }
}

TEST_CASE("Mixers tied to the length refuse longer sequences", "[mixers]") {
  for (const std::string name : {"synthesizer", "mlp_mixer", "gmlp", "bigbird", "reformer"}) {
    INFO(name);
    const auto mixer = make_mixer(mixer_case(name), small_spec());
    CHECK_THROWS_AS(alone(*mixer, random_input(49, 8, 13)), c10::Error);
  }
}

TEST_CASE("Learned logits and maps along the sequence start as the paper says or Xavier-uniform", "[mixers]") {
  torch::manual_seed(2);
  MixerSpec spec = small_spec();
  spec.max_length = 200;
  const auto largest = [&](const std::string& mixer, const Json& options, const std::string& name) {
    const at::Tensor values = parameter(*mixer_registry().at(mixer).make(spec, resolved_options(mixer, options)), name)
                                  .detach()
                                  .to(at::kDouble);
    return std::make_pair(number(values.max()), number(-values.min()));
  };
  const auto check = [&](const std::string& mixer, const Json& options, const std::string& name, double bound) {
    INFO(mixer << " " << name);
    for (const double value : {largest(mixer, options, name).first, largest(mixer, options, name).second}) {
      CHECK(value <= bound * (1 + 1e-6));
      CHECK(value > 0.95 * bound);
    }
  };
  check("synthesizer", Json::object(), "logits", std::sqrt(6.0 / 400));
  check("synthesizer", {{"factorized", true}}, "left", std::sqrt(6.0 / 208));
  check("synthesizer", {{"kind", "dense"}}, "dense_weight", std::sqrt(6.0 / 204));
  check("mlp_mixer", Json::object(), "expand_weight", std::sqrt(6.0 / 250));
  check("mlp_mixer", Json::object(), "contract_weight", std::sqrt(6.0 / 250));
  check("gmlp", Json::object(), "spatial_weight", 1e-3 / 200);
}
