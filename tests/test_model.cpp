#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/nn/module.h>
#include <torch/utils.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <map>

#include "cli/resolve.h"
#include "core/config_files.h"
#include "mixer_cases.h"
#include "model/classifier.h"
#include "model/embedding.h"

using namespace lra;
using namespace lra::testing;

namespace {

struct Sizes {
  TaskConfig task;
  ModelConfig model;
};

std::int64_t parameters(const Sizes& sizes) { return Classifier(sizes.task, sizes.model, 0).parameter_count(); }

Sizes with_mixer(Sizes sizes, const std::string& mixer, const Json& options = Json::object()) {
  sizes.model.mixer = mixer;
  sizes.model.mixer_options = resolved_options(mixer, options);
  return sizes;
}

Sizes sizes(std::int64_t seq_len, std::int64_t vocab_size, std::int64_t num_classes, std::int64_t layers,
            std::int64_t heads, std::int64_t d_model, std::int64_t d_qkv, std::int64_t d_ff, const std::string& pooling,
            const std::string& positions) {
  Sizes result;
  result.task.seq_len = seq_len;
  result.task.vocab_size = vocab_size;
  result.task.num_classes = num_classes;
  result.model.num_layers = layers;
  result.model.num_heads = heads;
  result.model.d_model = d_model;
  result.model.d_qkv = d_qkv;
  result.model.d_ff = d_ff;
  result.model.pooling = pooling;
  result.model.positions = positions;
  return with_mixer(result, "softmax");
}

// The Nyströmformer setting.
Sizes small(std::int64_t seq_len, std::int64_t vocab_size, std::int64_t num_classes,
            const std::string& pair_head = "none") {
  Sizes result = sizes(seq_len, vocab_size, num_classes, 2, 2, 64, 64, 128, "mean_padded", "learned");
  result.model.attention_bias = true;
  result.model.pair_head = pair_head;
  result.model.pair_hidden_layers = 1;
  return result;
}

Sizes retrieval(const std::string& pair_head) {
  Sizes result = sizes(4000, 257, 2, 4, 4, 128, 128, 512, "first", "sinusoid");
  result.model.pair_head = pair_head;
  return result;
}

Sizes tiny(const MixerCase& one, const std::string& pooling, const std::string& pair_head) {
  Sizes result = sizes(48, 17, 5, 2, 2, 8, 8, 12, pooling, "sinusoid");
  result.model.mixer = one.mixer;
  result.model.mixer_options = one.options;
  result.model.pair_head = pair_head;
  return result;
}

// float64, evaluation mode, with fixed weights large enough that logits depend on every part.
std::shared_ptr<Classifier> make(const Sizes& sizes, std::uint64_t seed = 3) {
  torch::manual_seed(1);
  auto classifier = std::make_shared<Classifier>(sizes.task, sizes.model, seed);
  classifier->to(at::kDouble);
  classifier->eval();
  const at::NoGradGuard guard;
  for (auto& parameter : classifier->parameters()) parameter.add_(at::randn_like(parameter) * 0.2);
  return classifier;
}

at::Tensor random_tokens(std::int64_t count) { return at::randint(1, 17, {count}, at::kLong); }

const Json k16 = {{"k", 16}, {"share", "kv"}};

}  // namespace

