#include "data/packed_task.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/sha256.h"
#include "core/text.h"
#include "data/manifest.h"
#include "data/reference_levels.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

std::string file_name(Split split) { return fmt::format("{}.packed", split_name(split)); }

/// For a terminal: two pixels in one character, the upper one its ink, the lower one its background. Else one letter
/// for two.
std::string draw(const std::vector<std::int32_t>& pixels, std::int64_t side, bool colour) {
  constexpr std::string_view inks = " .:-=+*#%@";
  std::string text;
  const auto pixel = [&](std::int64_t row, std::int64_t column) {
    const auto index = static_cast<std::size_t>(row * side + column);
    return index < pixels.size() ? pixels[index] : 0;
  };
  for (std::int64_t row = 0; row < side; row += 2) {
    for (std::int64_t column = 0; column < side; ++column) {
      const auto upper = pixel(row, column), lower = pixel(row + 1, column);
      if (colour) {
        text += fmt::format("\x1b[38;2;{0};{0};{0};48;2;{1};{1};{1}m▀", upper, lower);
      } else {
        text += inks[static_cast<std::size_t>((upper + lower) * static_cast<std::int32_t>(inks.size()) / 512)];
      }
    }
    text += colour ? "\x1b[0m\n" : "\n";
  }
  return text;
}

/// Throws Error if a file does not have the number of examples that the manifest says.
void check_count(const fs::path& folder, const Json& entry, std::size_t found) {
  if (entry.at("examples") == found) return;
  throw Error(fmt::format("{}: has {} examples, the manifest says {}",
                          (folder / entry.at("file").get<std::string>()).string(), found, entry.at("examples").dump()));
}

/// An example by its split and its place in it.
struct Place {
  Split split;
  std::size_t index;
};

}  // namespace

void GeneratorOptions::describe(FieldVisitor& fields) {
  fields.integer("seed", seed, not_negative, "seeds the generator");
  fields.integer("train", examples[0], {1, 10'000'000}, "training examples");
  fields.integer("valid", examples[1], {1, 10'000'000}, "validation examples");
  fields.integer("test", examples[2], {1, 10'000'000}, "test examples");
  if (contour_length)
    fields.integer("contour_length", *contour_length, {3, 14},
                   "paddles of a long curve: 6 is the release's easy, 9 its intermediate, 14 its hard version");
}

Json PackedTask::manifest_of(const fs::path& data_dir) const {
  const fs::path folder = folder_of(data_dir);
  Json manifest = read_manifest(folder);
  if (manifest.is_null()) {
    throw Error(
        fmt::format("{}: the data of the task '{}' are not there", (folder / "manifest.json").string(), spec_.name),
        fmt::format("{}, with --data-dir {}", spec_.how_to_prepare, data_dir.string()));
  }
  if (manifest.value("task", "") != spec_.name) {
    throw Error(fmt::format("{}: expected the data of the task '{}', found those of '{}'", folder.string(), spec_.name,
                            manifest.value("task", "")));
  }
  return manifest;
}

PackedView PackedTask::view_of(const TaskConfig& config) const {
  const auto ids = spec_.first_id + 256;
  const auto classes = static_cast<std::int64_t>(spec_.classes.size());
  if (config.vocab_size < ids) {
    throw Error(fmt::format("vocab_size: the task '{}' has token ids up to {}, expected at least {}, found {}",
                            spec_.name, ids - 1, ids, config.vocab_size));
  }
  if (config.num_classes < classes) {
    throw Error(fmt::format("num_classes: the task '{}' has {} classes, expected at least that, found {}", spec_.name,
                            classes, config.num_classes));
  }
  return {.seq_len = config.seq_len, .first_id = spec_.first_id, .num_classes = classes, .limit = config.limit};
}

bool PackedTask::has(Split split, const TaskConfig& config) const {
  return manifest_of(config.data_dir).at("files").contains(split_name(split));
}

std::unique_ptr<Dataset> PackedTask::open(Split split, const TaskConfig& config) const {
  const PackedView view = view_of(config);
  const fs::path folder = folder_of(config.data_dir);
  const Json manifest = manifest_of(config.data_dir);
  const auto entry = manifest.at("files").find(split_name(split));
  if (entry == manifest.at("files").end())
    throw Error(fmt::format("{}: names no {} split", (folder / "manifest.json").string(), split_name(split)));
  check_file_at_use(folder, *entry);
  auto data = open_packed(folder / entry->at("file").get<std::string>(), view);
  check_count(folder, *entry, data->examples_in_file());
  return data;
}

std::unique_ptr<Dataset> PackedTask::open_file(const fs::path& file, const TaskConfig& config) const {
  PackedView view = view_of(config);
  view.limit = 0;  // a file is asked for by its name: all of it
  check_against_manifest(file);
  return open_packed(file, view);
}

