#include "data/documents.h"

#include <array>
#include <cstddef>
#include <numeric>
#include <string_view>
#include <utility>

#include "data/random.h"

namespace lra {
namespace {

constexpr std::size_t clauses = 16, quarters = 4, clauses_per_quarter = 4;
constexpr int margin = 4;
constexpr std::size_t min_length = 700, max_length = 1024;
constexpr std::uint32_t plain_percent = 57;

using Votes = std::array<int, clauses>;

/// Letters of a kind of words.
struct Letters {
  std::string_view consonants;
  char vowel;
};
/// The words that vote 1 and those that vote -1.
struct Dialect {
  Letters for_it, against_it;
};
constexpr Dialect opinion{{"bdg", 'a'}, {"kpt", 'o'}}, tone{{"mnr", 'e'}, {"vwz", 'i'}};

Votes draw_votes(Random& random, int stance) {
  std::array<int, quarters> sums{};
  do {
    for (int& sum : sums) sum = 2 * static_cast<int>(random.below(5)) - 4;
  } while (std::accumulate(sums.begin(), sums.end(), 0) != margin * stance);
  Votes votes{};
  for (std::size_t q = 0; q < quarters; ++q) {
    const std::size_t first = q * clauses_per_quarter;
    const auto in_favour = static_cast<std::size_t>((sums[q] + 4) / 2);
    for (std::size_t i = 0; i < clauses_per_quarter; ++i) votes[first + i] = i < in_favour ? 1 : -1;
    for (std::size_t i = clauses_per_quarter; i > 1; --i) std::swap(votes[first + i - 1], votes[first + random.below(static_cast<std::uint32_t>(i))]);
  }
  return votes;
}

void append_word(Random& random, const Letters& letters, std::string& text) {
  const std::uint32_t length = 2 + random.below(4), turn = random.below(2);
  for (std::uint32_t i = 0; i < length; ++i) {
    const bool vowel = (i + turn) % 2 == 1;
    text += vowel ? letters.vowel : letters.consonants[random.below(static_cast<std::uint32_t>(letters.consonants.size()))];
  }
}

/// Words take turns between the two dialects, each with its votes.
std::string write_clauses(Random& random, const Dialect& even, const Votes& even_votes, const Dialect& odd, const Votes& odd_votes) {
  std::string text;
  do {
    text.clear();
    for (std::size_t c = 0; c < clauses; ++c) {
      const std::uint32_t words = 9 + random.below(8), turn = random.below(2);
      for (std::uint32_t i = 0; i < words; ++i) {
        if (!text.empty()) text += ' ';
        const bool is_even = (i + turn) % 2 == 0;
        const Dialect& dialect = is_even ? even : odd;
        append_word(random, (is_even ? even_votes : odd_votes)[c] > 0 ? dialect.for_it : dialect.against_it, text);
      }
      text += c + 1 == clauses || random.below(2) == 0 ? '.' : ',';
    }
  } while (text.size() < min_length || text.size() > max_length);
  return text;
}

std::string write_in_dialect(Random& random, const Dialect& dialect, int stance) {
  const Votes votes = draw_votes(random, stance);
  return write_clauses(random, dialect, votes, dialect, votes);
}

}  // namespace

Document write_document(std::uint64_t seed, std::uint64_t index) {
  Random random(seed, 2 * index);
  const auto label = static_cast<std::int32_t>(index % 2);
  const int plain = random.below(100) < plain_percent ? 1 : -1;
  const Votes opinions = draw_votes(random, label == 1 ? plain : -plain);
  const Votes tones = draw_votes(random, plain);
  return {label, write_clauses(random, opinion, opinions, tone, tones)};
}

DocumentPair write_document_pair(std::uint64_t seed, std::uint64_t index) {
  Random random(seed, 2 * index + 1);
  const auto label = static_cast<std::int32_t>(index % 2);
  const int stance = random.below(2) == 0 ? 1 : -1;
  const bool first_in_tone = random.below(2) == 0;
  const bool second_in_tone = first_in_tone != (random.below(8) != 0);
  std::string first = write_in_dialect(random, first_in_tone ? tone : opinion, stance);
  std::string second = write_in_dialect(random, second_in_tone ? tone : opinion, label == 1 ? stance : -stance);
  return {label, std::move(first), std::move(second)};
}

}  // namespace lra
