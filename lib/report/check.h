#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace lra::report {

struct Finding {
  bool problem = true;         ///< else a warning
  std::filesystem::path file;  ///< the record, or what should be there
  std::string text;
  std::string kind =
      {};  ///< of a warning: what equal ones have in common ("a speed that is not to be trusted"); empty: the text
};

struct CheckOptions {
  std::filesystem::path data;  ///< if given, data/<task>/<file> is hashed and compared with the records
  bool partial = false;        ///< runs that a suite's file names may be missing
};

struct Check {
  std::size_t records = 0;  ///< that could be read
  std::vector<Finding> findings;

  std::size_t problems() const;
};

/// Verifies every record below the folders. Problems: a record that cannot be read; a field missing that its kind and
/// status have; impossible numbers (an accuracy that is no whole number of examples, a median that is not the samples'
/// median, fewer bytes than the weights need, ...); hashes that are none, or differ for one file; a metrics.jsonl that
/// is missing, unreadable or says something else than the record; files that are not those for which the record
/// vouches; a folder that is not the one of its configuration; runs of the suite (configs/suites) that are missing.
/// Warnings: speeds that are not to be trusted, incomplete data, sequences that are cut, builds with changed files,
/// limited examples, runs that failed or were stopped, settings other than the suite's, a suite without a file, over 10
/// % more parameters than the Transformer of the same sizes. Throws Error for a missing folder or one without a
/// readable record.
Check check(const std::vector<std::filesystem::path>& folders, const CheckOptions& options);

/// A line for each problem ("problem: FILE: ..."), for each kind of warning how often it was found, with examples
/// (`all`: a line for each warning), and a summary line.
std::string check_text(const Check& check, bool all = false);

}  // namespace lra::report