TEST_CASE("Parameter counts are those of the published models", "[model]") {
  const Sizes listops_2020 = sizes(2000, 17, 10, 6, 8, 512, 512, 2048, "cls", "sinusoid");
  const Sizes listops = sizes(2000, 17, 10, 4, 8, 512, 512, 1024, "cls", "sinusoid");
  const Sizes text = sizes(1000, 257, 2, 4, 4, 256, 256, 1024, "cls", "sinusoid");
  Sizes text_4000 = text;
  text_4000.task.seq_len = 4000;
  const auto image = [](std::int64_t layers, std::int64_t heads, std::int64_t d_model, std::int64_t d_qkv,
                        std::int64_t d_ff, const std::string& pooling) {
    return sizes(1024, 256, 10, layers, heads, d_model, d_qkv, d_ff, pooling, "learned");
  };
  const auto pathfinder = [](std::int64_t layers, std::int64_t heads, std::int64_t d_model, std::int64_t d_qkv,
                             std::int64_t d_ff) {
    return sizes(1024, 256, 2, layers, heads, d_model, d_qkv, d_ff, "mean", "sinusoid");
  };

  // The Transformer.
  CHECK(parameters(listops_2020) == 19'983'370);
  CHECK(parameters(listops) == 8'948'746);
  CHECK(parameters(text) == 3'486'722);
  CHECK(parameters(text_4000) == 3'486'722);
  CHECK(parameters(retrieval("concat")) == 1'087'618);
  CHECK(parameters(retrieval("nli")) == 1'218'690);
  CHECK(parameters(image(1, 1, 32, 32, 64, "cls")) == 52'266);
  CHECK(parameters(image(1, 8, 128, 64, 128, "cls")) == 248'458);
  CHECK(parameters(pathfinder(4, 4, 32, 16, 32)) == 26'530);
  CHECK(parameters(sizes(4096, 256, 2, 2, 4, 32, 32, 32, "cls", "learned")) == 153'186);
  CHECK(parameters(sizes(16384, 256, 2, 1, 2, 32, 16, 32, "mean", "learned")) == 537'954);
  CHECK(parameters(sizes(65536, 256, 2, 2, 4, 32, 32, 32, "cls", "learned")) == 2'119'266);

  CHECK(parameters(small(2048, 32, 10)) == 209'802);
  CHECK(parameters(small(4096, 512, 2)) == 370'562);
  CHECK(parameters(small(4096, 512, 2, "nli")) == 395'138);
  CHECK(parameters(small(1024, 512, 10)) == 174'986);
  CHECK(parameters(small(1024, 512, 2)) == 173'954);

  // The others; what the released code has less (negative) or more than the intended form is taken off and explained.
  const auto check = [](const std::string& mixer, const Json& options, const Sizes& how, std::int64_t published,
                        std::int64_t intended_has_more = 0) {
    INFO(mixer << ", " << how.task.seq_len << " places, " << how.model.num_layers << " layers of "
               << how.model.d_model);
    CHECK(parameters(with_mixer(how, mixer, options)) - intended_has_more == published);
  };
  const Json none = Json::object();
  const Json blocks_of_50 = {{"blocked", true}, {"block", 50}}, blocks_of_64 = {{"blocked", true}, {"block", 64}};

  // Those with the four projections alone are as large as the Transformer of the same sizes.
  for (const auto& [mixer, options] : std::vector<std::pair<std::string, Json>>{{"flash", none},
                                                                                {"linear", none},
                                                                                {"performer", none},
                                                                                {"local", blocks_of_50},
                                                                                {"sparse", none},
                                                                                {"bigbird", none}}) {
    check(mixer, options, listops, 8'948'746);
    check(mixer, options, text, 3'486'722);
    check(mixer, options, retrieval("concat"), 1'087'618);
    check(mixer, options, image(1, 8, 128, 64, 128, "cls"), 248'458);
  }
  check("bigbird", none, image(1, 4, 128, 64, 128, "cls"), 248'458);
  check("bigbird", none, pathfinder(4, 2, 64, 32, 64), 87'874);
  check("linear", none, pathfinder(1, 2, 128, 64, 128), 116'098);
  check("local", blocks_of_64, image(1, 2, 128, 64, 128, "mean"), 248'202);
  check("local", blocks_of_64, pathfinder(2, 4, 64, 32, 64), 54'338);
  check("performer", none, pathfinder(4, 8, 32, 16, 32), 26'530);
  check("performer", none, pathfinder(1, 8, 128, 64, 128), 116'098);
  check("sparse", none, pathfinder(1, 8, 32, 16, 32), 13'666);

  check("linformer", k16, listops, 9'076'810);
  check("linformer", k16, text, 3'550'786);
  check("linformer", k16, text_4000, 3'742'786);
  check("linformer", k16, retrieval("concat"), 1'343'618);
  check("linformer", k16, image(1, 8, 128, 64, 128, "cls"), 264'858);
  check("linformer", k16, pathfinder(1, 2, 32, 16, 32), 30'050);

  // The released code has the three projections of global tokens as well, and never a global token.
  const Json one_global = {{"global_tokens", 1}};
  check("longformer", one_global, listops, 12'094'474);
  check("longformer", one_global, text, 4'273'154);
  check("longformer", one_global, retrieval("concat"), 1'284'226);
  check("longformer", one_global, image(4, 4, 128, 64, 128, "mean"), 545'418);
  check("longformer", one_global, pathfinder(2, 2, 32, 16, 32), 21'026);

  // The released Reformer has no output projection (and its width is that of the model, whatever d_qkv says).
  const auto output_projections = [](const Sizes& how) {
    return how.model.num_layers * how.model.d_model * how.model.qkv_width();
  };
  for (const auto& [how, published] :
       std::vector<std::pair<Sizes, std::int64_t>>{{listops, 6'851'594},
                                                   {text, 2'962'434},
                                                   {retrieval("concat"), 956'546},
                                                   {image(4, 8, 64, 64, 64, "cls"), 154'058},
                                                   {pathfinder(2, 8, 64, 64, 64), 54'338}}) {
    check("reformer", none, how, published, output_projections(how));
  }

  // The released Sinkhorn sorts by one matrix from a head's features to at most 25 blocks, where the intended form has
  // a query and a key for each block; its head is one linear layer, without the hidden one.
  const auto sinkhorn_more = [](const Sizes& how) {
    const ModelConfig& model = how.model;
    const std::int64_t sorting =
        model.num_layers * (2 * model.d_model * model.qkv_width() - 25 * model.qkv_width() / model.num_heads);
    const std::int64_t classes = how.task.num_classes;
    return sorting + (model.d_model + 1) * model.d_ff + (model.d_ff + 1) * classes - (model.d_model + 1) * classes;
  };
  Sizes listops_mean = listops;
  listops_mean.model.pooling = "mean";
  for (const auto& [how, published] :
       std::vector<std::pair<Sizes, std::int64_t>>{{listops_mean, 8'424'202},
                                                   {image(1, 1, 32, 32, 64, "mean"), 50'570},
                                                   {pathfinder(2, 4, 32, 16, 64), 21'258}}) {
    check("sinkhorn", none, how, published, sinkhorn_more(how));
  }

  // The released Synthesizer adds its random logits to those of queries and keys.
  const Json mixture = {{"mixture", true}};
  check("synthesizer", mixture, text, 19'518'738);
  check("synthesizer", mixture, image(1, 8, 128, 64, 128, "cls"), 8'653'458);
  check("synthesizer", mixture, pathfinder(2, 4, 64, 32, 64), 8'442'946);
  // Too large to be made here. A count is a polynomial of the length of degree 2: three short models give all longer
  // ones.
  const auto extrapolated = [&](Sizes how) {
    const std::int64_t n = how.task.seq_len;
    std::vector<std::int64_t> counts;
    for (how.task.seq_len = 0; how.task.seq_len < 3; ++how.task.seq_len)
      counts.push_back(parameters(with_mixer(how, "synthesizer", mixture)));
    return counts[0] + n * (counts[1] - counts[0]) + n * (n - 1) / 2 * (counts[2] - 2 * counts[1] + counts[0]);
  };
  CHECK(extrapolated(text) == 19'518'738);  // as the model itself, above
  CHECK(extrapolated(listops) == 137'076'778);
  CHECK(extrapolated(text_4000) == 259'614'738);
}

TEST_CASE("The profiles have the published parameter counts for every task", "[model]") {
  const auto count = [](const std::string& profile, const std::string& task, const std::string& mixer) {
    const RunConfig config =
        resolve(layer_run({{"task", task}, {"mixer", mixer}, {"profile", profile}}, "the test", Json::object()));
    return Classifier(config.task, config.model, 0).parameter_count();
  };
  const std::map<std::string, std::map<std::string, std::int64_t>> lra_config = {
      {"listops", {{"softmax", 8'948'746}, {"linformer", 9'076'810}, {"longformer", 12'094'474}}},
      {"text", {{"softmax", 3'486'722}, {"linformer", 3'550'786}, {"longformer", 4'273'154}}},
      {"retrieval", {{"softmax", 1'087'618}, {"linformer", 1'343'618}, {"longformer", 1'284'226}}},
      {"image",
       {{"softmax", 248'458},
        {"linformer", 264'858},
        {"longformer", 545'418},
        {"local", 248'202},
        {"bigbird", 248'458},
        {"sparse", 248'458},
        {"linear", 248'458},
        {"performer", 248'458},
        {"synthesizer", 8'653'458}}},
      {"pathfinder",
       {{"softmax", 26'530},
        {"bigbird", 87'874},
        {"linear", 116'098},
        {"linformer", 30'050},
        {"local", 54'338},
        {"longformer", 21'026},
        {"performer", 26'530},
        {"sparse", 13'666},
        {"synthesizer", 8'442'946}}},
      {"pathfinder64", {{"softmax", 153'186}}},
      {"pathx", {{"softmax", 537'954}}},
      {"pathfinder256", {{"softmax", 2'119'266}}}};
  for (const auto& [task, counts] : lra_config) {
    for (const auto& [mixer, published] : counts) {
      INFO(task << " " << mixer);
      CHECK(count("lra-config", task, mixer) == published);
    }
  }
  CHECK(count("lra-paper", "listops", "softmax") == 19'983'370);
  CHECK(count("lra-paper", "retrieval", "softmax") == 1'218'690);
  for (const auto& [task, published] : std::map<std::string, std::int64_t>{{"listops", 209'802},
                                                                           {"text", 370'562},
                                                                           {"retrieval", 395'138},
                                                                           {"image", 174'986},
                                                                           {"pathfinder", 173'954}}) {
    INFO(task);
    CHECK(count("small", task, "softmax") == published);
  }
  // A stand-in has the settings of its task.
  for (const std::string task : {"text", "retrieval", "image", "pathfinder", "pathx"})
    CHECK(count("lra-config", task + "_standin", "linformer") == count("lra-config", task, "linformer"));
}

TEST_CASE("Continuous pixels are a linear layer of their normalised value", "[model]") {
  const at::NoGradGuard guard;
  Sizes how = sizes(9, 256, 3, 1, 2, 8, 8, 12, "cls", "sinusoid");
  how.model.pixels = "continuous";
  how.model.pixel_mean = 0.25;
  how.model.pixel_std = 0.5;
  TaskConfig task = how.task;
  Embedding embedding(task, how.model, 10, true);
  embedding.to(at::kDouble);
  const at::Tensor pixels = at::tensor({0, 255, 51, 7}, at::kLong);
  SequenceLayout layout({5});
  const at::Tensor out = embedding.forward(embedding.with_cls(pixels, layout), layout);
  const at::Tensor weight = embedding.named_parameters()["pixels.weight"].squeeze(1),
                   bias = embedding.named_parameters()["pixels.bias"];
  const at::Tensor positions = sinusoid_table(10, 8);
  CHECK(largest_difference(out[0], positions[0]) < 1e-9);  // CLS is zero at first
  for (std::int64_t i = 0; i < 4; ++i) {
    const double value = (static_cast<double>(pixels[i].item<std::int64_t>()) / 255 - 0.25) / 0.5;
    CHECK(largest_difference(out[i + 1], weight * value + bias + positions[i + 1]) < 1e-6);
  }
  CHECK_FALSE(embedding.named_parameters().contains("tokens"));
}

TEST_CASE("Black pixels as padding are seen by no query, and CLS is no pixel", "[model]") {
  const at::NoGradGuard guard;
  Sizes how = sizes(12, 256, 3, 1, 2, 8, 8, 12, "cls", "sinusoid");
  how = with_mixer(how, "softmax");
  at::Tensor tokens = at::tensor({0, 3, 0, 0, 9, 200, 0, 4}, at::kLong);
  const auto logits = [&](const std::string& black, bool move_black) {
    how.model.black_pixels = black;
    const auto classifier = make(how);
    // What a black pixel looks like: another row of the table.
    if (move_black) classifier->named_parameters()["embedding.tokens"][0].add_(at::arange(8, at::kDouble));
    return classifier->forward(tokens, SequenceLayout({8}));
  };
  // The last block's output is read at CLS alone, so with one block a hidden pixel has no way to it.
  CHECK(largest_difference(logits("padding", false), logits("padding", true)) < 1e-12);
  CHECK(largest_difference(logits("tokens", false), logits("tokens", true)) > 1e-3);
  CHECK(largest_difference(logits("tokens", false), logits("padding", false)) > 1e-4);
}

TEST_CASE("Packed and padded batches give the logits of each sequence alone, for every mixer", "[model][each]") {
  const std::vector<std::int64_t> lengths = {48, 1, 17, 30, 5, 5};
  const SequenceLayout layout(lengths);
  for (const auto& one : mixer_cases()) {
    for (const std::string pooling : {"cls", "mean", "mean_padded", "sum"}) {
      INFO(one.name() << ", " << pooling);
      Sizes how = tiny(one, pooling, "none");
      std::map<std::string, at::Tensor> logits;
      std::shared_ptr<Classifier> classifier;
      at::Tensor tokens;
      for (const std::string layout_name : {"per_sequence", "padded", "auto"}) {
        how.model.mixer_layout = layout_name;
        classifier = make(how);
        tokens = random_tokens(layout.tokens());  // the generator has just been seeded: the same each time
        logits[layout_name] = classifier->forward(tokens, layout);
      }
      CHECK(largest_difference(logits["per_sequence"], logits["padded"]) < 1e-9);
      CHECK(largest_difference(logits["auto"], logits["padded"]) < 1e-9);
      for (std::int64_t b = 0; b < layout.batch(); ++b) {
        const at::Tensor alone = classifier->forward(tokens.narrow(0, layout.offset(b), layout.length(b)),
                                                     SequenceLayout({layout.length(b)}));
        CHECK(largest_difference(logits["padded"].narrow(0, b, 1), alone) < 1e-9);
      }
      if (one.mixer != "none" || pooling != "cls")
        CHECK(largest_difference(logits["padded"][0], logits["padded"][3]) > 1e-4);
    }
  }
}

TEST_CASE("The model is what the specification says, computed step by step", "[model]") {
  Sizes how = tiny({"none", Json::object(), 1}, "cls", "none");
  how.model.num_layers = 1;
  const at::NoGradGuard guard;
  const std::vector<std::int64_t> lengths = {3, 40};
  const SequenceLayout layout(lengths);
  for (const std::string pooling : {"cls", "mean", "mean_padded", "sum"}) {
    for (const std::string gelu : {"tanh", "exact"}) {
      INFO(pooling << " " << gelu);
      how.model.pooling = pooling;
      how.model.gelu = gelu;
      const auto classifier = make(how);
      const at::Tensor tokens = random_tokens(layout.tokens());
      const auto p = [&](const std::string& name) { return classifier->named_parameters()[name]; };
      const auto linear = [&](const at::Tensor& x, const std::string& name) {
        return at::matmul(x, p(name + ".weight").t()) + p(name + ".bias");
      };
      const auto norm = [&](const at::Tensor& x, const std::string& name) {
        const at::Tensor centred = x - x.mean(-1, true);
        return centred / (centred.square().mean(-1, true) + 1e-6).sqrt() * p(name + ".weight") + p(name + ".bias");
      };
      const at::Tensor logits = classifier->forward(tokens, layout);
      for (std::int64_t b = 0; b < 2; ++b) {
        at::Tensor x = p("embedding.tokens")
                           .index_select(0, tokens.narrow(0, layout.offset(b), lengths[static_cast<std::size_t>(b)]));
        if (pooling == "cls") x = at::cat({p("embedding.cls").unsqueeze(0), x});
        for (std::int64_t t = 0; t < x.size(0); ++t) {
          for (std::int64_t f = 0; f < 8; ++f) {
            const double angle = static_cast<double>(t) * std::pow(10000.0, -static_cast<double>(f / 2 * 2) / 8);
            x[t][f] += f % 2 == 0 ? std::sin(angle) : std::cos(angle);
          }
        }
        const std::string block = "encoder.block0.";
        const at::Tensor mixed = at::matmul(norm(x, block + "mixer_norm"), p(block + "mixer.value.weight").t());
        x = x + at::matmul(mixed, p(block + "mixer.output.weight").t());
        const at::Tensor wide = linear(norm(x, block + "feed_forward_norm"), block + "expand");
        const at::Tensor active =
            gelu == "tanh" ? 0.5 * wide * (1 + (std::sqrt(2 / M_PI) * (wide + 0.044715 * wide.pow(3))).tanh())
                           : 0.5 * wide * (1 + (wide / std::sqrt(2.0)).erf());
        x = norm(x + linear(active, block + "contract"), "encoder.norm");
        const at::Tensor pooled = pooling == "cls"    ? x[0]
                                  : pooling == "mean" ? x.mean(0)
                                  : pooling == "sum"  ? x.sum(0)
                                                      : x.sum(0) / 48;
        const at::Tensor expected = linear(linear(pooled.unsqueeze(0), "hidden").clamp_min(0), "logits");
        CHECK(largest_difference(logits.narrow(0, b, 1), expected) < 1e-9);
      }
    }
  }
}

TEST_CASE("Pairs are scored from the encodings of their two sequences", "[model]") {
  const at::NoGradGuard guard;
  const SequenceLayout layout({3, 9, 12, 4});
  for (const std::string head : {"concat", "nli"}) {
    for (const auto& [hidden_layers, pooling] :
         std::vector<std::pair<std::int64_t, std::string>>{{1, "first"}, {2, "first"}, {2, "cls"}}) {
      INFO(head << " " << hidden_layers << " " << pooling);
      Sizes how = tiny(mixer_cases().front(), pooling, head);
      how.model.pair_hidden_layers = hidden_layers;
      const auto classifier = make(how);
      CHECK(classifier->named_parameters().contains("embedding.cls") == (pooling == "cls"));
      const at::Tensor tokens = random_tokens(layout.tokens());
      const at::Tensor logits = classifier->forward(tokens, layout);
      REQUIRE(logits.sizes() == at::IntArrayRef({2, 5}));
      // The same encoder with a head that passes the encoding through.
      const auto encoding = [&, pool = pooling](std::int64_t b) {
        Sizes single = tiny(mixer_cases().front(), pool, "concat");
        single.model.d_ff = 12;
        const auto other = make(single);
        for (const auto& item : other->named_parameters()) {
          const auto* mine = classifier->named_parameters().find(item.key());
          if (mine != nullptr && mine->sizes() == item.value().sizes()) item.value().copy_(*mine);
        }
        // Encoding b twice, [e, e]: read it off through hidden = [I; -I] e, relu(e) - relu(-e) = e, one component after
        // another.
        at::Tensor e = at::zeros({8}, at::kDouble);
        const at::Tensor part = tokens.narrow(0, layout.offset(b), layout.length(b));
        for (std::int64_t f = 0; f < 8; ++f) {
          other->named_parameters()["hidden.weight"].zero_()[0][f] = 1;
          other->named_parameters()["hidden.weight"][1][f] = -1;
          other->named_parameters()["hidden.bias"].zero_();
          other->named_parameters()["pair_hidden.weight"].zero_()[0][0] = 1;
          other->named_parameters()["pair_hidden.weight"][1][1] = 1;
          other->named_parameters()["pair_hidden.bias"].zero_();
          other->named_parameters()["logits.weight"].zero_()[0][0] = 1;
          other->named_parameters()["logits.weight"][0][1] = -1;
          other->named_parameters()["logits.bias"].zero_();
          e[f] = other->forward(at::cat({part, part}), SequenceLayout({layout.length(b), layout.length(b)}))[0][0];
        }
        return e;
      };
      const auto p = [&](const std::string& name) { return classifier->named_parameters()[name]; };
      const auto linear = [&](const at::Tensor& x, const std::string& name) {
        return at::matmul(p(name + ".weight"), x) + p(name + ".bias");
      };
      for (std::int64_t pair = 0; pair < 2; ++pair) {
        const at::Tensor a = encoding(2 * pair), b = encoding(2 * pair + 1);
        at::Tensor x = head == "nli" ? at::cat({a, b, a * b, a - b}) : at::cat({a, b});
        x = linear(x, "hidden").clamp_min(0);
        if (hidden_layers == 2) x = linear(x, "pair_hidden").clamp_min(0);
        CHECK(largest_difference(logits[pair], linear(x, "logits")) < 1e-9);
      }
    }
  }
}

TEST_CASE("Initial weights follow the profile and the seed", "[model]") {
  Sizes how = sizes(100, 257, 4, 2, 4, 64, 64, 256, "cls", "learned");
  how.model.attention_bias = true;
  const auto fresh = [&](std::uint64_t seed) {
    torch::manual_seed(seed);
    return std::make_shared<Classifier>(how.task, how.model, 0);
  };
  const auto one = fresh(5);
  const auto p = [&](const std::string& name) { return one->named_parameters()[name]; };
  const auto deviation = [&](const std::string& name) { return p(name).std().item<double>(); };
  CHECK(std::abs(deviation("embedding.tokens") - 1.0) < 0.03);
  CHECK(std::abs(deviation("embedding.positions") - 0.02) < 0.001);
  CHECK(p("embedding.cls").abs().max().item<double>() == 0);
  const double bound = std::sqrt(6.0 / (64 + 256));  // Xavier, uniform
  CHECK(p("encoder.block1.expand.weight").abs().max().item<double>() <= bound);
  CHECK(std::abs(deviation("encoder.block1.expand.weight") - bound / std::sqrt(3.0)) < 0.02 * bound);
  CHECK(std::abs(deviation("encoder.block0.mixer.query.weight") - std::sqrt(2.0 / 128)) < 0.005);
  CHECK(p("encoder.block0.expand.bias").abs().max().item<double>() < 1e-5);
  CHECK(p("encoder.block0.expand.bias").abs().max().item<double>() > 0);
  CHECK(std::abs(deviation("hidden.weight") - 1.0 / 8) < 0.003);  // LeCun: 1/√64
  CHECK(p("hidden.weight").abs().max().item<double>() <= 2.0 / (8 * 0.8796));
  CHECK(p("hidden.bias").abs().max().item<double>() == 0);
  CHECK(at::equal(p("encoder.norm.weight"), at::ones({64})));

  for (const auto& item : fresh(5)->named_parameters()) CHECK(at::equal(item.value(), p(item.key())));
  CHECK_FALSE(at::equal(fresh(6)->named_parameters()["embedding.tokens"], p("embedding.tokens")));

  how.model.init = "torch";
  const auto torch_like = fresh(5);
  const at::Tensor weight = torch_like->named_parameters()["hidden.weight"];  // uniform within 1/√fan_in
  CHECK(weight.abs().max().item<double>() <= 1.0 / 8);
  CHECK(weight.abs().max().item<double>() > 0.99 / 8);
}

TEST_CASE("Layers draw differently, by the run's seed, and are told of training steps", "[model]") {
  const Sizes how = with_mixer(tiny({"performer", Json::object(), 1}, "mean", "none"), "performer",
                               {{"features", 8}, {"redraw_every", 1}});
  const auto directions = [](const Classifier& classifier, int layer) {
    return classifier.named_buffers()["encoder.block" + std::to_string(layer) + ".mixer.directions"].clone();
  };
  Classifier classifier(how.task, how.model, 3);
  const at::Tensor first = directions(classifier, 0);
  CHECK_FALSE(at::equal(first, directions(classifier, 1)));
  CHECK(at::equal(first, directions(Classifier(how.task, how.model, 3), 0)));
  CHECK_FALSE(at::equal(first, directions(Classifier(how.task, how.model, 4), 0)));
  classifier.begin_training_step(1);
  CHECK_FALSE(at::equal(first, directions(classifier, 0)));
}

TEST_CASE("Linformer's matrix can be one for all layers", "[model]") {
  const Sizes how =
      with_mixer(tiny({"linformer", Json::object(), 1}, "mean", "none"), "linformer", {{"k", 5}, {"share", "layers"}});
  const auto classifier = make(how);
  const auto parameters = classifier->named_parameters();
  CHECK(parameters.contains("encoder.block0.mixer.E"));
  CHECK_FALSE(parameters.contains("encoder.block1.mixer.E"));
  const SequenceLayout layout({20});
  const at::Tensor tokens = random_tokens(20);
  const at::Tensor before = classifier->forward(tokens, layout);
  const Sizes own = with_mixer(how, "linformer", {{"k", 5}, {"share", "kv"}});
  const auto two = make(own);
  const at::NoGradGuard guard;
  for (auto& item : two->named_parameters()) {
    const bool shared = item.key() == "encoder.block1.mixer.E";
    item.value().copy_(parameters[shared ? "encoder.block0.mixer.E" : item.key()]);
  }
  CHECK(largest_difference(two->forward(tokens, layout), before) < 1e-12);
}

TEST_CASE("Dropout acts in training only and follows the default generator", "[model]") {
  Sizes how = tiny(mixer_cases().front(), "mean", "none");
  const auto classifier = make(how);
  const SequenceLayout layout({20, 9});
  const at::Tensor tokens = random_tokens(29);
  const at::Tensor evaluated = classifier->forward(tokens, layout);
  CHECK(at::equal(classifier->forward(tokens, layout), evaluated));
  classifier->train();
  torch::manual_seed(2);
  const at::Tensor trained = classifier->forward(tokens, layout);
  CHECK_FALSE(at::equal(trained, evaluated));
  CHECK_FALSE(at::equal(classifier->forward(tokens, layout), trained));
  torch::manual_seed(2);
  CHECK(at::equal(classifier->forward(tokens, layout), trained));
}

TEST_CASE("Every parameter of the classifier gets a gradient", "[model][each]") {
  for (const std::string head : {"none", "nli"}) {
    for (const auto& one : mixer_cases()) {
      INFO(one.name() << " " << head);
      const auto classifier =
          make(tiny(one, one.mixer == "none" ? "mean" : "cls", head));  // without mixing, CLS sees no other token
      const SequenceLayout layout({20, 9, 13, 2});
      classifier->forward(random_tokens(44), layout).square().sum().backward();
      for (const auto& item : classifier->named_parameters()) {
        INFO(item.key());
        REQUIRE(item.value().grad().defined());
        // MLP-Mixer's last bias moves all features of a token alike, which every norm that follows takes off again.
        bool invisible = one.mixer == "mlp_mixer" && item.key().ends_with("contract_bias");
        // The last layer is read at the first token alone, which in a Longformer is global and has projections of its
        // own.
        if (one.mixer == "longformer" && one.options.at("global_tokens") > 0) {
          for (const std::string name : {"query", "key", "value"})
            invisible = invisible || item.key() == "encoder.block1.mixer." + name + ".weight";
        }
        CHECK((item.value().grad().abs().max().item<double>() > 1e-9) != invisible);
      }
    }
  }
}

TEST_CASE("Under bfloat16 autocast the logits are nearly the same", "[model][each]") {
  const SequenceLayout layout({40, 9, 13, 2});
  for (const auto& one : mixer_cases()) {
    for (const std::string how : {"per_sequence", "padded", "auto"}) {
      INFO(one.name() << " " << how);
      Sizes sizes = tiny(one, "mean", "none");
      sizes.model.mixer_layout = how;
      torch::manual_seed(4);
      Classifier classifier(sizes.task, sizes.model, 3);
      classifier.eval();
      const at::Tensor tokens = random_tokens(layout.tokens());
      const at::Tensor exact_logits = classifier.forward(tokens, layout);
      at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
      at::autocast::set_autocast_enabled(at::kCPU, true);
      const at::Tensor logits = classifier.forward(tokens, layout);
      at::autocast::clear_cache();
      at::autocast::set_autocast_enabled(at::kCPU, false);
      REQUIRE(logits.scalar_type() == at::kBFloat16);
      const double difference = largest_difference(logits.to(at::kFloat), exact_logits);
      CHECK(difference > 0);
      CHECK(difference < 0.05 * exact_logits.abs().max().item<double>());
      logits.sum().backward();
      for (const auto& item : classifier.named_parameters()) CHECK(item.value().grad().isfinite().all().item<bool>());
    }
  }
}

TEST_CASE("The classifier's cost is what runs", "[model][each]") {
  for (const auto& one : mixer_cases()) {
    if (one.mixer == "fnet") continue;
    if (one.options.contains("token_ids") && !one.options["token_ids"].empty()) continue;  // an upper bound
    for (const std::string pooling : {"cls", "mean"}) {
      INFO(one.name() << " " << pooling);
      Sizes how = tiny(one, pooling, "none");
      how.model.mixer_layout = "per_sequence";  // inside kernels no operator can be watched
      const auto classifier = make(how);
      const std::int64_t n = one.block * (44 / one.block) - (pooling == "cls" ? 1 : 0);
      const at::Tensor tokens = random_tokens(n);
      const OperatorObserver observer;
      classifier->forward(tokens, SequenceLayout({n}));
      CHECK(observer.flops() == classifier->cost(n).flops);
    }
  }
}

namespace {

// Loss, gradients of all parameters and buffers after a training step with dropout; the same random numbers each time.
std::map<std::string, at::Tensor> step_of(const Sizes& how, at::ScalarType type, bool training) {
  torch::manual_seed(1);
  Classifier classifier(how.task, how.model, 3);
  classifier.to(type);
  classifier.train(training);
  const SequenceLayout layout({48, 1, 17, 30, 5, 5});
  const at::Tensor tokens = random_tokens(layout.tokens());
  classifier.begin_training_step(2);
  torch::manual_seed(2);
  std::map<std::string, at::Tensor> result;
  for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
    const at::Tensor loss = classifier.forward(tokens, layout).square().sum();
    loss.backward();
    result["loss" + std::to_string(micro_batch)] = loss.detach();
  }
  classifier.end_training_step();
  for (const auto& item : classifier.named_parameters()) result[item.key()] = item.value().grad();
  for (const auto& item : classifier.named_buffers()) result["buffer " + item.key()] = item.value();
  result["next random number"] = at::rand({1});
  return result;
}

}  // namespace

TEST_CASE("Fused kernels give the reference's loss and gradients", "[model]") {
  for (const auto& one : {mixer_case("linear"), mixer_case("none")}) {
    for (const std::string pooling : {"cls", "mean"}) {
      for (const std::string gelu : {"tanh", "exact"}) {
        Sizes how = tiny(one, pooling, "none");
        how.model.gelu = gelu;
        for (const auto& [type, tolerance] :
             std::map<at::ScalarType, double>{{at::kDouble, 1e-11}, {at::kFloat, 1e-4}}) {
          how.model.kernels = "fused";
          const auto fused = step_of(how, type, false);
          how.model.kernels = "reference";
          const auto reference = step_of(how, type, false);
          REQUIRE(fused.size() == reference.size());
          bool all_bits = true;
          for (const auto& [name, value] : reference) {
            INFO(one.name() << " " << pooling << " " << gelu << " " << name);
            CHECK(largest_difference(fused.at(name), value) <=
                  tolerance * std::max(1.0, value.abs().max().item<double>()));
            all_bits = all_bits && at::equal(fused.at(name), value);
          }
          CHECK_FALSE(all_bits);  // they are two computations
        }
      }
    }
  }
}

TEST_CASE("Layers that are computed again give the same loss, gradients, buffers and random numbers", "[model][each]") {
  std::vector<MixerCase> cases;
  for (const auto& one : mixer_cases()) {
    const bool parts = one.mixer == "mixed" && one.options.dump().find("routing") != std::string::npos;
    for (const std::string name : {"linear", "softmax", "performer", "routing", "sinkhorn", "reformer", "linformer"}) {
      if (one.mixer == name || parts) cases.push_back(one);
    }
  }
  if (mixer_names().size() > 1) REQUIRE(cases.size() > 6);
  cases.push_back(mixer_case("sinkhorn", {{"block", 8}, {"gumbel", true}}));
  cases.push_back(mixer_case(
      "mixed", {{"by", "heads"},
                {"parts",
                 {{{"mixer", "linear"}, {"heads", 1}},
                  {{"mixer", "sinkhorn"}, {"heads", 1}, {"mixer_options", {{"block", 8}, {"gumbel", true}}}}}}}));
  for (const auto& one : cases) {
    for (const std::string kernels : {"fused", "reference"}) {
      for (const std::string pooling : {"mean", "cls"}) {
        INFO(one.name() << " " << kernels << " " << pooling);
        Sizes how = tiny(one, pooling, "none");
        how.model.kernels = kernels;
        const auto kept = step_of(how, at::kFloat, true);
        how.model.checkpoint_layers = true;
        const auto again = step_of(how, at::kFloat, true);
        REQUIRE(kept.size() == again.size());
        for (const auto& [name, value] : kept) {
          INFO(name);
          REQUIRE(value.defined() == again.at(name).defined());
          // A parameter of several layers gets their gradients one by one, in another order of additions.
          const bool shared = one.options.contains("share") && one.options["share"] == "layers";
          if (value.defined() && shared)
            CHECK(largest_difference(value, again.at(name)) < 1e-5 * value.abs().max().item<double>() + 1e-12);
          if (value.defined() && !shared) CHECK(at::equal(value, again.at(name)));
        }
      }
    }
  }
}
