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

/// Votes of opinion and of tone summed over the clauses of `text`, the last one perhaps cut: a clause is for whichever letters it has
/// more of, and its words must all agree. An independent reading of the text.
struct Stances {
  int opinion = 0;
  int tone = 0;
  int clauses = 0;
  bool agree = true;
};

Stances read_stances(std::string_view text) {
  Stances result;
  std::array<int, 4> count{};
  const auto vote = [&](std::size_t yes, std::size_t no) {
    if (count[yes] > 0 && count[no] > 0) result.agree = false;
    return (count[yes] > count[no] ? 1 : 0) - (count[no] > count[yes] ? 1 : 0);
  };
  const auto end_clause = [&] {
    result.opinion += vote(0, 1);
    result.tone += vote(2, 3);
    ++result.clauses;
    count = {};
  };
  constexpr std::array<std::string_view, 4> letters{"bdga", "kpto", "mnre", "vwzi"};
  for (const char c : text) {
    for (std::size_t kind = 0; kind < 4; ++kind) count[kind] += letters[kind].find(c) != std::string_view::npos ? 1 : 0;
    if (c == '.' || c == ',') end_clause();
  }
  if (!text.empty() && text.back() != '.' && text.back() != ',') end_clause();
  return result;
}

bool is_text(std::string_view text) {
  return text.size() >= 700 && text.size() <= 1024 && text.find_first_not_of("aeiobdgkptmnrvwz ,.") == std::string_view::npos;
}

/// Right answers of the best guess from `key` alone, learnt on the even and scored on the odd ones of the (key, label) two by two.
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

std::string key_of(std::string_view text) {
  const Stances stances = read_stances(text.substr(0, 256));
  return std::to_string(stances.opinion) + ' ' + std::to_string(stances.tone) + ';';
}

}  // namespace

TEST_CASE("A document and a pair depend on seed and index alone", "[documents]") {
  CHECK(write_document(7, 3).text == write_document(7, 3).text);
  CHECK(write_document(7, 3).text != write_document(7, 5).text);
  CHECK(write_document(7, 3).text != write_document(8, 3).text);
  CHECK(write_document(7, 3).text != write_document_pair(7, 3).first);
  CHECK(write_document(7, 3).text.substr(0, 64) == "otoko iwiv opo iviz kok wiw opo iwi koto ziz op iwiz otok wiwi, ");
  CHECK(write_document_pair(7, 3).second.substr(0, 64) == "ziwi iwiv vi wiv iz iv ivi izi iziz izi viwi, iv iw wiziw wiz iz");
}

TEST_CASE("A document's label is what its whole text says", "[documents]") {
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const Document document = write_document(1, i);
    const Stances stances = read_stances(document.text);
    INFO(i << ": " << document.text);
    REQUIRE(is_text(document.text));
    REQUIRE(stances.agree);
    REQUIRE(stances.clauses == 16);
    REQUIRE(std::abs(stances.opinion) == 4);
    REQUIRE(std::abs(stances.tone) == 4);
    REQUIRE(document.label == (stances.opinion == stances.tone ? 1 : 0));
    REQUIRE(document.label == static_cast<std::int32_t>(i % 2));
  }
}

TEST_CASE("A pair's label is whether both texts have one stance", "[documents]") {
  int same_dialect = 0;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const DocumentPair pair = write_document_pair(1, i);
    const Stances a = read_stances(pair.first), b = read_stances(pair.second);
    INFO(i << ": " << pair.first << "\n" << pair.second);
    REQUIRE((is_text(pair.first) && is_text(pair.second)));
    REQUIRE((a.agree && b.agree));
    REQUIRE(std::abs(a.opinion + a.tone) == 4);
    REQUIRE(std::abs(b.opinion + b.tone) == 4);
    REQUIRE(pair.label == (a.opinion + a.tone == b.opinion + b.tone ? 1 : 0));
    REQUIRE(pair.label == static_cast<std::int32_t>(i % 2));
    REQUIRE(a.opinion * a.tone == 0);
    same_dialect += (a.opinion == 0) == (b.opinion == 0) ? 1 : 0;
  }
  // 250 +- 15 of 2000: one in eight.
  CHECK(same_dialect > 190);
  CHECK(same_dialect < 310);
}

TEST_CASE("The first 256 bytes, read without a fault, guess at most 60 % of the labels", "[documents]") {
  std::vector<std::pair<std::string, int>> documents, pairs, whole;
  for (std::uint64_t i = 0; i < 8000; ++i) {
    const Document document = write_document(2, i);
    documents.emplace_back(key_of(document.text), document.label);
    const DocumentPair pair = write_document_pair(2, i);
    const Stances a = read_stances(pair.first.substr(0, 256)), b = read_stances(pair.second.substr(0, 256));
    pairs.emplace_back(std::to_string(a.opinion + a.tone) + ' ' + std::to_string(b.opinion + b.tone), pair.label);
    const Stances all = read_stances(document.text);
    whole.emplace_back(std::to_string(all.opinion) + ' ' + std::to_string(all.tone), document.label);
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
    INFO(b);
    // Plain tones are 57 %, so the opinion's letters lean by at most 2 (2 * 0.57 - 1) = 0.28 deviations; the others by noise of 0.03.
    CHECK(std::abs(difference) < (std::string_view("bdgakpto").find(static_cast<char>(b)) != std::string_view::npos ? 0.36 : 0.13));
    lean = std::max(lean, std::abs(difference));
  }
  CHECK(lean > 0.05);
}
