// The atlas: matrices against direct computation, reach and crossings against what the formulas say.
#include <ATen/ATen.h>
#include <sys/wait.h>

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <tuple>

#include "cli/atlas.h"
#include "core/error.h"
#include "mixer_cases.h"
#include "report/atlas.h"

using namespace lra;
using namespace lra::testing;
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

MixerSpec spec_for(std::int64_t n) {
  return {.d_model = 16,
          .d_qkv = 16,
          .num_heads = 2,
          .max_length = n,
          .attention_dropout = 0,
          .bias = false,
          .layout = "auto",
          .layer = 0,
          .seed = 3};
}

MixingMatrix matrix_of(const std::string& name, const Json& options, const at::Tensor& x) {
  const MixerSpec spec = spec_for(x.size(0));
  return mixing_matrix(*make_atlas_mixer(name, spec, resolved_options(name, options)), spec, x);
}

Reach reach_of(const std::string& name, const Json& options, std::int64_t n) {
  return reach(name, spec_for(n), resolved_options(name, options), n);
}

}  // namespace

TEST_CASE("softmax's matrix is softmax(Q Kᵀ / √d), and flash has the same", "[atlas]") {
  const at::Tensor x = random_input(21, 16, 1) * 2;
  const MixerSpec spec = spec_for(21);
  const auto mixer = make_atlas_mixer("softmax", spec, Json::object());
  const auto project = [&](const char* name) {
    return at::linear(x, mixer->named_parameters()[name]).view({21, 2, 8}).transpose(0, 1);
  };
  const at::Tensor expected =
      at::softmax(at::matmul(project("query.weight"), project("key.weight").transpose(-2, -1)) / std::sqrt(8.0), -1);
  const MixingMatrix found = mixing_matrix(*mixer, spec, x);
  CHECK(found.kind == "weights");
  CHECK(found.labels == std::vector<std::string>{"head 1", "head 2"});
  CHECK(largest_difference(found.matrices, expected) < 1e-9);
  CHECK(largest_difference(matrix_of("flash", Json::object(), x).matrices, expected) < 1e-9);
}

TEST_CASE("the matrix is what a mixer does to values: every attention mixer's matrix times the values is its output",
          "[atlas][each]") {
  const at::Tensor x = random_input(24, 16, 2);
  const MixerSpec spec = spec_for(24);
  for (const auto& one : mixer_cases()) {
    if (one.options.contains("token_ids") && !one.options["token_ids"].empty())
      continue;  // the atlas has no vocabulary
    INFO(one.name());
    const auto mixer = make_atlas_mixer(one.mixer, spec, one.options);
    const MixingMatrix found = mixing_matrix(*mixer, spec, x);
    REQUIRE(found.matrices.size(0) == static_cast<std::int64_t>(found.labels.size()));
    CHECK(found.matrices.isfinite().all().item<bool>());
    if (found.kind != "weights") continue;
    const at::NoGradGuard guard;
    const SequenceLayout layout({24});
    const at::Tensor values = random_input(24, 16, 3);
    const at::Tensor out = mixer->mix_values(x, values, layout) - mixer->mix_values(x, at::zeros_like(x), layout);
    const at::Tensor expected =
        at::matmul(found.matrices, values.view({24, 2, 8}).transpose(0, 1)).transpose(0, 1).reshape({24, 16});
    CHECK(largest_difference(out, expected) < 1e-9);
  }
}

TEST_CASE("local's pattern is the band, and none's matrix the identity", "[atlas]") {
  const at::Tensor x = random_input(20, 16, 4);
  const at::Tensor places = at::arange(20);
  const at::Tensor distance = (places.unsqueeze(0) - places.unsqueeze(1)).abs();
  const at::Tensor weights = matrix_of("local", {{"window", 3}}, x).matrices;
  CHECK(at::equal(weights.gt(0), distance.le(3).expand({2, 20, 20})));
  CHECK(largest_difference(weights.sum(-1), at::ones({2, 20}, at::kDouble)) < 1e-9);
  const MixingMatrix none = matrix_of("none", Json::object(), x);
  CHECK(none.kind == "jacobian norm");
  for (const std::int64_t map : {0, 1}) CHECK(largest_difference(none.matrices[map], at::eye(20, at::kDouble)) < 1e-12);
}

