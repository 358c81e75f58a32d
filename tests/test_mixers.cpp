// The rules that hold for every mixer, in loops over the registry, and the exact limit of each.
#include <ATen/ATen.h>
#include <torch/utils.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <filesystem>
#include <map>
#include <numbers>
#include <set>

#include "mixer_cases.h"

using namespace lra;
using namespace lra::testing;

namespace {

constexpr double exact = 1e-9;

const std::vector<std::string> layouts = {"per_sequence", "padded", "auto"};

}  // namespace

TEST_CASE("Every mixer is one source file, one name and one JSON file with its defaults", "[mixers]") {
  namespace fs = std::filesystem;
  const fs::path root = LRA_SOURCE_DIR;
  const std::set<std::string> bases = {"mixer", "attention_mixer", "sequence_layout"};
  std::set<std::string> sources, configs;
  for (const auto& file : fs::directory_iterator(root / "lib/mixers")) {
    if (file.path().extension() == ".cpp" && bases.count(file.path().stem()) == 0) sources.insert(file.path().stem());
  }
  for (const auto& file : fs::directory_iterator(root / "configs/mixers")) configs.insert(file.path().stem());
  const auto names = mixer_registry().names();
  const std::set<std::string> registered(names.begin(), names.end());
  CHECK(sources == registered);
  CHECK(configs == registered);
  for (const auto& name : registered) {
    INFO(name);
    const Json json = read_json(root / "configs/mixers" / (name + ".json"));
    CHECK(json.at("mixer") == name);
    CHECK(json.at("options") == resolved_options(name, Json::object()));
    CHECK_FALSE(json.at("display_name").get<std::string>().empty());
    CHECK_THROWS_AS(resolved_options(name, {{"no_such_option", 1}}), Error);
  }
}

TEST_CASE("Padding and neighbours are invisible, at any length", "[mixers][each]") {
  for (const auto& one : mixer_cases()) {
    const std::int64_t b = std::max<std::int64_t>(one.block, 4);
    const std::vector<std::int64_t> lengths = {1, 2, b - 1, b, b + 1, 13, 31, 2 * b};
    const SequenceLayout layout(lengths);
    const at::Tensor x = random_input(layout.tokens(), 8, 1);
    for (const auto& how : layouts) {
      INFO(one.name() << ", " << how);
      MixerSpec spec = small_spec();
      spec.layout = how;
      const auto mixer = make_mixer(one, spec);
      const at::Tensor together = forward(*mixer, x, layout);
      for (std::int64_t i = 0; i < layout.batch(); ++i) {
        INFO("length " << layout.length(i));
        const at::Tensor mine = together.narrow(0, layout.offset(i), layout.length(i));
        CHECK(largest_difference(mine, alone(*mixer, x.narrow(0, layout.offset(i), layout.length(i)))) < exact);
      }
      // Sequences of equal length: a rectangle without padding.
      const at::Tensor equal = forward(*mixer, x.narrow(0, 0, 39), SequenceLayout({13, 13, 13}));
      for (std::int64_t i = 0; i < 3; ++i)
        CHECK(largest_difference(equal.narrow(0, 13 * i, 13), alone(*mixer, x.narrow(0, 13 * i, 13))) < exact);
      // The third sequence beside others, of other lengths and much larger numbers.
      const at::Tensor third = x.narrow(0, layout.offset(2), layout.length(2));
      const at::Tensor others = random_input(47, 8, 2) * 100;
      const at::Tensor changed = forward(*mixer, at::cat({others.narrow(0, 0, 7), third, others.narrow(0, 7, 40)}),
                                         SequenceLayout({7, layout.length(2), 40}));
      CHECK(largest_difference(changed.narrow(0, 7, layout.length(2)),
                               together.narrow(0, layout.offset(2), layout.length(2))) < exact);
    }
  }
}

