#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/documents.h"

using namespace lra;

namespace {

/// What an independent reading of a text finds, the last clause perhaps cut: a clause votes for whichever letters it
/// has more of.
struct Reading {
  std::array<int, 4> opinion{}, tone{};  // votes on each subject
  int clauses = 0;
  bool single_subject = true, agree = true;

  /// Votes for whatever subject.
  int of_opinion() const { return opinion[0] + opinion[1] + opinion[2] + opinion[3]; }
  int of_tone() const { return tone[0] + tone[1] + tone[2] + tone[3]; }
  int agreements() const {
    int count = 0;
    for (std::size_t s = 0; s < 4; ++s) count += opinion[s] * tone[s] > 0 ? 1 : 0;
    return count;
  }
};

Reading read(std::string_view text) {
  Reading result;
  constexpr std::array<std::string_view, 4> letters{"abcd", "efgh", "ijkl",
                                                    "mnop"};  // opinions 1 and -1, tones 1 and -1
  std::array<std::array<int, 4>, 4> count{};
  const auto end_clause = [&] {
    int kinds = 0, letters_seen = 0;
    for (std::size_t kind = 0; kind < 4; ++kind) {
      std::size_t most = 0;
      int all = 0;
      for (std::size_t s = 0; s < 4; ++s) {
        all += count[kind][s];
        letters_seen += count[kind][s] > 0 ? 1 : 0;
        if (count[kind][s] > count[kind][most]) most = s;
      }
      if (all == 0) continue;
      ++kinds;
      (kind < 2 ? result.opinion : result.tone)[most] += kind % 2 == 0 ? 1 : -1;
    }
    result.agree = result.agree && kinds == 1;
    result.single_subject = result.single_subject && letters_seen == 1;
    ++result.clauses;
    count = {};
  };
  for (const char c : text) {
    for (std::size_t kind = 0; kind < 4; ++kind) {
      if (const auto subject = letters[kind].find(c); subject != std::string_view::npos) ++count[kind][subject];
    }
    if (c == '.' || c == ',') end_clause();
  }
  if (!text.empty() && text.back() != '.' && text.back() != ',') end_clause();
  return result;
}

bool is_text(std::string_view text) {
  return text.size() >= 700 && text.size() <= 1024 &&
         text.find_first_not_of("abcdefghijklmnop ,.") == std::string_view::npos;
}

/// Right answers of the best guess from `key` alone, learnt on the even and scored on the odd ones of the (key, label)
/// two by two.
double best_guess(const std::vector<std::pair<std::string, int>>& seen) {
  std::map<std::string, int> lean;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (i / 2 % 2 == 0) lean[seen[i].first] += 2 * seen[i].second - 1;
  }
  double right = 0, all = 0;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (i / 2 % 2 == 0) continue;
    const auto found = lean.find(seen[i].first);
    const int guess = found != lean.end() && found->second > 0 ? 1 : 0;
    right += guess == seen[i].second ? 1 : 0;
    all += 1;
  }
  return right / all;
}

/// What of the label can be seen of a text: how many subjects agree, how many do not, and what the lone opinions lean
/// to.
std::string key_of(std::string_view text) {
  const Reading reading = read(text);
  int agree = 0, differ = 0, lone = 0;
  for (std::size_t s = 0; s < 4; ++s) {
    const int product = reading.opinion[s] * reading.tone[s];
    agree += product > 0 ? 1 : 0;
    differ += product < 0 ? 1 : 0;
    lone += product == 0 ? reading.opinion[s] : 0;
  }
  return std::to_string(agree) + ' ' + std::to_string(differ) + ' ' + std::to_string(lone);
}

}  // namespace

TEST_CASE("A document and a pair depend on seed and index alone", "[documents]") {
  CHECK(write_document(7, 3).text == write_document(7, 3).text);
  CHECK(write_document(7, 3).text != write_document(7, 5).text);
  CHECK(write_document(7, 3).text != write_document(8, 3).text);
  CHECK(write_document(7, 3).text != write_document_pair(7, 3).first);
  CHECK(write_document(7, 3).text.substr(0, 64) == "ffff fffff ffff fff ff fff ff fffff ff ffff ffff fff fff ffff ff");
  CHECK(write_document_pair(7, 3).second.substr(0, 64) ==
        "bdd bb dcba bc cdac bbccd ab cbbc aabab ca db, bc adaba adad cab");
}

