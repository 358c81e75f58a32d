#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>

#include "report/paper.h"

namespace {

using namespace lra;
using namespace lra::report;
using Catch::Approx;

const Json& published() {
  static const Json json = read_json(std::filesystem::path(LRA_SOURCE_DIR) / "data/published/lra.json");
  return json;
}

const PaperPair* pair_of(const PaperComparison& comparison, const std::string& model) {
  for (const PaperPair& pair : comparison.pairs) {
    if (pair.model == model) return &pair;
  }
  return nullptr;
}

SpeedRow speed_row(const std::string& mixer, const std::string& variant, double speed, double memory) {
  SpeedRow row;
  row.label = "The " + variant;
  row.mixer = mixer;
  row.variant = variant;
  row.relative_speed = speed;
  row.relative_memory = memory;
  return row;
}

ScoreRow score_row(const std::string& mixer, const std::string& variant, double percent) {
  ScoreRow row;
  row.mixer = mixer;
  row.variant = variant;
  row.test = Summary{percent, 0, "", 1};
  return row;
}

}  // namespace

// rho and the interval (20,000 draws) from scipy.stats.spearmanr, SciPy 1.17.1; the one of 7 pairs by hand: d = 1 1 0 2
// 0 2 0, rho = 1 - 6 Σd² / (n (n² - 1)).
TEST_CASE("rank correlation with ties, and its bootstrap", "[report]") {
  const std::vector<std::pair<double, double>> tied = {{1, 2}, {2, 1}, {2, 4}, {3, 4}, {5, 6}, {5, 5}, {5, 9}, {8, 7}};
  const auto correlation = rank_correlation(tied);
  REQUIRE(correlation);
  CHECK(correlation->rho == Approx(0.8706358081229184).epsilon(1e-12));
  CHECK(correlation->n == 8);
  CHECK(correlation->low == Approx(0.48995).margin(0.04));
  CHECK(correlation->high == Approx(0.99365).margin(0.02));
  CHECK(correlation->resamples >= 1990);
  CHECK(rank_correlation(tied)->low == correlation->low);
  CHECK(rank_correlation(tied, 2000, 1)->low != correlation->low);

  CHECK(rank_correlation(
            {{56, 66}, {75, 70}, {45, 40}, {71, 60}, {62, 65}, {64, 56}, {58, 59}, {80, 77}, {76, 67}, {61, 63}})
            ->rho == Approx(0.6727272727272726).epsilon(1e-12));
  CHECK(rank_correlation({{1, 2}, {2, 1}, {3, 3}, {4, 6}, {5, 5}, {6, 4}, {7, 7}}, 10)->rho ==
        Approx(1 - 6.0 * 10 / (7 * 48)));
  // Any increasing law is 1, any decreasing one -1; a resample of one pair only has no correlation and is skipped.
  const auto up = rank_correlation({{1, 1}, {2, 10}, {3, 100}, {4, 1000}});
  CHECK((up->rho == Approx(1) && up->low == Approx(1) && up->high == Approx(1)));
  CHECK(up->resamples < 2000);
  CHECK(up->resamples > 1900);
  CHECK(rank_correlation({{1, 9}, {2, 8}, {3, 7}, {4, -6}})->rho == Approx(-1));
  CHECK_FALSE(rank_correlation({{1, 1}, {2, 2}, {3, 3}}));
  CHECK_FALSE(rank_correlation({{1, 1}, {2, 1}, {3, 1}, {4, 1}}));
}

