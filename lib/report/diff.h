#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/json_file.h"

namespace lra::report {

/// How far B may be from A.
struct Tolerance {
  double max_score_drop = 1.0;      ///< points; a larger drop counts where p < 0.05
  double min_speed = 0.9;           ///< B / A
  double max_memory = 1.1;          ///< B / A
  bool allow_missing = false;       ///< runs of A may be missing in B
  bool allow_incomparable = false;  ///< what was measured under other conditions may stay unjudged
  std::set<std::string> ignored{};  ///< keys of the configuration in which the two runs of a pair may differ
};

/// Means over seeds of the test accuracy in percent.
struct ScoreChange {
  double a = 0, b = 0;
  std::optional<double> p;
  std::string test;  ///< "Welch's t-test over 3 and 3 seeds" | "z-test over 2000 and 2000 examples"
};

/// Medians over runs: training examples per second, or peak bytes of tensors.
struct Ratio {
  double a = 0, b = 0;
  std::optional<std::pair<double, double>>
      interval;  ///< 95 %, bootstrap over the raw samples; of the steps' scatter only, not of the machine's moods
  double value() const { return b / a; }
};

/// The runs of one configuration, seeds together. What was not measured on both sides is absent.
struct DiffRow {
  std::string verdict;            ///< within | beyond | not comparable | missing in B | only in B
  std::string run;                ///< "train listops small linear n2000 b32"
  Json config;                    ///< the keys that were compared
  std::vector<std::string> a, b;  ///< "seed 0: ok", one for each record
  std::optional<ScoreChange> score;
  std::optional<Ratio> speed, memory;
  std::vector<std::string> beyond, not_comparable,
      notices;  ///< sentences: beyond which threshold; what was not judged and why; what else to know
};

struct Diff {
  std::filesystem::path a, b;
  Tolerance tolerance;
  std::vector<DiffRow> rows;
  std::vector<std::string> broken;  ///< a sentence for each record that could not be read

  std::size_t count(const std::string& verdict) const;

  /// Nothing is beyond a threshold, missing, not comparable or broken, but for what the tolerance allows.
  bool within() const;
};

/// Compares the records below two folders. A pair has the same kind, task, profile, variant and configuration but for
/// bookkeeping (seed, limits, threads, device, folders, ...; of a bench also the schedule); records that lack a key
/// that newer ones have are paired by the others. It is judged under equal conditions only: with the same data, and
/// speed and memory on the same host, processor, device and threads. Throws Error for a folder without records and for
/// an ignored key that no record has.
Diff diff(const std::filesystem::path& a, const std::filesystem::path& b, const Tolerance& tolerance);

/// A table of the rows that are not within the thresholds (`all`: of every row) and a summary line.
std::string diff_text(const Diff& diff, bool all);

Json diff_json(const Diff& diff);

}  // namespace lra::report
