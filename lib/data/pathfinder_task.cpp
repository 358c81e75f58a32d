#include "data/pathfinder_task.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "data/find_folder.h"
#include "data/packed_task.h"
#include "data/pathfinder.h"
#include "data/pathfinder_generator.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

/// Where generated pictures lie, under the release's names.
fs::path generated_folder(const fs::path& official, int side, const GeneratorOptions& options) {
  const auto length = *options.contour_length;
  return official / fmt::format("pathfinder{}", side) /
         (length == 6 ? "curv_baseline" : fmt::format("curv_contour_length_{}", length));
}

std::string task_name(int side) {
  return side == 32 ? "pathfinder" : side == 128 ? "pathx" : fmt::format("pathfinder{}", side);
}

SourceFiles find_pictures(const fs::path& from, int side, const GeneratorOptions* generated) {
  SourceFiles source{
      .folder = generated != nullptr ? generated_folder(from, side, *generated) : find_pathfinder(from, side),
      .files = {}};
  for (const auto& entry : list_pathfinder(source.folder)) source.files.push_back(entry.file);
  for (const auto& file : fs::directory_iterator(source.folder / "metadata")) source.files.push_back(file.path());
  return source;
}

void read_pictures(const ExampleSource& source, int side) {
  const fs::path& folder = source.folder;
  const auto entries = list_pathfinder(folder);
  std::vector<Split> split_of(entries.size(), Split::test);
  if (source.generated != nullptr) {  // every picture is drawn by itself: there is nothing to shuffle
    const auto [train, valid, test] = source.generated->examples;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const auto place = static_cast<std::int64_t>(i);
      split_of[i] = place < train ? Split::train : place < train + valid ? Split::valid : Split::test;
    }
  } else {
    const auto splits = split_entries(entries.size(), source.seed);
    for (const Split split : all_splits) {
      for (const auto index : splits[static_cast<std::size_t>(split)]) split_of[index] = split;
    }
  }
  const std::size_t empty =
      read_pathfinder(entries, side, 0, [&](std::size_t index, std::int32_t label, std::string_view pixels) {
        source.sink(split_of[index], label, pixels, {});
      });
  if (empty > entries.size() / 100) {
    throw Error(fmt::format("{}: {} of {} pictures are empty files", folder.string(), empty, entries.size()),
                "unpack them again; was the disk full?");
  }
  if (empty > 0) log().info("{}: {} empty picture(s) left out", printable(folder.string()), empty);
}

PackedTaskSpec pictures(int side, std::string name) {
  PackedTaskSpec spec;
  spec.name = std::move(name);
  spec.picture_side = side;
  spec.official_seq_len = std::int64_t{side} * side;
  spec.classes = {"two paths", "one path"};
  spec.random_split = true;
  spec.wanted = [side](const std::string& entry) {
    return entry.find(fmt::format("pathfinder{}/curv_contour_length_14/", side)) != std::string::npos;
  };
  spec.companion = [side](const std::string& entry) {
    const bool easier_version = entry.find("/curv_baseline/") != std::string::npos ||
                                entry.find("/curv_contour_length_9/") != std::string::npos;
    return easier_version || of_another_release_task(entry, fmt::format("pathfinder{}", side));
  };
  spec.find = [side](const fs::path& from, const GeneratorOptions* generated) {
    return find_pictures(from, side, generated);
  };
  spec.read = [side](const ExampleSource& source) { return read_pictures(source, side); };
  return spec;
}

}  // namespace

template <int side>
std::unique_ptr<Task> make_pathfinder_task() {
  PackedTaskSpec spec = pictures(side, task_name(side));
  spec.how_to_prepare =
      fmt::format("lra-run data prepare {} --from lra_release.gz (scripts/fetch_data.sh lra_release)", spec.name);
  return std::make_unique<PackedTask>(std::move(spec));
}

template <int side>
std::unique_ptr<Task> make_pathfinder_standin_task() {
  PackedTaskSpec spec = pictures(side, task_name(side) + "_standin");
  spec.stand_in_for = task_name(side);
  spec.how_to_prepare = fmt::format("lra-run data prepare {}", spec.name);
  spec.generated = {.examples = {160000, 20000, 20000}, .contour_length = 14};
  spec.generate = [](const fs::path& folder, const GeneratorOptions& options) {
    const auto [train, valid, test] = options.examples;
    write_pathfinder(generated_folder(folder, side, options), side, static_cast<std::uint64_t>(options.seed),
                     static_cast<std::uint64_t>(train + valid + test), static_cast<unsigned>(options.threads),
                     static_cast<int>(*options.contour_length));
  };
  return std::make_unique<PackedTask>(std::move(spec));
}

template std::unique_ptr<Task> make_pathfinder_task<32>();
template std::unique_ptr<Task> make_pathfinder_task<64>();
template std::unique_ptr<Task> make_pathfinder_task<128>();
template std::unique_ptr<Task> make_pathfinder_task<256>();
template std::unique_ptr<Task> make_pathfinder_standin_task<32>();
template std::unique_ptr<Task> make_pathfinder_standin_task<64>();
template std::unique_ptr<Task> make_pathfinder_standin_task<128>();
template std::unique_ptr<Task> make_pathfinder_standin_task<256>();

}  // namespace lra
