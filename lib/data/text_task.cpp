#include "data/text_task.h"

#include <fmt/format.h>

#include <fstream>
#include <set>
#include <utility>

#include "core/error.h"
#include "data/documents.h"
#include "data/imdb.h"
#include "data/packed_task.h"
#include "data/random.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

/// The official files have no valid split.
bool has_split(const fs::path& folder, Split split) {
  return split != Split::valid || fs::exists(folder / split_name(split));
}

SourceFiles find_reviews(const fs::path& from, const GeneratorOptions*) {
  SourceFiles source{.folder = find_imdb(from), .files = {}};
  for (const Split split : all_splits) {
    if (!has_split(source.folder, split)) continue;
    const auto files = list_imdb(source.folder / split_name(split));
    source.files.insert(source.files.end(), files.begin(), files.end());
  }
  return source;
}

void read_reviews(const ExampleSource& source) {
  for (const Split split : all_splits) {
    if (!has_split(source.folder, split)) continue;
    read_imdb(source.folder / split_name(split), [&](std::int32_t label, std::string_view text, std::string_view) {
      source.sink(split, label, text, {});
    });
  }
}

PackedTaskSpec reviews(std::string name) {
  PackedTaskSpec spec;
  spec.name = std::move(name);
  spec.classes = {"negative", "positive"};
  spec.first_id = 1;
  spec.official_seq_len = 1000;
  spec.wanted = [](const std::string& entry) {
    const auto label = fs::path(entry).parent_path().filename();
    return label == "neg" || label == "pos";  // whatever its name: the reader says what it leaves out
  };
  spec.find = find_reviews;
  spec.read = read_reviews;
  return spec;
}

class TextTask : public PackedTask {
 public:
  using PackedTask::PackedTask;

  std::unique_ptr<Dataset> open(Split split, const TaskConfig& config) const override {
    const auto options = from_json_object<TextOptions>(config.task_options, "task_options");
    if (options.valid == "test") return PackedTask::open(split == Split::valid ? Split::test : split, config);
    if (split == Split::test) return PackedTask::open(split, config);
    // The same tenth for everybody, whatever the run's seed and limit.
    TaskConfig whole = config;
    whole.limit = 0;
    std::shared_ptr<const Dataset> train = PackedTask::open(Split::train, whole);
    const std::size_t held_out = train->size() / 10;
    const auto order = shuffled(train->size(), 0, 1);
    std::vector<std::size_t> part =
        split == Split::valid ? std::vector(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(held_out))
                              : std::vector(order.begin() + static_cast<std::ptrdiff_t>(held_out), order.end());
    if (config.limit > 0 && part.size() > static_cast<std::size_t>(config.limit))
      part.resize(static_cast<std::size_t>(config.limit));
    return std::make_unique<Subset>(std::move(train), std::move(part));
  }
};

void write_reviews(const fs::path& folder, const GeneratorOptions& options) {
  fs::remove_all(folder);  // what an interrupted call left
  std::uint64_t index = 0;
  for (const Split split : all_splits) {
    for (const char* label : {"neg", "pos"}) fs::create_directories(folder / split_name(split) / label);
    const auto count = options.examples[static_cast<std::size_t>(split)];
    for (std::int64_t i = 0; i < count; ++i) {
      const Document document = write_document(static_cast<std::uint64_t>(options.seed), index++);
      const fs::path file = folder / split_name(split) / (document.label == 0 ? "neg" : "pos") /
                            fmt::format("{}_{}.txt", i, document.label == 0 ? 1 : 10);
      std::ofstream out(file, std::ios::binary);
      out << document.text;
      out.close();
      if (!out) throw Error(fmt::format("{}: cannot be written", file.string()));
    }
  }
}

}  // namespace

void TextOptions::describe(FieldVisitor& fields) {
  fields.choice("valid", valid, {"test", "train"},
                "what the weights are selected on: the test split, as in LRA's code, or a tenth of train");
}

std::unique_ptr<Task> make_text_task() {
  PackedTaskSpec spec = reviews("text");
  spec.official_splits_overlap = true;  // some reviews were posted for two films
  spec.companion = [](const std::string& entry) {
    static const std::set<std::string> names = {"README",        "imdb.vocab",   "imdbEr.txt",   "labeledBow.feat",
                                                "unsupBow.feat", "urls_neg.txt", "urls_pos.txt", "urls_unsup.txt"};
    const fs::path path(entry);
    return path.parent_path().filename() == "unsup" || names.count(path.filename().string()) != 0;
  };
  spec.how_to_prepare = "lra-run data prepare text --from aclImdb_v1.tar.gz (scripts/fetch_data.sh imdb)";
  return std::make_unique<TextTask>(std::move(spec));
}

std::unique_ptr<Task> make_text_standin_task() {
  PackedTaskSpec spec = reviews("text_standin");
  spec.stand_in_for = "text";
  spec.how_to_prepare = "lra-run data prepare text_standin";
  spec.generated = {.examples = {20000, 2000, 4000}};
  spec.generate = write_reviews;
  return std::make_unique<PackedTask>(std::move(spec));
}

}  // namespace lra
