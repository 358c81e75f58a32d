#include <ATen/ops/zeros.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "cli/suite.h"
#include "core/error.h"
#include "core/sha256.h"
#include "small_run.h"
#include "train/checkpoint.h"
#include "train/safetensors.h"
#include "train/same_run.h"

// What a run may go on from, and what its record vouches for.

using namespace small_runs;
using Catch::Matchers::ContainsSubstring;

namespace {

/// Changes a file of lra::write_safetensors; its checksum is made anew.
template <class Change>
void edit(const fs::path& file, Change change) {
  lra::SafeTensors content = lra::read_safetensors(file);
  change(content);
  lra::write_safetensors(file, content);
}

lra::Json state_in(const fs::path& folder) {
  return lra::parse_json(lra::read_safetensors_metadata(folder / "checkpoint.safetensors").at("state"), "state");
}

void stop_after(std::int64_t step, const lra::RunConfig& config, const fs::path& folder) {
  Silent progress(step);
  REQUIRE(lra::train(config, folder, progress).status == "interrupted");
  lra::set_stop_requested(false);
}

/// The same expressions in another order: other content.
void prepare_other_data(const fs::path& data_dir) {
  lra::PrepareOptions options;
  options.data_dir = data_dir.string();
  options.generator = {{"seed", 1}, {"train", 22}, {"valid", 9}, {"test", 9}, {"min_length", 5}, {"max_length", 40}};
  options.threads = 1;
  lra::task_registry().at("listops").make()->prepare(options);
}

}  // namespace

TEST_CASE("a lengthened run ends as one that was that long from the start", "[train][resume]") {
  const Workspace workspace;
  const std::string mixer = GENERATE("linear", "performer");
  const std::string selection = GENERATE("last", "best_valid");
  CAPTURE(mixer, selection);
  auto config = mixer == "performer" ? small_run(workspace, mixer, {{"features", 8}, {"redraw_every", 3}})
                                     : small_run(workspace, mixer);
  config.train.selection = selection;
  config.train.train_steps = 32;
  REQUIRE(train(config, workspace.path / "whole").status == "ok");
  // Ends at an evaluation, between two, before the first one, and twice.
  for (const std::vector<std::int64_t>& ends : {std::vector<std::int64_t>{24}, {25}, {5}, {13, 27}}) {
    CAPTURE(ends);
    fs::remove_all(workspace.path / "parts");
    for (const auto end : ends) {
      config.train.train_steps = end;
      REQUIRE(train(config, workspace.path / "parts").status == "ok");
    }
    config.train.train_steps = 32;
    const auto record = train(config, workspace.path / "parts");
    REQUIRE(record.status == "ok");
    CHECK(record.steps_done == 32);
    check_same_run(workspace.path / "whole", workspace.path / "parts");
  }
}

TEST_CASE("the record of a shorter run is gone on from, where the learning rate does not depend on the length",
          "[train][resume]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  const fs::path folder = workspace.path / "run";
  config.train.train_steps = 6;
  lra::write_json(folder / "result.json", train(config, folder).to_json());
  CHECK(lra::recorded_status(config, folder) == "ok");
  auto longer = config;
  longer.train.train_steps = 8;
  CHECK(lra::recorded_status(longer, folder) == "shorter");
  longer.train.train_steps = 5;
  CHECK_THROWS_WITH(lra::recorded_status(longer, folder), ContainsSubstring("train_steps = 6, not 5"));
  CHECK_THROWS_WITH(train(longer, folder), ContainsSubstring("train_steps = 6, this one has 5"));

  auto cosine = config;
  cosine.train.schedule = "cosine";
  const fs::path other = workspace.path / "cosine";
  lra::write_json(other / "result.json", train(cosine, other).to_json());
  cosine.train.train_steps = 8;
  CHECK_THROWS_WITH(lra::recorded_status(cosine, other),
                    ContainsSubstring("it cannot be lengthened, for the learning rate of its cosine schedule"));
  CHECK_THROWS_WITH(train(cosine, other), ContainsSubstring("it cannot be lengthened"));
}

TEST_CASE("a run goes on with another number of threads and says so; a bench with another is another bench",
          "[train][resume]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  stop_after(10, config, workspace.path / "run");
  config.train.threads = 2;
  const auto record = train(config, workspace.path / "run");
  CHECK(record.status == "ok");
  CHECK_THAT(record.notes.dump(), ContainsSubstring("threads was 1 before step 10"));
  lra::Json saved = config.to_json();
  saved["threads"] = 1;
  CHECK_FALSE(lra::config_difference(saved, config));
  config.kind = saved["kind"] = "bench";
  CHECK(lra::config_difference(saved, config)->key == "threads");
}

