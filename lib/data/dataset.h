#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace lra {

/// One labelled sequence, or pair of sequences: token ids (never padding) and the class.
struct Example {
  std::vector<std::int32_t> tokens;  ///< of a pair: of both sequences, one after the other
  std::int32_t label = 0;
  std::int64_t second = 0;  ///< of a pair: where its second sequence begins; 0: there is one sequence
};

/// A split held ready for random access. Implementations are safe to read from several threads.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::size_t size() const = 0;
  /// Tokens of example `index` in their first-to-last order, each sequence cut to the task's `seq_len`.
  virtual Example get(std::size_t index) const = 0;
  /// Number of tokens of example `index`, both sequences of a pair together, without reading it.
  virtual std::int64_t length(std::size_t index) const = 0;
  virtual std::int32_t label(std::size_t index) const = 0;
  /// Fraction of the sequences that the task's `seq_len` cuts.
  virtual double cut_share() const { return 0; }
};

/// Some examples of another split.
class Subset : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> whole, std::vector<std::size_t> indices)
      : whole_(std::move(whole)), indices_(std::move(indices)) {}
  std::size_t size() const override { return indices_.size(); }
  Example get(std::size_t index) const override { return whole_->get(indices_[index]); }
  std::int64_t length(std::size_t index) const override { return whole_->length(indices_[index]); }
  std::int32_t label(std::size_t index) const override { return whole_->label(indices_[index]); }
  /// Of the whole split.
  double cut_share() const override { return whole_->cut_share(); }

 private:
  std::shared_ptr<const Dataset> whole_;
  std::vector<std::size_t> indices_;
};

}  // namespace lra
