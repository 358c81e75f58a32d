#include "cli/estimate.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

#include <sys/wait.h>
#include <unistd.h>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "cli/meta_device.h"
#include "cli/suite.h"
#include "core/host_info.h"
#include "mixers/mixer.h"
#include "model/classifier.h"
#include "small_run.h"
#include "train/memory.h"
#include "train/run_status.h"

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using lra::Json;

namespace {

constexpr std::int64_t largest = 2147483647;

/// A bench of 64 random bytes.
lra::RunConfig tiny(const std::string& mixer = "linear", const Json& options = Json::object()) {
  lra::memory::install();
  lra::RunConfig config = small_runs::small_model(mixer, options);
  config.kind = "bench";
  config.variant = mixer;
  config.task.task = "bytes";
  config.task.vocab_size = 257;
  config.task.num_classes = 2;
  config.task.seq_len = 64;
  config.train.batch_size = 2;
  config.train.memory_limit_gb = 2;  // whatever the machine has
  config.measure.measure_warmup_steps = 0;
  config.measure.measure_steps = 1;
  return config;
}

lra::Estimate estimate_of(const lra::RunConfig& config) { return lra::estimate(config, lra::example_sizes(config)); }

}  // namespace

TEST_CASE("on the meta device tensors have sizes and no memory, and behind the guard they have both",
          "[cli][estimate]") {
  lra::memory::install();
  const auto before = lra::memory::current_bytes();
  {
    const lra::MetaDevice no_memory;
    const at::Tensor tensor = at::randn({std::int64_t{1} << 20, std::int64_t{1} << 20});
    CHECK(tensor.is_meta());
    CHECK(tensor.matmul(tensor).size(1) == 1 << 20);
    CHECK(lra::memory::current_bytes() == before);
  }
  CHECK(at::empty({3}).is_cpu());
}

TEST_CASE("an estimate counts the parameters that the model will have, for any number of layers", "[cli][estimate]") {
  for (const std::string& mixer : lra::mixer_registry().names()) {
    for (const std::int64_t layers : {1, 2, 5, 12}) {
      auto config = tiny(mixer);
      config.model.num_layers = layers;
      INFO(mixer << ", layers " << layers);
      CHECK(estimate_of(config).parameters == lra::Classifier(config.task, config.model, 0).parameter_count());
    }
  }
  const Json parts = {
      {{"mixer", "local"}}, {{"mixer", "linformer"}, {"mixer_options", {{"share", "layers"}}}}, {{"mixer", "gmlp"}}};
  for (const std::int64_t layers : {2, 3, 13, 14, 15}) {
    auto config = tiny("mixed", {{"by", "layers"}, {"parts", parts}});
    config.model.num_layers = layers;
    INFO("mixed layers " << layers);
    CHECK(estimate_of(config).parameters == lra::Classifier(config.task, config.model, 0).parameter_count());
  }
}

TEST_CASE("an estimate makes nothing of the size that it estimates, and is soon done", "[cli][estimate]") {
  for (const std::string& mixer : lra::mixer_registry().names()) {
    for (const char* key : {"seq_len", "d_model", "d_ff", "num_layers", "num_heads", "batch_size", "vocab_size"}) {
      auto config = tiny(mixer);
      const std::string name = key;
      if (name == "num_heads" && (mixer == "fnet" || mixer == "mlp_mixer")) continue;  // they have none
      if (name == "seq_len") config.task.seq_len = largest;
      if (name == "vocab_size") config.task.vocab_size = largest;
      if (name == "d_model") config.model.d_model = config.model.d_qkv = largest - 1;
      if (name == "d_ff") config.model.d_ff = largest;
      if (name == "num_layers") config.model.num_layers = largest;
      if (name == "num_heads") config.model.num_heads = config.model.d_qkv = largest - 1;
      if (name == "batch_size") config.train.batch_size = largest;
      INFO(mixer << ", " << name);
      estimate_of(tiny(mixer));  // what is made once
      lra::memory::reset_peak();
      const auto before = lra::memory::current_bytes();
      const lra::Estimate estimate = estimate_of(config);
      CHECK(lra::memory::peak_bytes() - before < (4 << 20));
      const std::string excess = lra::too_large(config, estimate);
      CHECK_THAT(excess, ContainsSubstring("not begun"));
      CHECK(excess.find('\n') == std::string::npos);
      CHECK(lra::too_large(tiny(mixer), estimate_of(tiny(mixer))).empty());
    }
  }
}

