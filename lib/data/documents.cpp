#include "data/documents.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>
#include <utility>

#include "data/random.h"

namespace lra {
namespace {

constexpr std::uint32_t subjects = 4;
constexpr std::size_t min_length = 700, max_length = 1024;
constexpr std::size_t words = 200;  // about
constexpr std::uint32_t lean_percent = 57;
// Of a document for Retrieval.
constexpr std::size_t quarters = 4, clauses_per_quarter = 4;
constexpr int margin = 4;

enum Kind : std::size_t { opinion, tone };

char letter(Kind kind, std::uint32_t subject, int vote) {
  return static_cast<char>('a' + (2 * kind + (vote > 0 ? 0 : 1)) * subjects + subject);
}

template <class T, std::size_t size>
void shuffle(Random& random, std::array<T, size>& items) {
  for (std::size_t i = size; i > 1; --i) std::swap(items[i - 1], items[random.below(static_cast<std::uint32_t>(i))]);
}

int leaning_vote(Random& random) { return random.below(100) < lean_percent ? 1 : -1; }

/// One clause for each of `clauses`; letter_of(clause) is the next letter of it.
template <class Clauses, class LetterOf>
std::string write_clauses(Random& random, const Clauses& clauses, const LetterOf& letter_of) {
  const auto usual = static_cast<std::uint32_t>(words / clauses.size());
  std::string text;
  do {
    text.clear();
    for (const auto& clause : clauses) {
      if (!text.empty()) text += random.below(2) == 0 ? ". " : ", ";
      const std::uint32_t count = usual * 3 / 4 + random.below(usual / 2 + 1);
      for (std::uint32_t word = 0; word < count; ++word) {
        if (word > 0) text += ' ';
        for (std::uint32_t length = 2 + random.below(4); length > 0; --length) text += letter_of(clause);
      }
    }
    text += '.';
  } while (text.size() < min_length || text.size() > max_length);
  return text;
}

/// Sixteen votes of one kind that sum to the margin on the side of `stance`, about any subject.
std::string write_stance(Random& random, Kind kind, int stance) {
  std::array<int, quarters> sums{};
  do {
    for (int& sum : sums) sum = 2 * static_cast<int>(random.below(5)) - 4;
  } while (std::accumulate(sums.begin(), sums.end(), 0) != margin * stance);
  std::array<int, quarters * clauses_per_quarter> votes{};
  for (std::size_t q = 0; q < quarters; ++q) {
    std::array<int, clauses_per_quarter> part{};
    for (std::size_t i = 0; i < clauses_per_quarter; ++i) part[i] = 2 * static_cast<int>(i) < sums[q] + 4 ? 1 : -1;
    shuffle(random, part);
    for (std::size_t i = 0; i < clauses_per_quarter; ++i) votes[q * clauses_per_quarter + i] = part[i];
  }
  return write_clauses(random, votes, [&](int vote) { return letter(kind, random.below(subjects), vote); });
}

}  // namespace

Document write_document(std::uint64_t seed, std::uint64_t index) {
  Random random(seed, 2 * index);
  const auto label = static_cast<std::int32_t>(index % 2);
  std::array<int, subjects> agreement{1, label == 1 ? 1 : -1, label == 1 ? 1 : -1, -1};
  shuffle(random, agreement);
  std::array<char, subjects> opinions{}, tones{};
  for (std::uint32_t s = 0; s < subjects; ++s) {
    const int plain = leaning_vote(random);
    tones[s] = letter(tone, s, plain);
    opinions[s] = letter(opinion, s, plain * agreement[s]);
  }
  shuffle(random, opinions);
  shuffle(random, tones);
  std::array<char, 2 * subjects> clauses{};
  const bool opinions_first = random.below(2) == 0;
  std::copy(opinions.begin(), opinions.end(), clauses.begin() + (opinions_first ? 0 : subjects));
  std::copy(tones.begin(), tones.end(), clauses.begin() + (opinions_first ? subjects : 0));
  return {label, write_clauses(random, clauses, [](char clause) { return clause; })};
}

DocumentPair write_document_pair(std::uint64_t seed, std::uint64_t index) {
  Random random(seed, 2 * index + 1);
  const auto label = static_cast<std::int32_t>(index % 2);
  const int stance = leaning_vote(random);
  const Kind kind = random.below(2) == 0 ? opinion : tone;
  std::string first = write_stance(random, kind, stance);
  std::string second = write_stance(random, kind == opinion ? tone : opinion, label == 1 ? stance : -stance);
  return {label, std::move(first), std::move(second)};
}

}  // namespace lra
