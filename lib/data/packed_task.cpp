#include "data/packed_task.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <unordered_map>
#include <utility>

#include "core/config_files.h"
#include "core/config_reader.h"
#include "core/error.h"
#include "core/log.h"
#include "core/sha256.h"
#include "data/archive.h"
#include "data/manifest.h"
#include "data/reference_levels.h"
#include "data/unpacked_source.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t cache_version = 2;  // raise it when the same source begins to give other examples

std::string file_name(Split split) { return fmt::format("{}.packed", split_name(split)); }

/// {"files", "bytes", "sha256" of the names and contents} of what was read.
Json describe_files(const fs::path& folder, std::vector<fs::path> files) {
  std::sort(files.begin(), files.end());
  Sha256 hash;
  std::uintmax_t bytes = 0;
  for (const auto& file : files) {
    hash.update(fs::relative(file, folder).generic_string() + '\n' + sha256_file(file) + '\n');
    bytes += fs::file_size(file);
  }
  return {{"files", files.size()}, {"bytes", bytes}, {"sha256", hash.hex()}};
}

/// For a terminal: two pixels in one character, the upper one its ink, the lower one its background. Else one letter for two.
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

/// The bytes as text: what a terminal would not show, as \xNN.
std::string readable(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    if (value >= 0x20 && value != 0x7f) {
      text += byte;  // bytes from 0x80 on are parts of UTF-8
    } else {
      text += fmt::format("\\x{:02x}", value);
    }
  }
  return text;
}

}  // namespace

void GeneratorOptions::describe(FieldVisitor& fields) {
  fields.integer("seed", seed, not_negative, "seeds the generator");
  fields.integer("train", examples[0], {1, 10'000'000}, "training examples");
  fields.integer("valid", examples[1], {1, 10'000'000}, "validation examples");
  fields.integer("test", examples[2], {1, 10'000'000}, "test examples");
  if (contour_length) fields.integer("contour_length", *contour_length, {3, 14}, "paddles of a long curve: 6 is the release's easy, 9 its intermediate, 14 its hard version");
}

Json PackedTask::manifest_of(const fs::path& data_dir) const {
  const fs::path folder = folder_of(data_dir);
  Json manifest = read_manifest(folder);
  if (manifest.is_null()) {
    throw Error(fmt::format("{}: the data of the task '{}' are not there", (folder / "manifest.json").string(), spec_.name),
                fmt::format("{}, with --data-dir {}", spec_.how_to_prepare, data_dir.string()));
  }
  if (manifest.value("task", "") != spec_.name) {
    throw Error(fmt::format("{}: expected the data of the task '{}', found those of '{}'", folder.string(), spec_.name, manifest.value("task", "")));
  }
  return manifest;
}

PackedView PackedTask::view_of(const TaskConfig& config) const {
  const auto ids = spec_.first_id + 256;
  const auto classes = static_cast<std::int64_t>(spec_.classes.size());
  if (config.vocab_size < ids) {
    throw Error(fmt::format("vocab_size: the task '{}' has token ids up to {}, expected at least {}, found {}", spec_.name, ids - 1, ids, config.vocab_size));
  }
  if (config.num_classes < classes) {
    throw Error(fmt::format("num_classes: the task '{}' has {} classes, expected at least that, found {}", spec_.name, classes, config.num_classes));
  }
  return {.seq_len = config.seq_len, .first_id = spec_.first_id, .num_classes = classes, .limit = config.limit};
}

bool PackedTask::has(Split split, const TaskConfig& config) const { return manifest_of(config.data_dir).at("files").contains(split_name(split)); }

std::unique_ptr<Dataset> PackedTask::open(Split split, const TaskConfig& config) const {
  const PackedView view = view_of(config);
  const fs::path folder = folder_of(config.data_dir);
  const Json manifest = manifest_of(config.data_dir);
  const auto entry = manifest.at("files").find(split_name(split));
  if (entry == manifest.at("files").end()) throw Error(fmt::format("{}: names no {} split", (folder / "manifest.json").string(), split_name(split)));
  if (!size_agrees(folder, *entry)) check_file(folder, *entry);
  return open_packed(folder / file_name(split), view);
}

std::unique_ptr<Dataset> PackedTask::open_file(const fs::path& file, const TaskConfig& config) const { return open_packed(file, view_of(config)); }

std::unique_ptr<PackedDataset> PackedTask::open_packed(const fs::path& file, const PackedView& view) const {
  auto data = std::make_unique<PackedDataset>(file, view);
  if (data->sequences() != spec_.sequences) {
    throw Error(fmt::format("{}: has {} sequence(s) an example, the task '{}' has {}", file.string(), data->sequences(), spec_.name, spec_.sequences));
  }
  const auto pixels = static_cast<std::size_t>(spec_.picture_side * spec_.picture_side);
  for (std::size_t i = 0; pixels > 0 && i < data->size(); ++i) {
    if (const auto size = data->bytes(i, 0).size(); size != pixels) {
      throw Error(fmt::format("{}: example {} has {} bytes, a picture of the task '{}' has {}", file.string(), i, size, spec_.name, pixels));
    }
  }
  return data;
}

