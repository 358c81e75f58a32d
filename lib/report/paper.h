#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/compare.h"
#include "report/rank_correlation.h"

namespace lra::report {

/// One model, measured here and in the paper.
struct PaperPair {
  std::string label, variant;  ///< ours
  std::string model;           ///< the paper's name
  double ours = 0, theirs = 0;
  std::string note;  ///< what the collection of published numbers says of the entry ("probably a typo ...")
};

/// The order of the models here beside that of the Long Range Arena paper (Tay et al., 2020), one pair for each of its
/// models.
struct PaperComparison {
  std::string quantity;            ///< score | speed | memory
  std::string what;                ///< "ListOps, percent", "speed at 4,096 tokens, relative to softmax attention"
  std::string condition, setting;  ///< of the group; no setting for scores
  std::int64_t length = 0;         ///< tokens; 0 for scores
  std::string source;              ///< the paper and its table
  std::string easier;              ///< of scores: why they do not belong beside the paper's (ScoreGroup); or empty
  std::vector<PaperPair> pairs;    ///< in the order of data/published/lra.json `mixers`
  std::optional<RankCorrelation> correlation;
};

/// Test percentages of a group (a task or an average) of models that Table 1 has too; absent without a pair.
/// `published` is data/published/lra.json. Of several variants of one of its models counts the one that has the mixer's
/// name or is named there, else the first by name; of `softmax` and `flash` the former.
std::optional<PaperComparison> paper_scores(const ScoreGroup& scores, const Json& published);

/// Training speed and peak memory as multiples of the Transformer's, beside Table 2: for every bench group of 1024,
/// 2048, 3072 or 4096 tokens that has a pair. The paper's are of batch 32 on 16 TPU chips.
std::vector<PaperComparison> paper_speeds(const std::vector<SpeedGroup>& speeds, const Json& published);

}  // namespace lra::report