TEST_CASE("the paper's speed and memory beside ours", "[report]") {
  SpeedGroup group;
  group.source = "bench";
  group.setting = "here";
  group.condition = "profile small";
  group.length = 4096;
  group.rows = {speed_row("linear", "linear", 9, 0.02),
                speed_row("performer", "performer_wide", 8, 0.05),
                speed_row("performer", "performer", 7, 0.04),
                speed_row("synthesizer", "synthesizer_dense", 0.9, 1.1),
                speed_row("synthesizer", "synthesizer_random", 0.8, 2),
                speed_row("flash", "flash", 1.5, 0.1),
                speed_row("softmax", "softmax", 1, 1),
                speed_row("fnet", "fnet", 20, 0.01),
                speed_row("local", "local_wide", 3, 0.2),
                speed_row("local", "local_blocks", 2, 0.1),
                speed_row("sparse", "sparse", 2, 0.1)};
  SpeedGroup other = group, trained = group;
  other.length = 8192;
  trained.source = "train";
  const auto comparisons = paper_speeds({group, other, trained}, published());
  REQUIRE(comparisons.size() == 2);
  const PaperComparison& speed = comparisons[0];
  CHECK(speed.quantity == "speed");
  CHECK(speed.what == "speed at 4,096 tokens, relative to softmax attention");
  CHECK(speed.setting == "here");
  CHECK(speed.length == 4096);
  CHECK(speed.source.find("arXiv 2011.04006, Table 2") != std::string::npos);
  // Not FNet (a later paper) or Sparse Transformer (not in Table 2); flash does not stand beside softmax.
  CHECK(speed.pairs.size() == 5);
  REQUIRE(pair_of(speed, "Performer"));
  CHECK(pair_of(speed, "Performer")->variant == "performer");
  CHECK(pair_of(speed, "Performer")->ours == 7);
  CHECK(pair_of(speed, "Performer")->theirs == Approx(8.0 / 1.4));  // printed: 5.7
  CHECK(pair_of(speed, "Transformer")->variant == "softmax");
  CHECK(pair_of(speed, "Transformer")->theirs == 1);
  CHECK(pair_of(speed, "Synthesizer")->variant == "synthesizer_random");
  CHECK(pair_of(speed, "Synthesizer")->note.find("typo") != std::string::npos);
  CHECK(pair_of(speed, "Local Attention")->variant == "local_blocks");
  // Ours 1 2 0.8 9 7 for Transformer, Local, Synthesizer, Linear, Performer; theirs 1 5.29 1.36 5.57 5.71: ranks 2 3 1
  // 5 4 and 1 3 2 4 5, d² = 4.
  REQUIRE(speed.correlation);
  CHECK(speed.correlation->rho == Approx(1 - 6.0 * 4 / (5 * 24)));
  CHECK(comparisons[1].quantity == "memory");
  CHECK(pair_of(comparisons[1], "Performer")->theirs == Approx(1.06 / 9.48));
  CHECK(pair_of(comparisons[1], "Performer")->ours == 0.04);

  group.length = 1024;
  CHECK(paper_speeds({group}, published()).at(0).what == "speed at 1,024 tokens, relative to softmax attention");
  CHECK(pair_of(paper_speeds({group}, published()).at(0), "Local Attention")->theirs == Approx(9.2 / 8.1));
  Json moved = published();
  moved["mixers"]["performer"]["table"] = "later";
  CHECK(pair_of(paper_speeds({group}, moved).at(0), "Performer") == nullptr);
  // Without softmax nothing is relative to it.
  for (SpeedRow& row : group.rows) row.relative_speed = row.relative_memory = std::nullopt;
  CHECK(paper_speeds({group}, published()).empty());
}

TEST_CASE("the paper's scores beside ours", "[report]") {
  ScoreGroup group;
  group.task_name = "Text";
  group.name = "Text (mini)";
  group.condition = "profile lra-paper";
  group.rows = {score_row("linear", "linear", 66), score_row("flash", "flash", 65), score_row("softmax", "softmax", 64),
                score_row("fnet", "fnet", 63)};
  const auto comparison = paper_scores(group, published());
  REQUIRE(comparison);
  CHECK(comparison->what == "Text (mini), percent");
  CHECK(comparison->source.find("arXiv 2011.04006, Table 1") != std::string::npos);
  REQUIRE(comparison->pairs.size() == 2);
  CHECK((comparison->pairs[0].variant == "softmax" && comparison->pairs[0].ours == 64 &&
         comparison->pairs[0].theirs == 64.27));
  CHECK((comparison->pairs[1].model == "Linear Transformer" && comparison->pairs[1].theirs == 65.9));
  CHECK_FALSE(comparison->correlation);            // two pairs
  group.rows = {score_row("flash", "flash", 65)};  // where softmax has no score, flash is the Transformer
  CHECK(paper_scores(group, published())->pairs.at(0).variant == "flash");
  group.task_name = "Text stand-in (generated documents)";  // another task: the paper has no such column
  CHECK_FALSE(paper_scores(group, published()));
}
