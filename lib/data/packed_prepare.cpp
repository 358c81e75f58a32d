#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "core/config_files.h"
#include "core/config_reader.h"
#include "core/error.h"
#include "core/log.h"
#include "core/sha256.h"
#include "core/text.h"
#include "data/manifest.h"
#include "data/packed_task.h"
#include "data/reference_levels.h"
#include "data/unpacked_source.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t cache_version = 2;  // raise it when the same source begins to give other examples

/// {"files", "bytes", "sha256" of the names, counted from each of `folders`, and contents}: the content of a source,
/// wherever it lies.
std::vector<Json> describe_files(std::vector<fs::path> files, const std::vector<fs::path>& folders) {
  constexpr std::uintmax_t small = 1 << 20;
  std::sort(files.begin(), files.end());
  std::vector<Sha256> hashes(folders.size());
  std::uintmax_t bytes = 0;
  for (const auto& file : files) {
    std::error_code code;
    const std::uintmax_t size = fs::file_size(file, code);
    if (code) throw Error(fmt::format("{}: cannot be read ({})", printable(file.string()), code.message()));
    const std::string hash = size < small ? sha256(read_file(file)) : sha256_file(file);
    for (std::size_t i = 0; i < folders.size(); ++i)
      hashes[i].update(file.lexically_relative(folders[i]).generic_string() + '\n' + hash + '\n');
    bytes += size;
  }
  std::vector<Json> descriptions;
  for (auto& hash : hashes) descriptions.push_back({{"files", files.size()}, {"bytes", bytes}, {"sha256", hash.hex()}});
  return descriptions;
}

bool complete(const fs::path& folder, const Json& manifest) {
  const Json& files = manifest.at("files");
  return std::all_of(files.begin(), files.end(), [&](const Json& entry) { return size_agrees(folder, entry); });
}

Json already_there(Json manifest) {
  manifest["prepared"] = "already there";
  return manifest;
}

}  // namespace

/// What `prepare` was asked for.
struct PackedTask::Request {
  fs::path from;  ///< empty: the generator's
  GeneratorOptions generator;
  std::uint64_t seed = 0;  ///< of a random split
  Json json;               ///< all of it but the source: what the manifest must say for the data to be there already
};

PackedTask::Request PackedTask::request_of(const PrepareOptions& options) const {
  Request request;
  request.from = options.from.empty() && spec_.default_folder ? spec_.default_folder() : fs::path(options.from);
  if (request.from.empty()) {
    if (!spec_.generated) {
      throw Error(
          fmt::format("the task '{}' is read from its official files: expected --from FOLDER or --from ARCHIVE",
                      spec_.name),
          fmt::format("{}; without a download there is the task '{}_standin'", spec_.how_to_prepare, spec_.name));
    }
    request.generator = *spec_.generated;
    LayeredJson given;
    given.merge(options.generator, command_line_origin);
    ConfigReader reader(given);
    request.generator.describe(reader);
    reader.finish();
    request.generator.threads = options.threads;
    request.json = {{"generator", to_json_object(request.generator)}};
  } else {
    struct SplitOptions {
      std::int64_t seed = 0;
      void describe(FieldVisitor& fields) { fields.integer("seed", seed, not_negative, "seeds the random split"); }
    };
    if (!spec_.random_split && !options.generator.empty()) {
      throw Error(fmt::format("--{} has no effect on official files of the task '{}'", options.generator.begin().key(),
                              spec_.name),
                  "leave it out");
    }
    request.seed =
        static_cast<std::uint64_t>(from_json_object<SplitOptions>(options.generator, command_line_origin).seed);
    check_source(request.from);
    if (spec_.random_split) request.json["split_seed"] = request.seed;
  }
  request.json["version"] = cache_version;
  return request;
}