std::unique_ptr<PackedDataset> PackedTask::open_packed(const fs::path& file, const PackedView& view) const {
  auto data = std::make_unique<PackedDataset>(file, view);
  if (data->sequences() != spec_.sequences) {
    throw Error(fmt::format("{}: has {} sequence(s) an example, the task '{}' has {}", file.string(), data->sequences(),
                            spec_.name, spec_.sequences));
  }
  const auto pixels = static_cast<std::size_t>(spec_.picture_side * spec_.picture_side);
  for (std::size_t i = 0; pixels > 0 && i < data->size(); ++i) {
    if (const auto size = data->bytes(i, 0).size(); size != pixels) {
      throw Error(fmt::format("{}: example {} has {} bytes, a picture of the task '{}' has {}", file.string(), i, size,
                              spec_.name, pixels));
    }
  }
  return data;
}

Json PackedTask::reference_levels(const TaskConfig& config, const Dataset& train, const Dataset& test) const {
  Json key = {{"seq_len", config.seq_len}, {"limit", config.limit}, {"task_options", config.task_options}};
  for (const auto& [split, entry] : manifest_of(config.data_dir).at("files").items()) key[split] = entry.at("sha256");
  return remembered_levels(folder_of(config.data_dir), key, [&] {
    return lra::reference_levels(train, test, static_cast<std::int64_t>(spec_.classes.size()), spec_.first_id + 256);
  });
}

std::string PackedTask::incomplete(const Json& manifest) const {
  return difference_from_official(manifest.at("files"), spec_.name);
}

Json PackedTask::verify(const fs::path& data_dir) const {
  const fs::path folder = folder_of(data_dir);
  const Json manifest = manifest_of(data_dir);
  Json summary = {{"folder", folder.string()}, {"manifest", "agrees"}};
  std::unordered_map<std::string, Place> seen;  // hash of the content
  std::map<std::string, std::size_t> twice;
  std::string first_leak;
  for (const Split split : all_splits) {
    const auto entry = manifest.at("files").find(split_name(split));
    if (entry == manifest.at("files").end()) continue;
    check_file(folder, *entry);
    const auto data = open_packed(
        folder / file_name(split),
        {.seq_len = 0, .first_id = 0, .num_classes = static_cast<std::int64_t>(spec_.classes.size()), .limit = 0});
    check_count(folder, *entry, data->size());
    summary["examples"][split_name(split)] = data->size();
    for (std::size_t i = 0; i < data->size(); ++i) {
      Sha256 hash;
      for (std::size_t s = 0; s < spec_.sequences; ++s) {
        hash.update(std::to_string(data->bytes(i, s).size()) + ' ');
        hash.update(data->bytes(i, s));
      }
      const auto [before, fresh] = seen.emplace(hash.hex(), Place{split, i});
      if (fresh) continue;
      const Place& other = before->second;
      ++twice[other.split == split ? split_name(split)
                                   : fmt::format("{} and {}", split_name(other.split), split_name(split))];
      if (other.split != split && first_leak.empty()) {
        first_leak = fmt::format("example {} of {} is example {} of {}", i, split_name(split), other.index,
                                 split_name(other.split));
      }
    }
  }
  summary["examples_twice"] = twice;
  const std::string difference = incomplete(manifest);
  if (!difference.empty()) summary["incomplete"] = difference;
  if (first_leak.empty()) return summary;
  if (spec_.official_splits_overlap && difference.empty()) {
    summary["note"] = "the official data have these examples in two splits: published scores have them too";
    return summary;
  }
  throw Error(fmt::format("{}: the same example is in two splits: {}; in all {}", folder.string(), first_leak,
                          summary["examples_twice"].dump()),
              "scores would be too good: look at these examples with `lra-run data show`, and mend the files that the "
              "data were prepared from");
}

Json PackedTask::data_info(const TaskConfig& config) const {
  const fs::path folder = folder_of(config.data_dir);
  const Json manifest = manifest_of(config.data_dir);
  Json info = manifest.at("files");
  for (const Json& entry : info) check_file_at_use(folder, entry);
  if (!spec_.stand_in_for.empty()) info["stand_in_for"] = spec_.stand_in_for;
  const Json request = manifest.value("request", Json::object());
  for (const char* key : {"generator", "split_seed"}) {
    if (request.contains(key)) info[key] = request[key];
  }
  if (const std::string difference = incomplete(manifest); !difference.empty()) info["incomplete"] = difference;
  return info;
}

std::string PackedTask::show(const Example& example, bool colour) const {
  std::string text =
      fmt::format("label {}: {}\n", example.label, spec_.classes.at(static_cast<std::size_t>(example.label)));
  if (spec_.picture_side > 0) return text + draw(example.tokens, spec_.picture_side, colour);
  std::array<std::string, 2> bytes;
  for (std::size_t i = 0; i < example.tokens.size(); ++i) {
    const bool second = example.second > 0 && i >= static_cast<std::size_t>(example.second);
    if (const auto token = example.tokens[i]; token >= spec_.first_id)
      bytes[second] += static_cast<char>(token - spec_.first_id);  // not the padding of an empty one
  }
  if (example.second == 0) return text + printable(bytes[0]) + "\n";
  return text + "first: " + printable(bytes[0]) + "\nsecond: " + printable(bytes[1]) + "\n";
}

}  // namespace lra