TEST_CASE("large options of mixers are refused by their estimates", "[cli][estimate]") {
  const std::pair<const char*, Json> cases[] = {{"performer", {{"features", largest}}},
                                                {"rfa", {{"features", largest}}},
                                                {"linformer", {{"k", largest}}},
                                                {"compressed", {{"kernel", largest}}},
                                                {"mlp_mixer", {{"hidden", largest}}},
                                                {"reformer", {{"buckets", largest}, {"rounds", largest}}},
                                                {"routing", {{"clusters", largest}}},
                                                {"sinkhorn", {{"iterations", largest}}},
                                                {"global", {{"tokens", "added"}, {"count", largest}}},
                                                {"synthesizer", {{"factorized", true}, {"rank", largest}}}};
  for (const auto& [mixer, options] : cases) {
    const auto config = tiny(mixer, options);
    INFO(mixer);
    CHECK_FALSE(lra::too_large(config, estimate_of(config)).empty());
  }
  // These only say how much of the sequence is seen.
  const std::pair<const char*, Json> harmless[] = {
      {"local", {{"window", largest}}},
      {"bigbird", {{"block", largest}, {"global_blocks", largest}, {"random_blocks", largest}}},
      {"bigbird", {{"block", 1}, {"global_blocks", largest}, {"random_blocks", largest}}},
      {"strided", {{"stride", largest}, {"window", largest}}}};
  for (const auto& [mixer, options] : harmless) {
    const auto config = tiny(mixer, options);
    INFO(mixer);
    CHECK(lra::too_large(config, estimate_of(config)).empty());
  }
}

TEST_CASE("without a limit of its own a run has the machine's", "[cli][estimate]") {
  lra::TrainConfig train;
  const auto machine = lra::memory_limit_bytes(train);
  CHECK(machine == lra::memory::machine_limit());
  CHECK(machine < lra::usable_machine().memory_bytes);
  CHECK(machine > lra::usable_machine().memory_bytes / 2);
  lra::memory::install();
  CHECK(lra::memory::limit() > 0);
  train.memory_limit_gb = 0.25;
  CHECK(lra::memory_limit_bytes(train) == 250'000'000);
  train.memory_limit_gb = 1e308;
  CHECK(lra::memory_limit_bytes(train) == machine);
  train.memory_limit_gb = 1e-300;  // not 0, which is none
  CHECK(lra::memory_limit_bytes(train) == 1);
}

TEST_CASE("what is too large is refused, and in a suite recorded, before anything is made", "[cli][estimate]") {
  const fs::path folder = fs::temp_directory_path() / ("lra_test_estimate_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  auto config = tiny("softmax");
  config.model.d_ff = largest;
  config.train.memory_limit_gb = 0;
  lra::memory::reset_peak();
  const auto before = lra::memory::current_bytes();
  small_runs::Silent progress;
  CHECK_THROWS_WITH(
      lra::run_in_folder(config, folder, lra::example_sizes(config), false, progress),
      ContainsSubstring("not begun: it would take an estimated") && ContainsSubstring("this process may use"));
  CHECK(lra::memory::peak_bytes() - before < (4 << 20));
  lra::write_json(folder / "suite.json", {{"suite", "large"},
                                          {"profile", "small"},
                                          {"tasks", {"listops"}},
                                          {"mixers", {"linear"}},
                                          {"data_dir", "data/tiny"},
                                          {"d_ff", largest}});
  const std::string command = "cd " LRA_SOURCE_DIR " && " LRA_BIN_DIR "/lra-run --config " +
                              (folder / "suite.json").string() + " --out " + (folder / "out").string() + " 2>/dev/null";
  const int status = std::system(command.c_str());
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == lra::exit_not_all_ok));
  Json record;
  for (const auto& entry : fs::recursive_directory_iterator(folder / "out")) {
    if (entry.path().filename() == "result.json") record = lra::read_json(entry.path());
  }
  CHECK(record["status"] == "oom");
  CHECK_THAT(record["message"].get<std::string>(), ContainsSubstring("not begun: it would take an estimated"));
  // A limit that only the estimate passes is left to the run itself.
  auto small = tiny();
  const lra::Estimate estimate = estimate_of(small);
  small.train.memory_limit_gb = estimate.process_bytes / 1e9 / 1.1;
  CHECK(lra::too_large(small, estimate).empty());
  small.train.memory_limit_gb = estimate.process_bytes / 1e9 / 1.5;
  CHECK_THAT(lra::too_large(small, estimate), ContainsSubstring("memory_limit_gb allows"));
  fs::remove_all(folder);
}