Json PackedTask::pack(const Request& request, const fs::path& source, const fs::path& folder) const {
  std::array<std::unique_ptr<PackedWriter>, 3> writers;
  std::size_t count = 0;
  auto said = std::chrono::steady_clock::now();
  const bool generated = request.from.empty();
  spec_.read({.folder = source,
              .seed = request.seed,
              .generated = generated ? &request.generator : nullptr,
              .sink = [&](Split split, std::int32_t label, std::string_view first, std::string_view second) {
                auto& writer = writers[static_cast<std::size_t>(split)];
                if (!writer)
                  writer = std::make_unique<PackedWriter>(folder / fmt::format("{}.packed", split_name(split)),
                                                          spec_.sequences);
                writer->add(label, first, second);
                ++count;
                if (const auto now = std::chrono::steady_clock::now(); now - said > std::chrono::seconds(10)) {
                  log().info("{}: {} examples packed", spec_.name, count);
                  said = now;
                }
              }});
  for (const Split split : all_splits) {
    const auto& writer = writers[static_cast<std::size_t>(split)];
    const auto found = static_cast<std::int64_t>(writer ? writer->size() : 0),
               made = request.generator.examples[static_cast<std::size_t>(split)];
    if (generated && found != made) {
      throw Error(fmt::format("{}: expected {} generated {} examples, found {}", source.string(), made,
                              split_name(split), found),
                  fmt::format("delete {} and prepare again", folder.string()));
    }
    if (found == 0 && split != Split::valid)
      throw Error(fmt::format("{}: there are no {} examples", printable(request.from.string()), split_name(split)));
  }
  Json packed;
  const auto classes = static_cast<std::int64_t>(spec_.classes.size());
  for (const Split split : all_splits) {
    auto& writer = writers[static_cast<std::size_t>(split)];
    if (!writer) continue;
    const Json entry = writer->finish(0);
    packed["files"][split_name(split)] = entry;
    const PackedDataset data(folder / entry.at("file").get<std::string>(),
                             {.seq_len = 0, .first_id = spec_.first_id, .num_classes = classes, .limit = 0});
    packed["statistics"][split_name(split)] = split_statistics(data, classes, spec_.official_seq_len);
  }
  return packed;
}

Json PackedTask::prepare(const PrepareOptions& options) const {
  const fs::path folder = folder_of(options.data_dir);
  const Request request = request_of(options);
  const bool generated = request.from.empty();
  const FolderLock lock = lock_data_folder(folder);
  const Json there = read_manifest(folder);
  const std::string another_place = fmt::format("choose another --data-dir or delete {}", folder.string());
  if (!there.is_null()) {
    Json before = there.value("request", Json::object());
    for (const char* key : {"from", "bytes"})
      before.erase(key);  // the source's place and size, in manifests of older versions
    if (canonical(before) != canonical(request.json)) {
      throw Error(fmt::format("{}: the data there were made otherwise: {}", folder.string(), before.dump()),
                  another_place);
    }
    if (generated && complete(folder, there)) return already_there(there);
  }
  // The same archive is not unpacked again.
  const std::string archive_hash = !generated && is_archive(request.from) ? sha256_file(request.from) : "";
  const Json source_before = there.is_null() ? Json::object() : there.value("source", Json::object());
  if (!archive_hash.empty() && !there.is_null() && source_before.value("sha256", "") == archive_hash &&
      complete(folder, there))
    return already_there(there);

  const fs::path official = folder / "official";
  if (generated) {
    const auto [train, valid, test] = request.generator.examples;
    log().info("{}: generating {} examples in {}", spec_.name, train + valid + test, official.string());
    spec_.generate(official, request.generator);
  }
  const UnpackedSource unpacked(generated ? official : request.from, folder / "unpacked", spec_.wanted, spec_.companion,
                                archive_hash);
  const SourceFiles source = spec_.find(unpacked.folder(), generated ? &request.generator : nullptr);
  Json description = unpacked.description();
  if (!generated) say_left_out(source.folder.string(), files_beside(source.files, source.folder), false, description);
  const auto contents = describe_files(
      source.files, {source.folder, unpacked.folder()});  // older versions counted the names from `--from`
  if (!generated && !there.is_null()) {
    const Json before = source_before.value("read", Json());
    if (before != contents[0] && before != contents[1]) {
      throw Error(fmt::format("{}: the data there were made of other files: {}; those of --from {} are {}",
                              folder.string(), before.dump(), printable(request.from.string()), contents[0].dump()),
                  another_place);
    }
    if (complete(folder, there)) return already_there(there);
  }
  description["read"] = contents[0];

  Json manifest = {{"task", spec_.name}};
  if (!spec_.stand_in_for.empty()) manifest["stand_in_for"] = spec_.stand_in_for;
  manifest["request"] = request.json;
  manifest["source"] = description;
  manifest["classes"] = spec_.classes;
  manifest["vocabulary"] = {{"size", spec_.first_id + 256},
                            {"padding", spec_.first_id == 1 ? Json(0) : Json()},
                            {"id_of_byte", fmt::format("byte + {}", spec_.first_id)}};
  manifest.update(pack(request, source.folder, folder));
  if (const std::string difference = incomplete(manifest); !difference.empty()) manifest["incomplete"] = difference;
  write_json(folder / "manifest.json", manifest);
  manifest["prepared"] = "written";
  return manifest;
}

}  // namespace lra
