#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <string>

#include "core/config.h"
#include "core/registry.h"
#include "data/dataset.h"

namespace lra {

enum class Split { train, valid, test };
inline constexpr std::array<Split, 3> all_splits{Split::train, Split::valid, Split::test};

/// "train", "valid" or "test".
const char* split_name(Split split);

/// The options of `lra-run data prepare`.
struct PrepareOptions {
  std::string data_dir = default_data_dir();
  std::string from;                 ///< folder or archive with the official files; empty: the task's generator
  std::int64_t threads = 0;         ///< 0: all cores; the output does not depend on it
  Json generator = Json::object();  ///< options of the task's generator, or of its random split
};

/// A task knows its files and what its scores mean; it holds no data.
class Task {
 public:
  virtual ~Task() = default;

  /// Opens a split in `config.data_dir` and checks its hash (again only if the file has changed). A missing file is an
  /// Error that names the command that makes it.
  virtual std::unique_ptr<Dataset> open(Split split, const TaskConfig& config) const = 0;

  /// Opens any file in the task's format, all of it: `config.limit` does not apply. A bad line is an Error with file
  /// and line number. Where a manifest beside the file names it, its hash is checked.
  virtual std::unique_ptr<Dataset> open_file(const std::filesystem::path& file, const TaskConfig& config) const = 0;

  /// Accuracies (fractions of 1) on `test` of predictors that need no encoder, fitted on `train`, both opened with
  /// `config`:
  /// {"chance": .., "majority": .., "bag_of_tokens": .., ...}; ListOps adds "root_operator".
  virtual Json reference_levels(const TaskConfig& config, const Dataset& train, const Dataset& test) const = 0;

  /// Generates or converts the data and writes the manifest. Returns the manifest. Throws Error.
  virtual Json prepare(const PrepareOptions& options) const = 0;

  /// Checks the files against the manifest (sizes, hashes, counts) and looks for examples twice. Returns a summary;
  /// throws Error for what is wrong.
  virtual Json verify(const std::filesystem::path& data_dir) const = 0;

  /// For the record: each split's file name, size, SHA-256 and example count, checked against the file; "incomplete":
  /// how the data differ from the complete official ones, absent where they do not. Without a manifest the hashes are
  /// computed. Throws Error for a file that is not the manifest's.
  virtual Json data_info(const TaskConfig& config) const = 0;

  /// How the data of a manifest differ from the complete official ones; empty where they do not.
  virtual std::string incomplete(const Json&) const { return ""; }

  /// One line: the command that gets the data.
  virtual std::string how_to_prepare() const = 0;

  /// An example as a person would read it: the expression with its value, the text, the picture (in grey shades of a
  /// terminal, or in letters).
  virtual std::string show(const Example& example, bool colour) const = 0;

  /// Are the examples pairs of sequences?
  virtual bool pairs() const { return false; }

  /// Width and height of the task's square pictures; 0: its tokens are no pixels.
  virtual std::int64_t picture_side() const { return 0; }
};

struct TaskEntry {
  std::unique_ptr<Task> (*make)();
  /// As those of MixerEntry, for TaskConfig::task_options.
  Json (*resolve)(const LayeredJson& source, const std::string& pointer);
  Json (*schema)();
};

Registry<TaskEntry>& task_registry();

}  // namespace lra
