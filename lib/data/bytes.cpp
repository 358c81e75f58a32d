#include "data/bytes.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "data/random.h"

namespace lra {
namespace {

constexpr std::size_t examples = 1024;

class BytesDataset : public Dataset {
 public:
  BytesDataset(std::uint64_t seed, std::size_t size, std::int64_t length) : seed_(seed), size_(size), length_(length) {}
  std::size_t size() const override { return size_; }
  std::int64_t length(std::size_t) const override { return length_; }
  std::int32_t label(std::size_t index) const override {
    return static_cast<std::int32_t>(Random(seed_, index).below(2));
  }
  Example get(std::size_t index) const override {
    Random random(seed_, index);
    Example example;
    example.label = static_cast<std::int32_t>(random.below(2));
    example.tokens.resize(static_cast<std::size_t>(length_));
    for (auto& token : example.tokens) token = 1 + static_cast<std::int32_t>(random.below(256));
    return example;
  }

 private:
  std::uint64_t seed_;
  std::size_t size_;
  std::int64_t length_;
};

[[noreturn]] void nothing_to_prepare() {
  throw Error("the task 'bytes' is made in memory for timing: it has no files to prepare, read or verify",
              "open it with `lra-run bench`");
}

class BytesTask : public Task {
 public:
  std::unique_ptr<Dataset> open(Split split, const TaskConfig& config) const override {
    if (config.vocab_size < 257) throw Error("vocab_size: the task 'bytes' has ids up to 256, expected at least 257");
    if (config.num_classes < 2) throw Error("num_classes: the task 'bytes' has 2 classes, expected at least 2");
    const auto size = config.limit > 0 ? std::min(examples, static_cast<std::size_t>(config.limit)) : examples;
    return std::make_unique<BytesDataset>(static_cast<std::uint64_t>(split), size, config.seq_len);
  }
  std::unique_ptr<Dataset> open_file(const std::filesystem::path&, const TaskConfig&) const override {
    nothing_to_prepare();
  }
  Json reference_levels(const TaskConfig&, const Dataset&, const Dataset&) const override { return {{"chance", 0.5}}; }
  Json prepare(const PrepareOptions&) const override { nothing_to_prepare(); }
  Json verify(const std::filesystem::path&) const override { nothing_to_prepare(); }
  Json data_info(const TaskConfig&) const override { return {{"generator", "random bytes"}}; }
  std::string how_to_prepare() const override { return "nothing to prepare: made in memory for timing"; }
  std::string show(const Example& example, bool) const override {
    return fmt::format("label {}: {} random bytes\n", example.label, example.tokens.size());
  }
};

}  // namespace

std::unique_ptr<Task> make_bytes_task() { return std::make_unique<BytesTask>(); }

}  // namespace lra
