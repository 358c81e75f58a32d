#include "data/retrieval_task.h"

#include <fmt/format.h>

#include <fstream>
#include <utility>

#include "core/error.h"
#include "data/aan.h"
#include "data/documents.h"
#include "data/find_folder.h"
#include "data/packed_task.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

std::string file_name(Split split) {
  return fmt::format("new_aan_pairs.{}.tsv", split == Split::valid ? "eval" : split_name(split));
}

SourceFiles find_pairs(const fs::path& from, const GeneratorOptions*) {
  SourceFiles source{.folder = find_aan(from), .files = {}};
  for (const Split split : all_splits) source.files.push_back(source.folder / file_name(split));
  return source;
}

void read_pairs(const ExampleSource& source) {
  for (const Split split : all_splits) {
    read_aan(source.folder / file_name(split),
             [&](std::int32_t label, std::string_view first, std::string_view second) {
               source.sink(split, label, first, second);
             });
  }
}

PackedTaskSpec pairs(std::string name) {
  PackedTaskSpec spec;
  spec.name = std::move(name);
  spec.classes = {"unrelated", "related"};
  spec.first_id = 1;
  spec.sequences = 2;
  spec.official_seq_len = 4000;
  spec.wanted = [](const std::string& entry) {
    return entry.find("new_aan_pairs.") != std::string::npos && entry.ends_with(".tsv");
  };
  spec.companion = [](const std::string& entry) { return of_another_release_task(entry, "tsv_data"); };
  spec.find = find_pairs;
  spec.read = read_pairs;
  return spec;
}

void write_pairs(const fs::path& folder, const GeneratorOptions& options) {
  fs::create_directories(folder);
  std::uint64_t index = 0;
  for (const Split split : all_splits) {
    const fs::path file = folder / file_name(split);
    std::ofstream out(file, std::ios::binary);
    for (std::int64_t i = 0; i < options.examples[static_cast<std::size_t>(split)]; ++i, ++index) {
      const DocumentPair pair = write_document_pair(static_cast<std::uint64_t>(options.seed), index);
      out << fmt::format("{}.0\tA{}\tB{}\t{}\t{}\n", pair.label, index, index, pair.first, pair.second);
    }
    out.close();
    if (!out) throw Error(fmt::format("{}: cannot be written", file.string()));
  }
}

}  // namespace

std::unique_ptr<Task> make_retrieval_task() {
  PackedTaskSpec spec = pairs("retrieval");
  spec.classes = {"no citation", "citation"};
  spec.how_to_prepare = "lra-run data prepare retrieval --from lra_release.gz (scripts/fetch_data.sh lra_release)";
  return std::make_unique<PackedTask>(std::move(spec));
}

std::unique_ptr<Task> make_retrieval_standin_task() {
  PackedTaskSpec spec = pairs("retrieval_standin");
  spec.stand_in_for = "retrieval";
  spec.how_to_prepare = "lra-run data prepare retrieval_standin";
  spec.generated = {.examples = {20000, 2000, 4000}};
  spec.generate = write_pairs;
  return std::make_unique<PackedTask>(std::move(spec));
}

}  // namespace lra
