#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "core/config.h"
#include "core/registry.h"
#include "data/dataset.h"

namespace lra {

enum class Split { train, valid, test };

/// "train", "valid" or "test".
const char* split_name(Split split);

/// What `lra-run data prepare` may be told. Tasks that are read, not generated, ignore the generator's part.
struct PrepareOptions {
  std::string data_dir = default_data_dir();
  std::int64_t seed = 0;
  std::int64_t train = 96000;
  std::int64_t valid = 2000;
  std::int64_t test = 2000;
  std::int64_t min_length = 500;   ///< kept when strictly longer
  std::int64_t max_length = 2000;  ///< kept when strictly shorter
  std::int64_t max_depth = 10;
  std::int64_t max_args = 10;
  std::int64_t threads = 0;        ///< 0: all cores; the output does not depend on it
};

/// A task knows its files and what its scores mean; it holds no data.
class Task {
 public:
  virtual ~Task() = default;

  /// Opens a split under `config.data_dir`. A missing file is an Error that names the command that makes it.
  virtual std::unique_ptr<Dataset> open(Split split, const TaskConfig& config) const = 0;

  /// Opens any file in the task's format. A bad line is an Error with file and line number.
  virtual std::unique_ptr<Dataset> open_file(const std::filesystem::path& file, const TaskConfig& config) const = 0;

  /// Accuracies (fractions of 1) on `test` of predictors that need no model, fitted on `train`:
  /// {"chance": .., "majority": .., ...}; ListOps adds "root_operator".
  virtual Json reference_levels(const Dataset& train, const Dataset& test) const = 0;

  /// Generates or converts the data and writes the manifest. Returns the manifest.
  virtual Json prepare(const PrepareOptions& options) const = 0;

  /// Checks the files against the manifest (sizes, hashes, counts). Returns a summary; throws Error for what is wrong.
  virtual Json verify(const std::filesystem::path& data_dir) const = 0;

  /// For the record: each split's file name, size, SHA-256 and example count. Takes the hashes from the manifest where
  /// sizes agree with it, else computes them.
  virtual Json data_info(const TaskConfig& config) const = 0;
};

struct TaskEntry {
  std::string summary;
  std::unique_ptr<Task> (*make)();
};

Registry<TaskEntry>& task_registry();

}  // namespace lra