TEST_CASE("A hidden token reaches no other token", "[mixers][each]") {
  for (const auto& one : mixer_cases()) {
    if (!one.traits().hides_keys) continue;
    at::Tensor first;
    for (const auto& how : layouts) {
      MixerSpec spec = small_spec();
      spec.layout = how;
      const auto mixer = make_mixer(one, spec);
      SequenceLayout layout({5, 48, 17, 33});
      const at::Tensor visible = random_input(layout.tokens(), 1, 7).squeeze(1).gt(-0.3);
      visible.narrow(0, layout.offset(1) + 10, 25).fill_(false);  // more than a window, and a whole sequence
      visible.narrow(0, layout.offset(2), layout.length(2)).fill_(false);
      const at::Tensor x = random_input(layout.tokens(), 8, 8);
      const at::Tensor changed = at::where(visible.unsqueeze(1), x, random_input(layout.tokens(), 8, 9) * 10);
      const at::Tensor before_all = forward(*mixer, x, layout);
      layout.set_visible(visible);
      const at::Tensor before = forward(*mixer, x, layout), after = forward(*mixer, changed, layout);
      INFO(one.name() << ", " << how);
      CHECK(largest_difference(before.index({visible}), after.index({visible})) < exact);
      CHECK(largest_difference(before, before_all) > 1e-3);
      // Those that see nothing get the same in every layout.
      if (!first.defined()) first = before;
      CHECK(largest_difference(before, first) < exact);
      // With everything visible nothing changes.
      layout.set_visible(at::ones({layout.tokens()}, at::kBool));
      CHECK(largest_difference(forward(*mixer, x, layout), before_all) < exact);
    }
  }
}

TEST_CASE("A row of weights sums to one", "[mixers][each]") {
  for (const auto& one : mixer_cases()) {
    if (!one.traits().rows_sum_to_one) continue;
    for (const auto& how : layouts) {
      INFO(one.name() << ", " << how);
      MixerSpec spec = small_spec();
      spec.layout = how;
      const auto mixer = make_mixer(one, spec);
      values_of_one(*mixer);
      const SequenceLayout layout({5, 48, 1, 33});
      const at::Tensor out = forward(*mixer, random_input(layout.tokens(), 8, 3) * 3, layout);
      CHECK(largest_difference(out, at::ones_like(out)) < exact);
    }
  }
}

TEST_CASE("Softmax, flash, local and linear attention equal a computation number by number", "[mixers]") {
  const MixerSpec spec = small_spec();
  for (const std::int64_t n : {1, 2, 5, 16, 17, 47}) {
    INFO("n " << n);
    const at::Tensor x = random_input(n, 8, 4) * 2;
    const auto check = [&](const MixerCase& one, auto weight) {
      INFO(one.name());
      const auto mixer = make_mixer(one, spec);
      CHECK(largest_difference(alone(*mixer, x), attention_by_hand(*mixer, spec, x, weight)) < exact);
    };
    const auto full = [](auto, auto, auto, const double* q, const double* k, std::int64_t d) {
      return softmax_weight(q, k, d);
    };
    check(mixer_case("softmax"), full);
    check(mixer_case("flash"), full);
    check(mixer_case("local", {{"window", n}}), full);
    check(mixer_case("local", {{"blocked", true}, {"block", n}}), full);
    for (const std::int64_t window : {0, 1, 4, 15, 16, 46}) {
      check(mixer_case("local", {{"window", window}}),
            [&](auto, std::int64_t i, std::int64_t j, const double* q, const double* k, std::int64_t d) {
              return std::abs(i - j) <= window ? softmax_weight(q, k, d) : 0.0;
            });
    }
    for (const std::int64_t block : {1, 4, 5, 16}) {
      check(mixer_case("local", {{"blocked", true}, {"block", block}}),
            [&](auto, std::int64_t i, std::int64_t j, const double* q, const double* k, std::int64_t d) {
              return i / block == j / block ? softmax_weight(q, k, d) : 0.0;
            });
    }
    check(mixer_case("linear"), [](auto, auto, auto, const double* q, const double* k, std::int64_t d) {
      const auto phi = [](double t) { return t > 0 ? t + 1 : std::exp(t); };
      double dot = 0;
      for (std::int64_t f = 0; f < d; ++f) dot += phi(q[f]) * phi(k[f]);
      return dot;
    });
  }
}

TEST_CASE("A long window crosses many blocks as a short one does", "[mixers]") {
  MixerSpec spec = small_spec();
  spec.max_length = 300;
  const auto mixer = make_mixer(mixer_case("local", {{"window", 20}}), spec);
  const at::Tensor x = random_input(257, 8, 5);
  const auto in_window = [](auto, std::int64_t i, std::int64_t j, const double* q, const double* k, std::int64_t d) {
    return std::abs(i - j) <= 20 ? softmax_weight(q, k, d) : 0.0;
  };
  CHECK(largest_difference(alone(*mixer, x), attention_by_hand(*mixer, spec, x, in_window)) < exact);
}

