#include "data/listops.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <numeric>
#include <unordered_set>

#include "core/error.h"
#include "core/host_info.h"
#include "data/random.h"

namespace lra {
namespace {

bool is_digit(char token) { return token < token_min; }

void check_range(const char* option, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high)
    throw Error(fmt::format("{}: expected a number from {} to {}, found {}", option, low, high, value));
}

void check_options(const ListopsGenerator& options, std::int64_t threads) {
  check_range("--seed", options.seed, 0, std::numeric_limits<std::int64_t>::max());
  check_range("--train", options.train, 1, 10'000'000);
  check_range("--valid", options.valid, 1, 10'000'000);
  check_range("--test", options.test, 1, 10'000'000);
  check_range("--max-length", options.max_length, 2, 1'000'000);
  check_range("--min-length", options.min_length, 0, options.max_length - 2);
  check_range("--max-depth", options.max_depth, 1, 1000);
  check_range("--max-args", options.max_args, 2, 1000);
  check_range("--threads", threads, 0, 1024);
}

/// Draws one tree in prefix order into `tokens`; `open` is scratch. Returns whether its length is allowed. The original
/// draws an operator after its arguments and the whole tree before it looks at the length; the draws are independent,
/// so drawing the operator first changes nothing. Nor does giving up at once when the tree cannot be shorter than
/// max_length any more: it would be rejected anyway, and the draws left unused belong to this candidate alone.
bool draw_tree(Random& random, const ListopsGenerator& options, std::string& tokens, std::vector<std::uint32_t>& open) {
  tokens.clear();
  open.clear();  // for each operator above the next node: how many of its arguments are still to be drawn
  std::int64_t least_length = 1;  // if every node still to be drawn is a digit
  do {
    const bool may_branch = static_cast<std::int64_t>(open.size()) + 1 < options.max_depth;
    if (may_branch && random.next() >> 62 == 0) {  // probability 1/4
      tokens.push_back(static_cast<char>(token_min + random.below(4)));
      open.push_back(2 + random.below(static_cast<std::uint32_t>(options.max_args - 1)));
      least_length += 1 + open.back();
      if (least_length >= options.max_length) return false;
    } else {
      tokens.push_back(static_cast<char>(token_digit_0 + random.below(10)));
      while (!open.empty() && --open.back() == 0) {
        tokens.push_back(token_close);
        open.pop_back();
      }
    }
  } while (!open.empty());
  return least_length > options.min_length;
}

/// Candidates are drawn in blocks of consecutive numbers, each candidate from its own generator.
struct Block {
  std::vector<std::pair<std::int64_t, std::string>> accepted;  // number in the block, tokens
  std::int64_t tokens_drawn = 0;
};
constexpr std::int64_t block_size = 256;
constexpr std::int64_t candidate_cost = 16;  // what seeding its generator costs, in tokens
constexpr std::size_t blocks_per_round = 64;

std::vector<Block> draw_round(std::int64_t first_candidate, const ListopsGenerator& options, unsigned threads) {
  std::vector<Block> blocks(blocks_per_round);
  std::atomic<std::size_t> next_block = 0;
  const auto work = [&] {
    std::string tokens;
    std::vector<std::uint32_t> open;
    for (std::size_t b = next_block++; b < blocks.size(); b = next_block++) {
      for (std::int64_t i = 0; i < block_size; ++i) {
        const std::int64_t candidate = first_candidate + static_cast<std::int64_t>(b) * block_size + i;
        Random random(static_cast<std::uint64_t>(options.seed), static_cast<std::uint64_t>(candidate));
        if (draw_tree(random, options, tokens, open)) blocks[b].accepted.emplace_back(i, tokens);
        blocks[b].tokens_drawn += static_cast<std::int64_t>(tokens.size()) + candidate_cost;
      }
    }
  };
  std::vector<std::future<void>> workers;
  for (unsigned t = 0; t < threads; ++t) workers.push_back(std::async(std::launch::async, work));
  for (auto& worker : workers) worker.get();
  return blocks;
}

}  // namespace

Example ListopsDataset::get(std::size_t index) const {
  const std::string_view sequence = tokens(index);
  return {{sequence.begin(), sequence.end()}, label(index)};
}

void ListopsDataset::add(std::string_view tokens, std::int32_t label, std::size_t longest) {
  tokens_.append(tokens.substr(0, longest));
  cut_ += tokens.size() > longest;
  offsets_.push_back(tokens_.size());
  labels_.push_back(static_cast<std::int8_t>(label));
}

int evaluate_listops(std::string_view tokens) {
  struct Open {
    char operation;
    std::int64_t arguments;
    std::array<std::int64_t, 10> count;  // of each value among the arguments
  };
  std::vector<Open> open;
  int result = -1;
  for (const char token : tokens) {
    if (result >= 0) throw Error("the expression goes on after its end");
    int value;
    if (token >= token_min && token < token_close) {
      open.push_back({token, 0, {}});
      continue;
    }
    if (is_digit(token)) {
      value = token - token_digit_0;
    } else {
      if (open.empty()) throw Error("a closing bracket without an operator");
      const auto& [operation, arguments, count] = open.back();
      if (arguments == 0) throw Error("an operator without arguments");
      const auto at_rank =
          [&, &counts = count](std::int64_t rank) {  // the value at this place, from 0, of the sorted arguments
            int v = 0;
            for (std::int64_t below = counts[0]; below <= rank; below += counts[static_cast<std::size_t>(v)]) ++v;
            return v;
          };
      if (operation == token_min) {
        value = at_rank(0);
      } else if (operation == token_max) {
        value = at_rank(arguments - 1);
      } else if (operation == token_med) {
        value = (at_rank((arguments - 1) / 2) + at_rank(arguments / 2)) / 2;
      } else {
        std::int64_t sum = 0;
        for (std::size_t v = 0; v < 10; ++v) sum += static_cast<std::int64_t>(v) * count[v];
        value = static_cast<int>(sum % 10);
      }
      open.pop_back();
    }
    if (open.empty()) {
      result = value;
    } else {
      ++open.back().arguments;
      ++open.back().count[static_cast<std::size_t>(value)];
    }
  }
  if (result < 0) throw Error("the expression ends too early");
  return result;
}

