// Every mixer against an independent computation: tests/reference/ holds weights, an input, and the outputs and input
// gradients that scripts/reference/mixers.py makes of them.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "mixer_cases.h"
#include "train/safetensors.h"

namespace fs = std::filesystem;
using namespace lra;
using namespace lra::testing;

namespace {

const fs::path folder = fs::path(LRA_SOURCE_DIR) / "tests/reference";
const std::string how_to_write =
    "build/release/bin/lra_tests \"[write_references]\" && .venv/bin/python scripts/reference/write.py";
const std::string prefix = "mixer.";

// Of the case number i of a mixer.
std::string file_name(const std::string& mixer, std::size_t i) {
  return mixer + "-" + std::to_string(i) + ".safetensors";
}

std::map<std::string, MixerCase> cases_by_file() {
  std::map<std::string, MixerCase> cases;
  std::map<std::string, std::size_t> count;
  for (const auto& one : mixer_cases()) cases.emplace(file_name(one.mixer, count[one.mixer]++), one);
  return cases;
}

// Not much longer than the longest sequence: some weights grow with it.
MixerSpec reference_spec() {
  MixerSpec spec = small_spec();
  spec.max_length = 32;
  return spec;
}

std::string spec_json(const MixerSpec& spec) {
  return Json{
      {"d_model", spec.d_model}, {"d_qkv", spec.d_qkv}, {"num_heads", spec.num_heads}, {"max_length", spec.max_length}}
      .dump();
}

std::map<std::string, at::Tensor> weights(const Mixer& mixer) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& item : mixer.named_parameters()) tensors[prefix + item.key()] = item.value().detach();
  for (const auto& item : mixer.named_buffers()) tensors[prefix + item.key()] = item.value();
  return tensors;
}

}  // namespace

TEST_CASE("Writes weights and inputs for the independent computation, without its results", "[.write_references]") {
  fs::remove_all(folder);
  const std::vector<std::int64_t> lengths = {13, 30};
  const SequenceLayout layout(lengths);
  for (const auto& [name, one] : cases_by_file()) {
    const MixerSpec spec = reference_spec();
    SafeTensors content;
    content.tensors = weights(*make_mixer(one, spec));
    content.tensors["x"] = random_input(layout.tokens(), spec.d_model, 21);
    content.tensors["direction"] = random_input(layout.tokens(), spec.d_model, 22);
    content.tensors["lengths"] = at::tensor(lengths, at::kLong);
    content.tensors["token_ids"] =
        at::randint(20, {layout.tokens()}, at::make_generator<at::CPUGeneratorImpl>(std::uint64_t{23}), at::kLong);
    content.metadata = {{"mixer", one.mixer}, {"options", one.options.dump()}, {"spec", spec_json(spec)}};
    write_safetensors(folder / name, content);
  }
}

TEST_CASE("Every test case of every mixer has its reference, and no other is there", "[mixers][each]") {
  std::set<std::string> files, expected;
  for (const auto& file : fs::directory_iterator(folder)) files.insert(file.path().filename().string());
  INFO("to write them: " << how_to_write);
  for (const auto& [name, one] : cases_by_file()) {
    INFO(name);
    expected.insert(name);
    if (files.count(name) == 0) continue;
    const auto metadata = read_safetensors_metadata(folder / name);
    CHECK(metadata.at("mixer") == one.mixer);
    CHECK(metadata.at("options") == one.options.dump());
    CHECK(metadata.at("spec") == spec_json(reference_spec()));
  }
  if (std::getenv("LRA_TEST_MIXER") == nullptr) CHECK(files == expected);
  for (const auto& name : expected) CHECK(files.contains(name));
}

TEST_CASE("Outputs and input gradients are those of the references", "[mixers][each]") {
  for (const auto& [name, one] : cases_by_file()) {
    if (!fs::exists(folder / name)) continue;  // see the test above
    const SafeTensors content = read_safetensors(folder / name);
    const auto tensor = [&content = content.tensors](const std::string& key) { return content.at(key); };
    const at::Tensor lengths = tensor("lengths");
    SequenceLayout layout(
        {lengths.const_data_ptr<std::int64_t>(), lengths.const_data_ptr<std::int64_t>() + lengths.numel()});
    layout.set_token_ids(tensor("token_ids"));
    for (const std::string how : {"auto", "per_sequence", "padded"}) {
      INFO(name << " " << one.options.dump() << ", " << how << "; to write it: " << how_to_write);
      MixerSpec spec = reference_spec();
      spec.layout = how;
      const auto mixer = make_mixer(one, spec);
      std::size_t loaded = 0;
      for (auto& [key, mine] : weights(*mixer)) {
        mine.copy_(content.at(key, mine, folder / name));
        ++loaded;
      }
      CHECK(loaded + 6 == content.tensors.size());  // x, direction, lengths, token_ids, output, input_gradient
      const at::Tensor x = tensor("x").clone().requires_grad_();
      const at::Tensor output = mixer->forward(x, layout);
      (output * tensor("direction")).sum().backward();
      // Relative to the largest number. Rounding gives some 1e-15; what is asked for is 1e-6.
      const auto relative = [&](const at::Tensor& ours, const std::string& key) {
        return largest_difference(ours, tensor(key)) / tensor(key).abs().max().item<double>();
      };
      CHECK(relative(output.detach(), "output") < 1e-10);
      CHECK(relative(x.grad(), "input_gradient") < 1e-10);
    }
  }
}