TEST_CASE("Linformer with identity matrices is softmax attention", "[mixers]") {
  const MixerSpec spec = small_spec();
  const at::Tensor x = random_input(48, 8, 6);
  const auto softmax = make_mixer(mixer_case("softmax"), spec);
  for (const std::string share : {"none", "heads", "kv"}) {
    INFO(share);
    const auto linformer = make_mixer(mixer_case("linformer", {{"k", 48}, {"share", share}}), spec);
    for (const auto& name : {"query", "key", "value", "output"}) {
      for (const auto& part : {".weight", ".bias"})
        set(*linformer, std::string(name) + part, parameter(*softmax, std::string(name) + part));
    }
    const at::Tensor identity = at::eye(48, at::kDouble);
    set(*linformer, "E", identity);
    if (share != "kv") set(*linformer, "F", identity);
    CHECK(largest_difference(alone(*linformer, x), alone(*softmax, x)) < exact);
    // Only the first n rows count for n tokens.
    const at::Tensor before = alone(*linformer, x.narrow(0, 0, 20));
    parameter(*linformer, "E").detach().slice(-2, 20).fill_(1e6);
    CHECK(largest_difference(alone(*linformer, x.narrow(0, 0, 20)), before) == 0);
  }
}

TEST_CASE("Performer's error falls as the square root of its features", "[mixers]") {
  MixerSpec spec = small_spec();
  const at::Tensor x = random_input(32, 8, 7) * 0.3;
  const auto softmax = make_mixer(mixer_case("softmax"), spec);
  const at::Tensor target = alone(*softmax, x);
  const auto squared_error = [&](std::int64_t features) {
    double sum = 0;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      spec.seed = seed;
      const auto performer =
          make_mixer(mixer_case("performer", {{"features", features}, {"feature_epsilon", 0.0}}), spec);
      sum += (alone(*performer, x) - target).square().mean().item<double>();
    }
    return sum / 40;
  };
  const double few = squared_error(32), more = squared_error(128), many = squared_error(2048);
  CHECK(few / more > 2.5);
  CHECK(few / more < 6.5);
  CHECK(more / many > 10);
  CHECK(more / many < 26);
  CHECK(many < 1e-3 * target.square().mean().item<double>());
}

TEST_CASE("Performer's features are what it says, epsilon included", "[mixers]") {
  const MixerSpec spec = small_spec();
  const at::Tensor x = random_input(9, 8, 16);
  for (const std::string kernel : {"softmax", "relu"}) {
    INFO(kernel);
    const auto performer =
        make_mixer(mixer_case("performer", {{"features", 6}, {"kernel", kernel}, {"feature_epsilon", 0.3}}), spec);
    const auto heads = [&](const std::string& name) {
      const at::Tensor rows =
          at::linear(x, parameter(*performer, name + ".weight"), parameter(*performer, name + ".bias"));
      return rows.view({9, 2, 4}).transpose(0, 1);  // (H, n, d)
    };
    const at::Tensor directions = performer->named_buffers()["directions"];
    const auto features = [&](const at::Tensor& tokens) {
      const at::Tensor scaled = tokens / std::pow(4.0, 0.25);
      const at::Tensor logits = at::matmul(scaled, directions.t());
      return kernel == "softmax" ? (logits - scaled.square().sum(-1, true) / 2).exp() : logits.clamp_min(0);
    };
    at::Tensor q = features(heads("query")), k = features(heads("key"));
    if (kernel == "softmax") {
      q = q / q.mean(-1, true);
      k = k / k.mean({-2, -1}, true);
    }
    const at::Tensor weights = at::matmul(q + 0.3, (k + 0.3).transpose(-2, -1));
    const at::Tensor mixed =
        at::matmul(weights / weights.sum(-1, true), heads("value")).transpose(0, 1).reshape({9, 8});
    const at::Tensor expected =
        at::linear(mixed, parameter(*performer, "output.weight"), parameter(*performer, "output.bias"));
    CHECK(largest_difference(alone(*performer, x), expected) < exact);
  }
}

TEST_CASE("Performer's directions are orthogonal in blocks and as long as normal vectors", "[mixers]") {
  MixerSpec spec = small_spec();
  spec.d_qkv = 32;
  const auto performer = make_mixer(mixer_case("performer", {{"features", 400}}), spec);
  const at::Tensor directions = performer->named_buffers()["directions"];
  REQUIRE(directions.sizes() == at::IntArrayRef({400, 16}));
  double off_diagonal = 0;
  for (std::int64_t first = 0; first < 400; first += 16) {
    const at::Tensor block = directions.narrow(0, first, 16);
    const at::Tensor products = at::mm(block, block.t());
    off_diagonal = std::max(off_diagonal, (products - products.diag().diag()).abs().max().item<double>());
  }
  CHECK(off_diagonal < 1e-4);  // drawn in float64, kept in float32
  const double mean_square =
      directions.square().sum(1).mean().item<double>();  // χ² with 16 degrees of freedom: 16 ± √32 / √400
  CHECK(std::abs(mean_square - 16) < 4 * std::sqrt(32.0 / 400));
  CHECK(directions.square().sum(1).std().item<double>() > 4);
}