TEST_CASE("configurations are compared by what they mean", "[train][resume]") {
  const Workspace workspace;
  auto config = small_run(workspace, "linformer", {{"k", 16}});
  lra::Json saved = config.to_json();
  CHECK_FALSE(lra::config_difference(saved, config));
  // A number has one value however it is written, an object one whatever the order of its keys.
  saved["weight_decay"] = 0;
  config.train.weight_decay = 0.0;
  lra::Json turned = lra::Json::object();
  for (auto item = saved["mixer_options"].rbegin(); item != saved["mixer_options"].rend(); ++item)
    turned[item.key()] = item.value();
  saved["mixer_options"] = turned;
  CHECK_FALSE(lra::config_difference(saved, config));
  // A key that is not there has its default.
  saved.erase("kernels");
  CHECK_FALSE(lra::config_difference(saved, config));
  config.model.kernels = "reference";
  const auto found = lra::config_difference(saved, config);
  REQUIRE(found);
  CHECK(found->key == "kernels");
  CHECK(found->before == "\"fused\"");
  config.model.kernels = "fused";
  saved["mixer_options"].erase("k");
  CHECK(lra::config_difference(saved, config)->key == "mixer_options");
  saved["mixer_options"] = config.model.mixer_options;
  saved["of_the_future"] = 1;
  CHECK_THAT(lra::config_difference(saved, config)->reason, ContainsSubstring("does not know that key"));
}

TEST_CASE("a run goes on with the data that it was trained on, wherever they lie, and with no others",
          "[train][resume]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  const fs::path folder = workspace.path / "run", other = workspace.path / "other_data",
                 moved = workspace.path / "moved_data";
  stop_after(10, config, folder);
  prepare_other_data(other);
  config.task.data_dir = other.string();
  CHECK_THROWS_WITH(train(config, folder),
                    ContainsSubstring("comes from a run on other data than those in " + other.string() + ": its t"));
  fs::copy(workspace.path / "data", moved, fs::copy_options::recursive);
  config.task.data_dir = moved.string();
  const auto record = train(config, folder);
  CHECK(record.status == "ok");
  lra::write_json(folder / "result.json", record.to_json());
  CHECK(lra::recorded_status(config, folder) == "ok");
  config.task.data_dir = other.string();
  CHECK_THROWS_WITH(lra::recorded_status(config, folder), ContainsSubstring("is the record of a run on other data"));
  config.task.data_dir = (workspace.path / "nowhere").string();
  CHECK(lra::recorded_status(config, folder) == "ok");
  // What failed is tried again.
  lra::Json failed = record.to_json();
  failed["status"] = "failed";
  lra::write_json(folder / "result.json", failed);
  config.task.data_dir = other.string();
  CHECK(lra::recorded_status(config, folder) == "failed");
}

TEST_CASE("a checkpoint whose state no such run comes to is refused", "[train][resume]") {
  const Workspace workspace;
  const auto config = small_run(workspace);
  const fs::path folder = workspace.path / "run";
  stop_after(10, config, folder);
  const std::string whole = lra::read_file(folder / "checkpoint.safetensors");
  const auto with = [&](const std::string& key, const lra::Json& value) {
    lra::write_file_atomically(folder / "checkpoint.safetensors", whole);
    edit(folder / "checkpoint.safetensors", [&](lra::SafeTensors& content) {
      lra::Json state = lra::parse_json(content.metadata.at("state"), "state");
      state[key] = value;
      content.metadata["state"] = state.dump();
    });
  };
  const std::vector<std::pair<std::string, lra::Json>> wrong{
      {"step", -1},          {"evaluated_step", 11},  {"evaluated_step", 6.5}, {"best_step", 7},
      {"metrics_lines", 13}, {"window_examples", 17}, {"window_correct", -1},  {"valid_accuracy", 1.5}};
  for (const auto& [key, value] : wrong) {
    CAPTURE(key, value.dump());
    with(key, value);
    CHECK_THROWS_AS(train(config, folder), lra::Error);
  }
  with("step", 26);
  CHECK_THROWS_WITH(train(config, folder), ContainsSubstring("its step is 26, expected 0 to 25"));
  with("step", 11);
  CHECK_THROWS_WITH(train(config, folder), ContainsSubstring("its step is 11, but its optimiser has made 10 updates"));
  lra::write_file_atomically(folder / "checkpoint.safetensors", whole);
  CHECK(train(config, folder).status == "ok");
}

TEST_CASE("weights fit the model or are refused: none is missing, none too many, none of another shape",
          "[train][resume]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  config.train.train_steps = 2;
  const fs::path folder = workspace.path / "run";
  train(config, folder);
  const auto load = [&](const fs::path& file, const lra::ModelConfig& model_config) {
    lra::Classifier model(config.task, model_config, 0);
    lra::load_model(file, model);
  };
  CHECK_NOTHROW(load(folder / "model.safetensors", config.model));
  CHECK_NOTHROW(load(folder / "checkpoint.safetensors", config.model));
  const auto none = small_run(workspace, "none");
  CHECK_THROWS_WITH(load(folder / "model.safetensors", none.model),
                    ContainsSubstring("which this model does not have"));
  CHECK_THROWS_WITH(load(folder / "checkpoint.safetensors", none.model),
                    ContainsSubstring("which this model does not have"));
  auto wide = config.model;
  wide.d_ff = 32;
  CHECK_THROWS_WITH(load(folder / "model.safetensors", wide), ContainsSubstring("this model's is"));
  auto deep = config.model;
  deep.num_layers = 3;
  CHECK_THROWS_WITH(load(folder / "model.safetensors", deep), ContainsSubstring("lacks the tensor"));
  // What only a checkpoint may hold is too much in a model's file.
  edit(folder / "model.safetensors",
       [](lra::SafeTensors& content) { content.tensors["optimizer/step"] = at::zeros({}); });
  CHECK_THROWS_WITH(load(folder / "model.safetensors", config.model), ContainsSubstring("'optimizer/step'"));
  edit(folder / "checkpoint.safetensors",
       [](lra::SafeTensors& content) { content.tensors["optimizer/more"] = at::zeros({}); });
  CHECK_THROWS_WITH(train(config, folder), ContainsSubstring("'optimizer/more'"));
}