Json PackedTask::reference_levels(const TaskConfig& config, const Dataset& train, const Dataset& test) const {
  Json key = {{"seq_len", config.seq_len}, {"limit", config.limit}, {"task_options", config.task_options}};
  for (const auto& [split, entry] : manifest_of(config.data_dir).at("files").items()) key[split] = entry.at("sha256");
  return remembered_levels(folder_of(config.data_dir), key,
                           [&] { return lra::reference_levels(train, test, static_cast<std::int64_t>(spec_.classes.size()), spec_.first_id + 256); });
}

Json PackedTask::prepare(const PrepareOptions& options) const {
  const fs::path folder = folder_of(options.data_dir);
  Json request;  // what the manifest must say for the data to be there already
  GeneratorOptions generator;
  std::uint64_t seed = 0;
  const fs::path from = options.from.empty() && spec_.default_folder ? spec_.default_folder() : fs::path(options.from);
  if (from.empty()) {
    if (!spec_.generated) {
      throw Error(fmt::format("the task '{}' is read from its official files: expected --from FOLDER or --from ARCHIVE", spec_.name),
                  fmt::format("{}; without a download there is the task '{}_standin'", spec_.how_to_prepare, spec_.name));
    }
    generator = *spec_.generated;
    LayeredJson given;
    given.merge(options.generator, command_line_origin);
    ConfigReader reader(given);
    generator.describe(reader);
    reader.finish();
    generator.threads = options.threads;
    request = {{"generator", to_json_object(generator)}};
  } else {
    struct SplitOptions {
      std::int64_t seed = 0;
      void describe(FieldVisitor& fields) { fields.integer("seed", seed, not_negative, "seeds the random split"); }
    };
    if (!spec_.random_split && !options.generator.empty()) {
      throw Error(fmt::format("--{} has no effect on official files of the task '{}'", options.generator.begin().key(), spec_.name), "leave it out");
    }
    seed = static_cast<std::uint64_t>(from_json_object<SplitOptions>(options.generator, command_line_origin).seed);
    if (!fs::exists(from)) throw Error(fmt::format("--from {}: there is no such folder or archive", from.string()));
    request = {{"from", fs::weakly_canonical(from / "").parent_path().string()}};
    if (is_archive(from)) request["bytes"] = fs::file_size(from);
    if (spec_.random_split) request["split_seed"] = seed;
  }
  request["version"] = cache_version;

  const FolderLock lock = lock_data_folder(folder);
  if (Json manifest = read_manifest(folder); !manifest.is_null()) {
    const bool same = manifest.value("request", Json()) == request;
    const Json& files = manifest.at("files");
    const bool complete = std::all_of(files.begin(), files.end(), [&](const Json& entry) { return size_agrees(folder, entry); });
    if (!same) {
      throw Error(fmt::format("{}: the data there were made otherwise: {}", folder.string(), manifest.value("request", Json()).dump()),
                  fmt::format("choose another --data-dir or delete {}", folder.string()));
    }
    if (complete) {
      manifest["prepared"] = "already there";
      return manifest;
    }
  }

  const fs::path official = folder / "official";
  if (from.empty()) {
    log().info("{}: generating {} examples in {}", spec_.name, generator.examples[0] + generator.examples[1] + generator.examples[2], official.string());
    spec_.generate(official, generator);
  }
  const UnpackedSource unpacked(from.empty() ? official : from, folder / "unpacked", spec_.wanted);

  std::array<std::unique_ptr<PackedWriter>, 3> writers;
  std::size_t count = 0;
  auto said = std::chrono::steady_clock::now();
  const auto files = spec_.read({.folder = unpacked.folder(), .seed = seed, .generated = from.empty() ? &generator : nullptr, .sink = [&](Split split, std::int32_t label, std::string_view first, std::string_view second) {
    auto& writer = writers[static_cast<std::size_t>(split)];
    if (!writer) writer = std::make_unique<PackedWriter>(folder / file_name(split), spec_.sequences);
    writer->add(label, first, second);
    ++count;
    if (const auto now = std::chrono::steady_clock::now(); now - said > std::chrono::seconds(10)) {
      log().info("{}: {} examples packed", spec_.name, count);
      said = now;
    }
  }});
  for (const Split split : all_splits) {
    const auto& writer = writers[static_cast<std::size_t>(split)];
    const auto found = static_cast<std::int64_t>(writer ? writer->size() : 0), made = generator.examples[static_cast<std::size_t>(split)];
    if (from.empty() && found != made) {
      throw Error(fmt::format("{}: expected {} generated {} examples, found {}", official.string(), made, split_name(split), found), fmt::format("delete {} and prepare again", folder.string()));
    }
    if (found == 0 && split != Split::valid) throw Error(fmt::format("{}: there are no {} examples", from.string(), split_name(split)));
  }
  Json manifest = {{"task", spec_.name}};
  if (!spec_.stand_in_for.empty()) manifest["stand_in_for"] = spec_.stand_in_for;
  manifest["request"] = request;
  manifest["source"] = unpacked.description();
  manifest["source"]["read"] = describe_files(unpacked.folder(), files);
  manifest["classes"] = spec_.classes;
  const auto ids = spec_.first_id + 256;
  manifest["vocabulary"] = {{"size", ids}, {"padding", spec_.first_id == 1 ? Json(0) : Json()}, {"id_of_byte", fmt::format("byte + {}", spec_.first_id)}};
  for (const Split split : all_splits) {
    auto& writer = writers[static_cast<std::size_t>(split)];
    if (!writer) continue;
    manifest["files"][split_name(split)] = writer->finish(0);
    const PackedDataset data(folder / file_name(split), {.seq_len = 0, .first_id = spec_.first_id, .num_classes = static_cast<std::int64_t>(spec_.classes.size()), .limit = 0});
    manifest["statistics"][split_name(split)] = split_statistics(data, static_cast<std::int64_t>(spec_.classes.size()), spec_.official_seq_len);
  }
  write_json(folder / "manifest.json", manifest);
  manifest["prepared"] = "written";
  return manifest;
}