TEST_CASE("heads with mixers of their own have matrices of their own", "[atlas]") {
  const at::Tensor x = random_input(20, 16, 8);
  const Json parts = {{{"mixer", "local"}, {"heads", 1}, {"mixer_options", {{"window", 2}}}},
                      {{"mixer", "global"}, {"heads", 1}, {"mixer_options", {{"count", 1}}}}};
  const MixingMatrix mixed = matrix_of("mixed", {{"parts", parts}}, x);
  CHECK(mixed.kind == "weights");
  for (const auto& [head, name, options] :
       {std::tuple<std::int64_t, const char*, Json>{0, "local", parts[0]["mixer_options"]},
        {1, "global", parts[1]["mixer_options"]}}) {
    INFO(name);
    CHECK(at::equal(mixed.matrices[head].gt(0), matrix_of(name, options, x).matrices[0].gt(0)));
  }
  CHECK(largest_difference(mixed.matrices.sum(-1), at::ones({2, 20}, at::kDouble)) < 1e-9);
}

TEST_CASE("fnet's matrix is that of the Fourier transform", "[atlas]") {
  const std::int64_t n = 12, d = 16;
  const MixingMatrix found = matrix_of("fnet", Json::object(), random_input(n, d, 5));
  const double turn = 2 * std::acos(-1.0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double squares = 0, diagonal = 0;
      for (std::int64_t f = 0; f < d; ++f) {
        for (std::int64_t g = 0; g < d; ++g) {
          const double entry = std::cos(turn * (static_cast<double>(i * j) / static_cast<double>(n) +
                                                static_cast<double>(f * g) / static_cast<double>(d)));
          squares += entry * entry;
          if (f == g) diagonal += entry;
        }
      }
      REQUIRE(found.matrices[0][i][j].item<double>() ==
              Approx(std::sqrt(squares / static_cast<double>(d))).margin(1e-9));
      REQUIRE(found.matrices[1][i][j].item<double>() == Approx(diagonal / static_cast<double>(d)).margin(1e-9));
    }
  }
}

TEST_CASE("information needs as many layers as the pattern says", "[atlas]") {
  for (const auto& [n, window] : {std::pair<std::int64_t, std::int64_t>{24, 4}, {25, 4}, {26, 4}, {24, 23}, {24, 22}}) {
    INFO("n " << n << ", window " << window);
    const Reach local = reach_of("local", {{"window", window}}, n);
    const std::int64_t layers = (n - 1 + window - 1) / window;
    CHECK(local.all == layers);
    CHECK(local.cls == layers);
  }
  CHECK(reach_of("softmax", Json::object(), 24).all == 1);
  CHECK(reach_of("fnet", Json::object(), 24).all == 1);
  for (const auto& [name, options] :
       {std::pair<const char*, Json>{"none", Json::object()}, {"local", {{"blocked", true}, {"block", 5}}}}) {
    INFO(name);
    const Reach never = reach_of(name, options, 24);
    CHECK(never.all == 0);
    CHECK(never.cls == 0);
    CHECK(never.layers < 5);  // a fixed pattern is recognised
  }
}

TEST_CASE("the linear family crosses full attention at the head size", "[atlas]") {
  // FLOPs without the projections, which are the same: full attention 4 N² d H, linear attention N d H (4 d + 2), for d
  // = 32.
  const at::Tensor x = random_input(8, 64, 6);
  const auto from = [&](const std::string& name) {
    return atlas_entry(name, 8, 0, x, Json::object())["flops"]["below_softmax_from"];
  };
  CHECK(from("linear") == 33);
  CHECK(from("linformer") == 513);  // 8 N k d H, k = 256
  CHECK(from("none") == 1);
  CHECK(from("flash").is_null());
  CHECK(from("softmax").is_null());
}

TEST_CASE("the atlas takes options for its pictures, and defaults for cost", "[atlas]") {
  const at::Tensor x = random_input(16, 64, 7);
  const Json entry = atlas_entry("local", 16, 0, x, {{"mixer_options", {{"window", 5}}}});
  CHECK(entry["options"]["window"] == 5);
  CHECK(entry["reach"]["all"] == 3);
  CHECK(entry["maps"].size() == 4);
  CHECK(entry["flops"] == atlas_entry("local", 16, 0, x, Json::object())["flops"]);
  CHECK_THROWS_AS(atlas_entry("local", 16, 0, x, {{"mixer_options", {{"windw", 5}}}}), Error);
  CHECK(atlas_entry("softmax", 16, 0, x, Json::object()) == atlas_entry("softmax", 16, 0, x, Json::object()));
  CHECK(atlas_entry("softmax", 16, 0, x, Json::object())["maps"] !=
        atlas_entry("softmax", 16, 1, x, Json::object())["maps"]);
}

TEST_CASE("every variant of the atlas can be drawn", "[atlas][each]") {
  const at::Tensor x = random_input(16, 64, 7);
  int variants = 0;
  for (const auto& name : mixer_names()) {
    const Json config = read_json(std::string(LRA_SOURCE_DIR) + "/configs/mixers/" + name + ".json");
    for (const Json& variant : config.value("atlas_variants", Json::array())) {
      INFO(variant.dump());
      const Json entry = atlas_entry(name, 16, 0, x, Json::object(), variant);
      CHECK(entry["formula"] != config["formula"]);
      ++variants;
    }
  }
  if (mixer_names().size() > 1) CHECK(variants >= 4);
}