TEST_CASE("the weights that a checkpoint calls the best are there at every step", "[train][resume]") {
  struct Watching : Silent {
    explicit Watching(fs::path run) : folder(std::move(run)) {}
    void update(const lra::Progress&) override {
      if (!fs::exists(folder / "checkpoint.safetensors")) return;
      const std::int64_t best = state_in(folder).at("best_step");
      if (best == 0) return;
      ++looked;
      const fs::path file = folder / ("best-" + std::to_string(best) + ".safetensors");
      REQUIRE(fs::exists(file));
      CHECK(lra::read_model_facts(file).step == best);
    }
    fs::path folder;
    int looked = 0;
  };
  const Workspace workspace;
  auto config = small_run(workspace);
  config.train.train_steps = 40;
  config.train.eval_every = 1;
  config.train.checkpoint_every = 7;
  Watching watching(workspace.path / "run");
  REQUIRE(lra::train(config, workspace.path / "run", watching).status == "ok");
  CHECK(watching.looked > 20);
}

TEST_CASE("a metrics line that changed while the run stood still is noticed, what a kill left behind it is cut",
          "[train][resume]") {
  const Workspace workspace;
  const auto config = small_run(workspace);
  const fs::path folder = workspace.path / "run", file = folder / "metrics.jsonl";
  stop_after(13, config, folder);
  const std::string whole = lra::read_file(file);
  std::string flipped = whole;
  flipped[whole.find("examples_per_second") + 23] ^= 1;  // a digit
  lra::write_file_atomically(file, flipped);
  CHECK_THROWS_WITH(train(config, folder), ContainsSubstring("metrics.jsonl: damaged: its first 4 lines"));
  lra::write_file_atomically(file, whole.substr(0, whole.size() / 2));
  CHECK_THROWS_WITH(train(config, folder), ContainsSubstring("metrics.jsonl: has fewer lines"));
  lra::write_file_atomically(file, whole + R"({"step": 18, "spl)");
  REQUIRE(train(config, folder).status == "ok");
  REQUIRE(train(config, workspace.path / "whole").status == "ok");
  check_same_run(workspace.path / "whole", folder);

  // Killed between resume.json and the checkpoint: the first tells of more lines.
  const fs::path early = workspace.path / "early";
  stop_after(5, config, early);
  const std::string checkpoint = lra::read_file(early / "checkpoint.safetensors");
  REQUIRE(state_in(early).at("metrics_lines") == 0);
  stop_after(8, config, early);
  lra::write_file_atomically(early / "checkpoint.safetensors", checkpoint);
  REQUIRE(train(config, early).status == "ok");
  check_same_run(workspace.path / "whole", early);
}

TEST_CASE("the time limit counts all parts of a run", "[train][resume]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  const fs::path folder = workspace.path / "run";
  stop_after(10, config, folder);
  auto facts = *lra::read_resume_facts(folder);
  CHECK(facts.seconds > 0);
  facts.seconds = 3600;
  lra::write_resume_facts(folder, facts);
  config.train.time_limit_minutes = 59;
  const auto record = train(config, folder);
  CHECK(record.status == "timeout");
  CHECK(record.steps_done == 11);
  CHECK_THAT(record.notes.dump(), ContainsSubstring("3600 seconds came before"));
  CHECK(lra::read_resume_facts(folder)->seconds > 3600);
  config.train.time_limit_minutes = 61;
  CHECK(train(config, folder).status == "ok");
  CHECK(lra::read_resume_facts(folder)->seconds > 3600);
  lra::write_file_atomically(folder / "resume.json", R"({"seconds": "long"})");
  CHECK_THROWS_WITH(train(config, folder), ContainsSubstring("resume.json: expected seconds"));
}

TEST_CASE("a record vouches for its metrics and its weights", "[train][resume]") {
  const Workspace workspace;
  auto config = small_run(workspace);
  const fs::path folder = workspace.path / "run";
  const lra::Json files = train(config, folder).to_json().at("files");
  CHECK(files.size() == 2);
  for (const char* name : {"metrics.jsonl", "model.safetensors"}) {
    CHECK(files.at(name).at("bytes") == fs::file_size(folder / name));
    CHECK(files.at(name).at("sha256") == lra::sha256_file(folder / name));
  }
  // A run that was not finished has chosen no weights.
  config.train.train_steps = 40;
  Silent progress(30);
  CHECK(lra::train(config, folder, progress).to_json().at("files").size() == 1);
}
