#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/task.h"

/// ListOps (Nangia & Bowman 2018) at the lengths of the Long Range Arena (Tay et al. 2020): nested MIN, MAX, MED, SM of
/// digits.
namespace lra {

/// Token ids. The original takes them from a set's order, random in each process; these are fixed. Parentheses have
/// none. 0 is padding, 16 stays free for the original's out-of-vocabulary bucket (an unknown symbol is an Error here).
enum ListopsToken : char {
  token_digit_0 = 1,
  token_min = 11,
  token_max = 12,
  token_med = 13,
  token_sum_mod = 14,
  token_close = 15
};

/// Expressions as token ids, one byte each, in one buffer.
class ListopsDataset : public Dataset {
 public:
  std::size_t size() const override { return labels_.size(); }
  Example get(std::size_t index) const override;
  std::int64_t length(std::size_t index) const override { return static_cast<std::int64_t>(tokens(index).size()); }

  std::string_view tokens(std::size_t index) const {
    return {tokens_.data() + offsets_[index], offsets_[index + 1] - offsets_[index]};
  }
  std::int32_t label(std::size_t index) const override { return labels_[index]; }

  double cut_share() const override {
    return size() == 0 ? 0 : static_cast<double>(cut_) / static_cast<double>(size());
  }

  /// Keeps the first `longest` tokens.
  void add(std::string_view tokens, std::int32_t label, std::size_t longest = std::string_view::npos);
  void reserve(std::size_t tokens) { tokens_.reserve(tokens); }

 private:
  std::string tokens_;
  std::vector<std::size_t> offsets_{0};
  std::vector<std::int8_t> labels_;
  std::size_t cut_ = 0;
};

/// The value, 0-9, of an expression in token ids. MED of an even count is the mean of the two middle values, cut to an
/// integer; SM is the sum modulo 10. Throws Error saying what is wrong with an expression that is not well formed.
int evaluate_listops(std::string_view tokens);

/// The official text: left-nested pairs in parentheses, all symbols separated by single spaces.
std::string listops_source(std::string_view tokens);

/// Defaults are those of the official generator, which has no seed.
struct ListopsGenerator {
  std::int64_t seed = 0;
  std::int64_t train = 96000;
  std::int64_t valid = 2000;
  std::int64_t test = 2000;
  std::int64_t min_length = 500;   ///< kept when strictly longer
  std::int64_t max_length = 2000;  ///< kept when strictly shorter
  std::int64_t max_depth = 10;
  std::int64_t max_args = 10;

  void describe(FieldVisitor& fields);
};

struct ListopsSample {
  std::array<ListopsDataset, 3> splits;  ///< train, valid, test
  std::int64_t candidates = 0;           ///< trees drawn until the last one that was kept
  std::int64_t accepted = 0;             ///< those of them with an allowed length, duplicates included
};

/// The distribution of the official generator: distinct trees, drawn until there are enough, shuffled, split. The
/// result does not depend on the number of threads (0: all cores). Throws Error for options out of range and for
/// options that allow too few trees.
ListopsSample generate_listops(const ListopsGenerator& options, std::int64_t threads = 0);

/// The first line of a file of the official form.
inline constexpr std::string_view listops_header = "Source\tTarget";

/// Reads the official form: the header, then one expression and its digit a line; LF or CRLF, with or without a
/// final newline. Keeps the first `seq_len` tokens of each line and the first `limit` lines (0: all). Throws Error
/// "FILE:LINE: ...", also for parentheses or brackets that do not balance and for a Target that is not the value of its
/// Source.
std::unique_ptr<ListopsDataset> read_listops(const std::filesystem::path& file, std::size_t seq_len, std::size_t limit);

/// reference_levels() and {"root_operator": the label that is most frequent in `train` after the same first token}.
Json listops_levels(const Dataset& train, const Dataset& test);

struct ListopsOptions {
  std::string brackets = "keep";  ///< drop: without the tokens that close a list

  void describe(FieldVisitor& fields);
};
std::unique_ptr<Task> make_listops_task();

}  // namespace lra