TEST_CASE("layers that take turns reach what the later ones see", "[atlas]") {
  const Json options = {{"by", "layers"},
                        {"parts", {{{"mixer", "none"}}, {{"mixer", "none"}}, {{"mixer", "softmax"}}}}};
  CHECK(reach_of("mixed", options, 16).all == 3);
}

TEST_CASE("a mixer's variants stand beside it", "[atlas]") {
  const Json config = read_json(std::string(LRA_SOURCE_DIR) + "/configs/mixers/local.json");
  const Json entry =
      atlas_entry("local", 16, 0, random_input(16, 64, 7), Json::object(), config.at("atlas_variants").at(0));
  CHECK(entry["variant"] == "local_blocks");
  CHECK(entry["reach"]["cls"].is_null());  // blocks never meet
  const Json& row = entry["maps"][0]["rows"][0];
  for (std::size_t j = 0; j < 16; ++j) CHECK((row[j] != 0.0) == (j < 8));
}

TEST_CASE("every mixer's configuration has settings for the atlas", "[atlas][each]") {
  for (const auto& name : mixer_names()) {
    INFO(name);
    const Json config = read_json(std::string(LRA_SOURCE_DIR) + "/configs/mixers/" + name + ".json");
    REQUIRE(config.contains("atlas"));
    CHECK_NOTHROW(resolved_options(name, config["atlas"]));
    CHECK_FALSE(config.value("formula", "").empty());
    CHECK_FALSE(config.value("cost", "").empty());
  }
}

TEST_CASE("lra-run atlas writes JSON, pictures and a page, and mistakes are one line", "[cli]") {
  const fs::path out = fs::temp_directory_path() / ("lra_test_atlas_" + std::to_string(getpid()));
  fs::create_directories(out);
  const auto atlas = [&](const std::string& arguments) {
    const std::string command = "cd " LRA_SOURCE_DIR " && " LRA_BIN_DIR "/lra-run atlas --out " + out.string() + " " +
                                arguments + " >" + (out / "stdout").string() + " 2>" + (out / "stderr").string();
    const int status = std::system(command.c_str());
    return std::pair(WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out / "stderr"));
  };
  REQUIRE(atlas("--mixer local,softmax --n 12 mixer_options.window=2").first == 2);  // softmax has no window
  REQUIRE(atlas("--mixer local,none --n 12").first == 0);
  const report::Atlas parsed = report::parse_atlas(read_json(out / "atlas.json"), out / "atlas.json");
  REQUIRE(parsed.mixers.size() == 3);
  CHECK(parsed.n == 12);
  CHECK(parsed.mixers[0].layers_all == 3);  // window 4
  CHECK(parsed.mixers[1].variant == "local_blocks");
  CHECK(parsed.mixers[1].cls_blind());
  CHECK(parsed.mixers[2].cls_blind());
  CHECK_FALSE(parsed.mixers[0].cls_blind());
  for (const report::AtlasMap& map : parsed.mixers[0].maps) {
    for (std::size_t i = 0; i < 12; ++i) {
      double sum = 0;
      for (std::size_t j = 0; j < 12; ++j) sum += map.values[i * 12 + j];
      CHECK(sum == Approx(1).margin(0.005));  // three digits
    }
  }
  CHECK_THAT(read_file(out / "atlas.html"), ContainsSubstring("Local attention") && ContainsSubstring("CLS blind"));
  for (const char* name : {"local.svg", "local_blocks.svg"})
    CHECK_THAT(read_file(out / name), ContainsSubstring("<svg"));
  CHECK(fs::exists(out / "atlas.svg"));

  write_json(out / "x.json", {{1, 2}, {3, 4}});
  const auto mistake = [&](const std::string& arguments, const std::string& part, const std::string& hint = "") {
    const auto [code, text] = atlas(arguments);
    CHECK(code == 2);
    CHECK_THAT(text, ContainsSubstring("error: ") && ContainsSubstring(part) && ContainsSubstring(hint));
  };
  mistake("--n 1", "--n: expected between 2 and 512 tokens, found 1");
  mistake("--n 100000", "found 100000");
  mistake("--mixer linaer", "unknown mixer 'linaer'", "did you mean 'linear'?");
  mistake("--mixer local mixer_options.windw=3", "/mixer_options/windw: unknown key", "did you mean 'window'?");
  mistake("--mixer local window=3", "/window: unknown key");
  mistake("--mixer softmax --n 2 --input " + (out / "x.json").string(), "expected a list of 2 rows of 64 numbers");
  mistake("--mixer softmax --input /nowhere.json", "/nowhere.json");
  fs::remove_all(out);
}