TEST_CASE("Performer draws again when told, as a function of seed and step", "[mixers]") {
  const auto directions = [](const Mixer& mixer) { return mixer.named_buffers()["directions"].clone(); };
  const MixerCase redrawing = mixer_case("performer", {{"features", 12}, {"redraw_every", 5}});
  const auto straight = make_mixer(redrawing, small_spec());
  std::map<std::int64_t, at::Tensor> at_step;
  for (std::int64_t step = 0; step < 12; ++step) {
    straight->begin_training_step(step);
    at_step[step] = directions(*straight);
  }
  CHECK(at::equal(at_step[0], at_step[4]));
  CHECK_FALSE(at::equal(at_step[4], at_step[5]));
  CHECK_FALSE(at::equal(at_step[5], at_step[10]));
  const auto resumed = make_mixer(redrawing, small_spec());
  resumed->begin_training_step(10);
  CHECK(at::equal(directions(*resumed), at_step[10]));
  const auto fixed = make_mixer(mixer_case("performer", {{"features", 12}}), small_spec());
  const at::Tensor initial = directions(*fixed);
  for (std::int64_t step = 0; step < 12; ++step) fixed->begin_training_step(step);
  CHECK(at::equal(directions(*fixed), initial));
  MixerSpec other = small_spec();
  other.seed += 1;
  CHECK_FALSE(at::equal(directions(*make_mixer(redrawing, other)), at_step[0]));
}

TEST_CASE("FNet is the real part of the discrete Fourier transform over the full length", "[mixers]") {
  for (const std::int64_t width : {1, 2, 7, 8}) {
    for (const std::int64_t n : {1, 2, 11, 12}) {
      INFO("width " << width << ", n " << n);
      MixerSpec spec = small_spec();
      spec.d_model = width;
      spec.max_length = 12;
      const at::Tensor x = random_input(n, width, 8);
      at::Tensor expected = at::zeros({n, width}, at::kDouble);
      for (std::int64_t t = 0; t < n; ++t) {
        for (std::int64_t f = 0; f < width; ++f) {
          double sum = 0;
          for (std::int64_t s = 0; s < n; ++s) {
            for (std::int64_t g = 0; g < width; ++g) {
              const double turns =
                  static_cast<double>(t * s) / 12 + static_cast<double>(f * g) / static_cast<double>(width);
              sum += x[s][g].item<double>() * std::cos(2 * std::numbers::pi * turns);
            }
          }
          expected[t][f] = sum;
        }
      }
      CHECK(largest_difference(alone(*make_mixer(mixer_case("fnet"), spec), x), expected) < exact);
    }
  }
}

TEST_CASE("In float32 the outputs are those of float64", "[mixers][each]") {
  const SequenceLayout layout({9, 48, 1, 30});
  const at::Tensor x = random_input(layout.tokens(), 8, 17);
  for (const auto& one : mixer_cases()) {
    INFO(one.name());
    const at::Tensor expected = forward(*make_mixer(one, small_spec()), x, layout);
    const auto mixer = make_mixer(one, small_spec());
    mixer->to(at::kFloat);
    CHECK(largest_difference(forward(*mixer, x.to(at::kFloat), layout).to(at::kDouble), expected) <
          1e-5 * expected.abs().max().item<double>());
  }
}

TEST_CASE("Evaluation and construction are deterministic, and leave the default generator alone", "[mixers][each]") {
  const SequenceLayout layout({9, 30});
  const at::Tensor x = random_input(layout.tokens(), 8, 9);
  for (const auto& one : mixer_cases()) {
    INFO(one.name());
    const auto mixer = make_mixer(one, small_spec());
    const at::Tensor first = forward(*mixer, x, layout);
    CHECK(at::equal(forward(*mixer, x, layout), first));
    CHECK(at::equal(forward(*make_mixer(one, small_spec()), x, layout), first));
    mixer->train();  // attention dropout is 0 here
    torch::manual_seed(1);
    const at::Tensor expected = at::rand({4});
    torch::manual_seed(1);
    mixer->begin_training_step(0);
    const at::Tensor trained = forward(*mixer, x, layout);
    CHECK(at::equal(at::rand({4}), expected));
    const bool draws = one.options.value("gumbel", false) || one.options.value("redraw_every", 0) > 0;
    CHECK(at::equal(trained, first) == !draws);  // nothing else may tell training from evaluation
  }
}