Json PackedTask::verify(const fs::path& data_dir) const {
  const fs::path folder = folder_of(data_dir);
  const Json manifest = manifest_of(data_dir);
  Json summary = {{"folder", folder.string()}, {"manifest", "agrees"}};
  std::unordered_map<std::string, std::size_t> seen;  // content → split
  std::array<std::array<std::size_t, 3>, 3> twice{};
  for (const Split split : all_splits) {
    const auto entry = manifest.at("files").find(split_name(split));
    if (entry == manifest.at("files").end()) continue;
    check_file(folder, *entry);
    const auto opened = open_packed(folder / file_name(split), {.seq_len = 0, .first_id = 0, .num_classes = static_cast<std::int64_t>(spec_.classes.size()), .limit = 0});
    const PackedDataset& data = *opened;
    if (entry->at("examples") != data.size()) {
      throw Error(fmt::format("{}: has {} examples, the manifest says {}", (folder / file_name(split)).string(), data.size(), entry->at("examples").dump()));
    }
    summary["examples"][split_name(split)] = data.size();
    for (std::size_t i = 0; i < data.size(); ++i) {
      Sha256 hash;
      for (std::size_t s = 0; s < spec_.sequences; ++s) {
        hash.update(std::to_string(data.bytes(i, s).size()) + ' ');
        hash.update(data.bytes(i, s));
      }
      const auto [before, fresh] = seen.emplace(hash.hex(), static_cast<std::size_t>(split));
      if (!fresh) ++twice[before->second][static_cast<std::size_t>(split)];
    }
  }
  Json duplicates = Json::object();
  for (std::size_t a = 0; a < 3; ++a) {
    for (std::size_t b = a; b < 3; ++b) {
      if (twice[a][b] > 0) duplicates[a == b ? split_name(all_splits[a]) : fmt::format("{} and {}", split_name(all_splits[a]), split_name(all_splits[b]))] = twice[a][b];
    }
  }
  summary["examples_twice"] = duplicates;
  return summary;
}

Json PackedTask::data_info(const TaskConfig& config) const {
  const Json manifest = manifest_of(config.data_dir);
  Json info = manifest.at("files");
  if (!spec_.stand_in_for.empty()) info["stand_in_for"] = spec_.stand_in_for;
  const Json request = manifest.value("request", Json::object());
  for (const char* key : {"generator", "split_seed"}) {
    if (request.contains(key)) info[key] = request[key];
  }
  return info;
}

std::string PackedTask::show(const Example& example, bool colour) const {
  std::string text = fmt::format("label {}: {}\n", example.label, spec_.classes.at(static_cast<std::size_t>(example.label)));
  if (spec_.picture_side > 0) return text + draw(example.tokens, spec_.picture_side, colour);
  std::array<std::string, 2> bytes;
  for (std::size_t i = 0; i < example.tokens.size(); ++i) {
    const bool second = example.second > 0 && i >= static_cast<std::size_t>(example.second);
    if (const auto token = example.tokens[i]; token >= spec_.first_id) bytes[second] += static_cast<char>(token - spec_.first_id);  // not the padding of an empty one
  }
  if (example.second == 0) return text + readable(bytes[0]) + "\n";
  return text + "first: " + readable(bytes[0]) + "\nsecond: " + readable(bytes[1]) + "\n";
}

}  // namespace lra