std::string listops_source(std::string_view tokens) {
  std::vector<std::size_t> arguments;  // of each operator, in the order of their appearance
  std::vector<std::size_t> open;
  for (const char token : tokens) {
    if (token >= token_min && token < token_close) {
      open.push_back(arguments.size());
      arguments.push_back(0);
      continue;
    }
    if (token == token_close) open.pop_back();
    if (!open.empty()) ++arguments[open.back()];
  }
  constexpr const char* names[] = {"[MIN ", "[MAX ", "[MED ", "[SM "};
  std::string text;
  text.reserve(tokens.size() * 7);
  std::size_t depth = 0;
  auto count = arguments.begin();
  for (const char token : tokens) {
    if (token >= token_min && token < token_close) {
      for (std::size_t i = 0; i <= *count; ++i) text += "( ";
      ++count;
      ++depth;
      text += names[token - token_min];
      continue;
    }
    if (token == token_close) {
      text += "] ) ";
      --depth;
    } else {
      text += static_cast<char>('0' + token - token_digit_0);
      text += ' ';
    }
    if (depth > 0) text += ") ";
  }
  text.pop_back();
  return text;
}

void ListopsGenerator::describe(FieldVisitor& fields) {
  // check_options() has the ranges.
  fields.integer("seed", seed, {}, "seeds the generator");
  fields.integer("train", train, {}, "training examples");
  fields.integer("valid", valid, {}, "validation examples");
  fields.integer("test", test, {}, "test examples");
  fields.integer("min_length", min_length, {}, "expressions are longer than this");
  fields.integer("max_length", max_length, {}, "expressions are shorter than this");
  fields.integer("max_depth", max_depth, {}, "greatest depth of an expression");
  fields.integer("max_args", max_args, {}, "most arguments of an operator");
}

ListopsSample generate_listops(const ListopsGenerator& options, std::int64_t thread_count) {
  check_options(options, thread_count);
  const unsigned threads =
      thread_count > 0 ? static_cast<unsigned>(thread_count) : static_cast<unsigned>(usable_cores());
  const auto wanted = static_cast<std::size_t>(options.train + options.valid + options.test);
  // In tokens drawn. Official options need about 2,500 for a tree; far beyond that, the options are taken for a
  // mistake.
  constexpr std::int64_t patience = 100'000'000, patience_per_tree = 2'500'000;

  ListopsSample sample;
  std::vector<std::string> trees;
  trees.reserve(wanted);  // never reallocated: `seen` looks into it
  std::unordered_set<std::string_view> seen;
  std::int64_t tokens_drawn = 0, tokens_at_last_tree = 0;
  for (std::int64_t first = 0; trees.size() < wanted;) {
    for (Block& block : draw_round(first, options, threads)) {
      for (auto& [number, tokens] : block.accepted) {
        if (trees.size() == wanted) break;
        ++sample.accepted;
        sample.candidates = first + number + 1;
        if (seen.contains(tokens)) continue;
        seen.insert(trees.emplace_back(std::move(tokens)));
        tokens_at_last_tree = tokens_drawn;
      }
      first += block_size;
      tokens_drawn += block.tokens_drawn;
    }
    if (trees.size() < wanted &&
        (tokens_drawn - tokens_at_last_tree > patience ||
         tokens_drawn > patience + patience_per_tree * static_cast<std::int64_t>(trees.size()))) {
      throw Error(
          fmt::format("these options give too few distinct expressions: {} found among {} candidates, {} wanted",
                      trees.size(), first, wanted),
          "allow more lengths (--min-length, --max-length), more depth (--max-depth) or ask for fewer examples");
    }
  }
  seen.clear();

  // Trees come in the order of their candidates, which is random already, but where duplicates are frequent (short
  // expressions) the likely trees come first; the original's set order has no such trend.
  std::vector<std::uint32_t> order(wanted);
  std::iota(order.begin(), order.end(), 0u);
  Random random(static_cast<std::uint64_t>(options.seed), ~std::uint64_t{0});
  for (std::size_t i = wanted; i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<std::uint32_t>(i))]);

  const std::array<std::int64_t, 3> sizes{options.train, options.valid, options.test};
  auto next = order.begin();
  for (std::size_t split = 0; split < 3; ++split) {
    for (std::int64_t i = 0; i < sizes[split]; ++i) {
      std::string& tokens = trees[*next++];
      sample.splits[split].add(tokens, evaluate_listops(tokens));
      std::string().swap(tokens);  // so that trees are not held twice
    }
  }
  return sample;
}

}  // namespace lra