TEST_CASE("Attention dropout exists where the traits say, in training only", "[mixers][each]") {
  const SequenceLayout layout({9, 30});
  const at::Tensor x = random_input(layout.tokens(), 8, 10);
  MixerSpec spec = small_spec();
  spec.attention_dropout = 0.5;
  for (const auto& one : mixer_cases()) {
    INFO(one.name());
    const auto mixer = make_mixer(one, spec);
    const at::Tensor evaluated = forward(*mixer, x, layout);
    CHECK(at::equal(evaluated, forward(*make_mixer(one, small_spec()), x, layout)));
    mixer->train();
    torch::manual_seed(1);
    CHECK(at::equal(forward(*mixer, x, layout), evaluated) == !one.traits().attention_dropout);
  }
}

TEST_CASE("Gradients agree with finite differences, and every parameter has one", "[mixers][each]") {
  const SequenceLayout layout({7, 18, 1});
  for (const auto& one : mixer_cases()) {
    for (const auto& how : layouts) {
      MixerSpec spec = small_spec();
      spec.layout = how;
      spec.max_length = 18;
      const auto mixer = make_mixer(one, spec);
      const at::Tensor x = random_input(layout.tokens(), 8, 12).requires_grad_();
      const at::Tensor direction = random_input(layout.tokens(), 8, 13);
      const auto loss = [&] { return (forward(*mixer, x, layout) * direction).sum(); };
      loss().backward();
      const at::NoGradGuard guard;
      std::vector<std::pair<std::string, at::Tensor>> tensors = {{"input", x}};
      for (const auto& item : mixer->named_parameters()) tensors.emplace_back(item.key(), item.value());
      for (const auto& [name, tensor] : tensors) {
        INFO(one.name() << ", " << how << ", " << name);
        REQUIRE(tensor.grad().defined());
        const double scale = tensor.grad().abs().max().item<double>();
        CHECK((scale > 1e-6) == (one.zero_gradients.count(name) == 0));
        at::Tensor flat = tensor.view({-1});
        const at::Tensor gradient = tensor.grad().reshape({-1});
        const std::int64_t stride = std::max<std::int64_t>(1, flat.numel() / 6);
        for (std::int64_t i = 0; i < flat.numel(); i += stride) {
          const double kept = flat[i].item<double>();
          const double step = 1e-5;
          flat[i].fill_(kept + step);
          const double above = loss().item<double>();
          flat[i].fill_(kept - step);
          const double below = loss().item<double>();
          flat[i].fill_(kept);
          CHECK(std::abs((above - below) / (2 * step) - gradient[i].item<double>()) < 1e-6 * std::max(1.0, scale));
        }
      }
    }
  }
}

TEST_CASE("No tensor grows with the square of the length, but where the traits say so", "[mixers][each]") {
  for (const auto& one : mixer_cases()) {
    for (const std::string how : {"per_sequence", "padded"}) {
      INFO(one.name() << ", " << how);
      MixerSpec spec = small_spec();
      spec.layout = how;
      const auto largest = [&](std::int64_t n) {
        spec.max_length =
            one.traits().fixed_length ? n : 1600;  // parameters tied to the length are counted at each length
        const auto mixer = make_mixer(one, spec);
        const OperatorObserver observer;
        forward(*mixer, random_input(2 * n - 7, 8, 14).requires_grad_(), SequenceLayout({n, n - 7})).sum().backward();
        return observer.largest_tensor();
      };
      const std::int64_t n = one.traits().quadratic_memory ? 200 : 400;  // squares are soon large
      const double growth = largest(4 * n) / largest(n);
      if (one.traits().quadratic_memory) {
        CHECK(growth > 12);
      } else {
        CHECK(growth < 6);
      }
    }
  }
}

TEST_CASE("The matrix multiplications that run are those that cost counts", "[mixers][each]") {
  for (const auto& one : mixer_cases()) {
    if (one.mixer == "fnet") continue;  // declared: there are none
    if (one.options.contains("token_ids") && !one.options["token_ids"].empty())
      continue;  // an upper bound: it depends on the data
    MixerSpec spec = small_spec();
    spec.max_length = 960;
    spec.layout =
        "per_sequence";  // inside the kernels, which leave out what a band hides of a block, no operator can be watched
    const auto mixer = make_mixer(one, spec);
    for (const std::int64_t multiple : {240, 480, 960}) {
      const std::int64_t n = multiple / one.block * one.block;
      INFO(one.name() << ", n " << n);
      const at::Tensor x = random_input(n, 8, 15);
      const OperatorObserver observer;
      alone(*mixer, x);
      CHECK(observer.flops() == mixer->cost(n).flops);
    }
  }
}
