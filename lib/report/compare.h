#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/collect.h"
#include "report/summary.h"

namespace lra::report {

/// How a row stands among its rivals. A lead within the error is no win: then all that are level are `tied`.
enum class Mark { none, best, second, tied };

/// One row of a ranking: the records of one variant with one configuration and one status.
struct ScoreRow {
  std::string label, mixer, variant, status, message;
  std::vector<std::int64_t> seeds = {};
  std::optional<Summary> test = {};              ///< percent
  std::optional<double> valid = {}, train = {};  ///< percent, means
  std::optional<double> wall_seconds = {};       ///< of a run, evaluation included; mean
  std::optional<std::int64_t> test_examples = {}, parameters = {}, train_steps = {}, batch_size = {};
  std::optional<double> published = {};  ///< percent
  std::string published_text = {}, published_source = {};
  std::string model = {};  ///< sizes and mixer options in one text; empty for an average over tasks
  bool at_chance = false;  ///< no better than the best of chance and majority class (two standard errors)
  Mark mark = Mark::none;
  std::vector<const Result*> records = {};

  /// Of the mean, percent; not below that of as many drawn examples, for equal scores of two seeds, or 100 %, are no
  /// certainty.
  double standard_error() const;
};

/// Rows that may be ranked together: one task, profile, data set, number of steps, precision, host and device.
struct ScoreGroup {
  std::string task, task_name, profile, host, device, title, condition;  ///< condition: lengths, data, host in one line
  std::string name = {};                     ///< short and unlike that of every other group: "ListOps (lecture)"
  std::string slug = {};                     ///< the same for file names: "listops_lecture"
  std::string setting = {};                  ///< profile, host, device, precision
  std::string machine = {};                  ///< the host without its number of threads
  std::string suites = {};                   ///< of its runs
  std::vector<std::string> qualifiers = {};  ///< suites, profile, length, limit, steps, batch, precision, host,
                                             ///< processor, device: what the name is made of
  std::string precision = {},
              training = {};  ///< training: lengths, batch and data, equal for speeds seen in the same training
  std::vector<std::pair<std::string, double>> reference_levels = {};  ///< name, percent
  std::vector<ScoreRow> rows = {};                                    ///< best first; without a score last
  std::vector<std::string> notes = {};
  std::vector<std::string> warnings = {};  ///< in what the rows differ besides the mixer, and what makes the group less
                                           ///< than a measurement (limited, smoke)
  bool limited = false;                    ///< only the first examples of each split were used
  std::string incomplete = {};             ///< what the data lack of the official ones; or empty
  std::string easier =
      {};  ///< why its scores do not belong beside those that LRA printed (report/official.h); or empty

  bool is_average() const { return task.rfind("average", 0) == 0; }
  bool is_whole() const { return !limited && incomplete.empty(); }  ///< of all examples of the complete data
};

/// Speed and memory of one variant at one length.
struct SpeedRow {
  std::string label, mixer, variant, status, message;
  std::optional<Summary> examples_per_second;
  std::optional<double> steps_per_second, inference_examples_per_second, peak_tensor_bytes, peak_rss_bytes;
  std::optional<double> relative_speed, relative_memory;  ///< divided by those of `softmax` in the same group
  std::optional<double> flops_per_step;                   ///< declared, of the whole model
  std::int64_t n = 0;
  std::string model = {};         ///< as in ScoreRow
  std::string revision = {};      ///< of the program; records of different ones are never averaged
  bool dirty = false;             ///< with uncommitted changes
  std::string disturbed = {};     ///< why the speed is not to be trusted; or empty
  double peak_tensor_spread = 0;  ///< bytes, the most less the least over records; 0 for one record
};

/// Rows measured under the same conditions. `length` is 0 for speed seen while training on a task's own lengths. Groups
/// with the same `setting` differ in the length alone.
struct SpeedGroup {
  std::string source, task_name, profile, host, machine, precision, title, condition, setting,
      training;  ///< source: bench | train; machine: host without threads
  std::int64_t batch_size = 0, length = 0;
  std::vector<SpeedRow> rows;              ///< fastest first; without a speed last
  std::vector<std::string> warnings = {};  ///< in what the rows differ that may change speeds
};

/// Scores by task, profile, data, host and device; then, where one profile on one host has all the tasks on full data,
/// the group "average of 5 tasks" (without Path-X) and, with Path-X, "average of 6 tasks" (a failed Path-X counted as
/// 50). `published` is data/published/lra.json.
std::vector<ScoreGroup> compare_scores(const std::vector<Result>& results, const Json& published);

/// The groups whose tasks belong side by side in one table or average: of one setting; where a task would be there
/// twice, of one setting and suite.
std::vector<std::vector<const ScoreGroup*>> side_by_side(const std::vector<ScoreGroup>& groups);

/// Speed and memory by profile, host, device, threads, batch size, precision and length: bench records, then what
/// training saw.
std::vector<SpeedGroup> compare_speed(const std::vector<Result>& results);

/// The groups that charts of `scores` can take speed and memory from: benches of the same profile and precision on the
/// same machine, one for each length, and (but for averages) what training on the same task saw. Benches of at least
/// half of the scored models come first, those of most before others, then the longest; then training. May be empty.
std::vector<const SpeedGroup*> speeds_for(const ScoreGroup& scores, const std::vector<SpeedGroup>& speeds);

/// The first of these, or the one of the given length (`length` not 0). May be null.
const SpeedGroup* speed_for(const ScoreGroup& scores, const std::vector<SpeedGroup>& speeds, std::int64_t length);

/// The measured speed of the same model (variant, sizes, options), of the score's own program revision where there is
/// one; or null.
const SpeedRow* speed_of(const ScoreRow& score, const SpeedGroup& speeds);

/// "seq_len cuts 12 % of the sequences of train"; shares are fractions by split.
std::string cut_text(const std::map<std::string, double>& shares);

/// "ListOps" for "listops" (configs/tasks); the name itself for an unknown task.
std::string task_name(const std::string& task);

}  // namespace lra::report
