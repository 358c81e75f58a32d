#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/packed.h"
#include "data/task.h"

namespace lra {

/// Takes the examples of a source: the split they belong to, then as ExampleSink.
using SplitSink = std::function<void(Split split, std::int32_t label, std::string_view first, std::string_view second)>;

/// What a generator of stand-in data is told.
struct GeneratorOptions {
  std::int64_t seed = 0;
  std::array<std::int64_t, 3> examples{};        ///< train, valid, test
  std::optional<std::int64_t> contour_length{};  ///< of Pathfinder's pictures; others have none
  std::int64_t threads = 0;

  void describe(FieldVisitor& fields);
};

/// The files of a source that a task reads, and the folder that their names count from.
struct SourceFiles {
  std::filesystem::path folder;
  std::vector<std::filesystem::path> files;
};

/// Where a task's examples come from.
struct ExampleSource {
  std::filesystem::path folder;                 ///< SourceFiles::folder
  std::uint64_t seed = 0;                       ///< of a random split
  const GeneratorOptions* generated = nullptr;  ///< what the generator was told; null: these are official files
  SplitSink sink;
};

/// A task whose examples are sequences of bytes: everything that differs from task to task.
struct PackedTaskSpec {
  std::string name;
  std::string stand_in_for;           ///< the real task; empty: this is one
  std::vector<std::string> classes;   ///< names of the labels 0, 1, ...
  std::int32_t first_id = 0;          ///< token id of byte 0: 1 where 0 is padding
  std::size_t sequences = 1;          ///< 2: pairs
  std::int64_t picture_side = 0;      ///< 0: no pictures
  std::int64_t official_seq_len = 0;  ///< for the truncation rate in the manifest
  /// The complete official files are known to have some examples in two splits. There `verify` counts them; elsewhere
  /// they are a fault: someone's model learns test examples by heart.
  bool official_splits_overlap = false;
  bool random_split = false;  ///< `prepare --seed` chooses the split
  std::string how_to_prepare;
  /// Where the files lie when `prepare` is not told; empty: nowhere. Throws Error.
  std::function<std::filesystem::path()> default_folder;
  /// Is an archive's entry of any use to `read`?
  std::function<bool(const std::string& entry)> wanted;
  /// Does every copy of the official archive have this entry, which `read` does not need? Such entries are not counted
  /// as left out. Empty: none.
  std::function<bool(const std::string& entry)> companion;
  /// Finds the files at or below `from`: `--from`, an archive already unpacked; or what the generator made
  /// (`generated`: what it was told). Throws Error.
  std::function<SourceFiles(const std::filesystem::path& from, const GeneratorOptions* generated)> find;
  /// Hands every example of those files to the sink, in an order that depends on the source alone. Throws Error.
  std::function<void(const ExampleSource&)> read;
  /// What the generator is told where nobody says more; empty: there is none.
  std::optional<GeneratorOptions> generated;
  /// Writes generated examples into the folder in the official layout, for `read`; what an earlier call with other
  /// options left there is not read.
  std::function<void(const std::filesystem::path& folder, const GeneratorOptions&)> generate;
};

/// The task of a spec. Its cache is data_dir/<name>/{train,valid,test}.packed (of the splits that the source has)
/// beside a manifest.json; generated files lie in data_dir/<name>/official.
class PackedTask : public Task {
 public:
  explicit PackedTask(PackedTaskSpec spec) : spec_(std::move(spec)) {}

  std::unique_ptr<Dataset> open(Split split, const TaskConfig& config) const override;
  std::unique_ptr<Dataset> open_file(const std::filesystem::path& file, const TaskConfig& config) const override;
  Json reference_levels(const TaskConfig& config, const Dataset& train, const Dataset& test) const override;
  Json prepare(const PrepareOptions& options) const override;
  Json verify(const std::filesystem::path& data_dir) const override;
  Json data_info(const TaskConfig& config) const override;
  /// Empty for a stand-in.
  std::string incomplete(const Json& manifest) const override;
  std::string how_to_prepare() const override { return spec_.how_to_prepare; }
  std::string show(const Example& example, bool colour) const override;
  bool pairs() const override { return spec_.sequences == 2; }
  std::int64_t picture_side() const override { return spec_.picture_side; }

 protected:
  /// Does the cache have files of this split?
  bool has(Split split, const TaskConfig& config) const;

 private:
  std::filesystem::path folder_of(const std::filesystem::path& data_dir) const { return data_dir / spec_.name; }
  /// The manifest. Throws Error where there is none.
  Json manifest_of(const std::filesystem::path& data_dir) const;
  PackedView view_of(const TaskConfig& config) const;
  /// Throws Error where the file's examples are not of this task's form: so many sequences, of pictures of this size.
  std::unique_ptr<PackedDataset> open_packed(const std::filesystem::path& file, const PackedView& view) const;
  struct Request;
  Request request_of(const PrepareOptions& options) const;
  /// Reads the source into the split's files and returns the manifest's "files" and "statistics".
  Json pack(const Request& request, const std::filesystem::path& source, const std::filesystem::path& folder) const;
  const PackedTaskSpec spec_;
};

}  // namespace lra
