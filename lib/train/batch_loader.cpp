#include "train/batch_loader.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "data/random.h"

namespace lra {
namespace {

PackedBatch pack(const std::vector<Example>& examples) {
  std::vector<std::int64_t> lengths;
  for (const auto& example : examples) {
    const auto size = static_cast<std::int64_t>(example.tokens.size());
    if (example.second > 0) lengths.push_back(example.second);
    lengths.push_back(size - example.second);
  }
  SequenceLayout layout(std::move(lengths));
  at::Tensor tokens = at::empty({layout.tokens()}, at::kLong);
  at::Tensor labels = at::empty({static_cast<std::int64_t>(examples.size())}, at::kLong);
  auto* token = tokens.mutable_data_ptr<std::int64_t>();
  auto* label = labels.mutable_data_ptr<std::int64_t>();
  for (const auto& example : examples) {
    token = std::copy(example.tokens.begin(), example.tokens.end(), token);
    *label++ = example.label;
  }
  return {std::move(tokens), std::move(layout), std::move(labels)};
}

std::vector<Example> read_examples(const Dataset& dataset, const std::vector<std::size_t>& indices) {
  std::vector<Example> examples;
  for (const auto index : indices) examples.push_back(dataset.get(index));
  return examples;
}

}  // namespace

PackedBatch PackedBatch::to(at::Device device) const { return {tokens.to(device), layout, labels.to(device)}; }

PackedBatch PackedBatch::slice(std::int64_t first, std::int64_t count) const {
  const std::int64_t sequences = layout.batch() / examples();  // 2 of a pair
  const auto begin = layout.lengths().begin() + first * sequences;
  SequenceLayout part({begin, begin + count * sequences});
  const auto size = part.tokens();
  return {tokens.narrow(0, layout.offset(first * sequences), size), std::move(part), labels.narrow(0, first, count)};
}

PackedBatch pack(const Dataset& dataset, const std::vector<std::size_t>& indices) {
  return pack(read_examples(dataset, indices));
}

BatchLoader::BatchLoader(const Dataset& dataset, std::int64_t batch_size, std::int64_t seed)
    : dataset_(dataset), batch_size_(batch_size), seed_(seed) {
  if (dataset.size() == 0) throw Error("the training split has no examples");
}

std::int64_t BatchLoader::steps_per_epoch() const {
  return (static_cast<std::int64_t>(dataset_.size()) + batch_size_ - 1) / batch_size_;
}

std::vector<Example> BatchLoader::read(std::int64_t step) {
  const std::int64_t epoch = step / steps_per_epoch();
  if (epoch != epoch_) {
    order_ = shuffled(dataset_.size(), static_cast<std::uint64_t>(seed_), static_cast<std::uint64_t>(epoch));
    epoch_ = epoch;
  }
  const auto first = order_.begin() + step % steps_per_epoch() * batch_size_;
  const auto last = order_.end() - first > batch_size_ ? first + batch_size_ : order_.end();
  return read_examples(dataset_, {first, last});
}

PackedBatch BatchLoader::get(std::int64_t step) {
  std::vector<Example> examples;
  if (next_.valid()) examples = next_.get();  // also when it is of no use: `read` may run in one thread only
  if (next_step_ != step) examples = read(step);
  next_step_ = step + 1;
  next_ = std::async(std::launch::async, [this, next = next_step_] { return read(next); });
  return pack(examples);
}

}  // namespace lra