TEST_CASE("A document's label is what its whole text says", "[documents]") {
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const Document document = write_document(1, i);
    const Reading reading = read(document.text);
    INFO(i << ": " << document.text);
    REQUIRE(is_text(document.text));
    REQUIRE((reading.agree && reading.single_subject));
    REQUIRE(reading.clauses == 8);
    for (std::size_t s = 0; s < 4; ++s) REQUIRE(std::abs(reading.opinion[s] * reading.tone[s]) == 1);
    REQUIRE(reading.agreements() == (document.label == 1 ? 3 : 1));
    REQUIRE(document.label == static_cast<std::int32_t>(i % 2));
  }
}

TEST_CASE("A pair's label is whether both texts have one stance", "[documents]") {
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const DocumentPair pair = write_document_pair(1, i);
    const Reading a = read(pair.first), b = read(pair.second);
    INFO(i << ": " << pair.first << "\n" << pair.second);
    REQUIRE((is_text(pair.first) && is_text(pair.second)));
    REQUIRE((a.agree && b.agree));
    REQUIRE((a.clauses == 16 && b.clauses == 16));
    const int first = a.of_opinion() + a.of_tone(), second = b.of_opinion() + b.of_tone();
    REQUIRE((std::abs(first) == 4 && std::abs(second) == 4));
    REQUIRE(pair.label == (first == second ? 1 : 0));
    REQUIRE(pair.label == static_cast<std::int32_t>(i % 2));
    REQUIRE(a.of_opinion() * a.of_tone() == 0);
    REQUIRE((a.of_opinion() == 0) != (b.of_opinion() == 0));
  }
}

TEST_CASE("The first 256 bytes, read without a fault, guess at most 60 % of the labels", "[documents]") {
  std::vector<std::pair<std::string, int>> documents, pairs, whole;
  for (std::uint64_t i = 0; i < 8000; ++i) {
    const Document document = write_document(2, i);
    documents.emplace_back(key_of(document.text.substr(0, 256)), document.label);
    whole.emplace_back(key_of(document.text), document.label);
    const DocumentPair pair = write_document_pair(2, i);
    const Reading a = read(pair.first.substr(0, 256)), b = read(pair.second.substr(0, 256));
    pairs.emplace_back(
        std::to_string(a.of_opinion() + a.of_tone()) + ' ' + std::to_string(b.of_opinion() + b.of_tone()), pair.label);
  }
  CHECK(best_guess(documents) <= 0.60);
  CHECK(best_guess(pairs) <= 0.60);
  CHECK(best_guess(whole) == 1.0);
}

TEST_CASE("No byte's share by itself tells the classes apart", "[documents]") {
  std::array<std::array<double, 256>, 2> sum{}, squares{};
  constexpr std::uint64_t documents = 4000;
  for (std::uint64_t i = 0; i < documents; ++i) {
    const Document document = write_document(3, i);
    std::array<double, 256> count{};
    for (const char c : document.text) count[static_cast<unsigned char>(c)] += 1;
    const auto label = static_cast<std::size_t>(document.label);
    for (std::size_t b = 0; b < 256; ++b) {
      sum[label][b] += count[b];
      squares[label][b] += count[b] * count[b];
    }
  }
  constexpr double each = documents / 2.0;
  double lean = 0;  // of the opinion's letters, in their deviations
  for (std::size_t b = 0; b < 256; ++b) {
    const double mean = (sum[0][b] + sum[1][b]) / (2 * each);
    const double deviation = std::sqrt((squares[0][b] + squares[1][b]) / (2 * each) - mean * mean);
    if (deviation == 0) continue;
    const double difference = (sum[1][b] - sum[0][b]) / each / deviation;
    INFO(static_cast<char>(b));
    // An opinion is plain's with 3/4 or 1/4, and 57 % are plain: its letters lean by at most 0.5 (2 * 0.57 - 1) / 0.5 =
    // 0.14 deviations; the others by noise of 0.03.
    CHECK(std::abs(difference) <
          (std::string_view("abcdefgh").find(static_cast<char>(b)) != std::string_view::npos ? 0.25 : 0.13));
    lean = std::max(lean, std::abs(difference));
  }
  CHECK(lean > 0.05);
}
