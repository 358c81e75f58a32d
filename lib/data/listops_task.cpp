#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "core/config_files.h"
#include "core/error.h"
#include "core/thousands.h"
#include "data/file_hash.h"
#include "data/find_folder.h"
#include "data/listops.h"
#include "data/manifest.h"
#include "data/reference_levels.h"
#include "data/unpacked_source.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t generator_version = 1;  // raise it when the same options begin to give other data
constexpr std::int64_t official_seq_len = 2000;
constexpr std::size_t no_limit = 0, whole_sequence = std::numeric_limits<std::size_t>::max();

fs::path folder_of(const fs::path& data_dir) { return data_dir / "listops"; }

std::string file_name(Split split) {
  return split == Split::valid ? "basic_val.tsv" : fmt::format("basic_{}.tsv", split_name(split));
}

void check_config(const TaskConfig& config) {
  if (config.vocab_size <= token_close) {
    throw Error(
        fmt::format("vocab_size: ListOps has token ids up to 15, expected at least 16 (17 in the original), found {}",
                    config.vocab_size));
  }
  if (config.num_classes < 10)
    throw Error(fmt::format("num_classes: ListOps has 10 classes, expected at least 10, found {}", config.num_classes));
}

/// `data` without closing brackets, each sequence cut to `seq_len` after that.
std::unique_ptr<ListopsDataset> without_brackets(const ListopsDataset& data, std::size_t seq_len) {
  auto result = std::make_unique<ListopsDataset>();
  for (std::size_t i = 0; i < data.size(); ++i) {
    std::string tokens(data.tokens(i));
    std::erase(tokens, static_cast<char>(token_close));
    result->add(tokens, data.label(i), seq_len);
  }
  return result;
}

/// `read`(sequence length) with what the options make of it.
template <class Read>
std::unique_ptr<Dataset> with_options(const TaskConfig& config, const Read& read) {
  check_config(config);
  const auto seq_len = static_cast<std::size_t>(config.seq_len);
  const auto options = from_json_object<ListopsOptions>(config.task_options, "task_options");
  if (options.brackets == "keep") return read(seq_len);
  return without_brackets(*read(whole_sequence), seq_len);
}

std::unique_ptr<ListopsDataset> read_split(const fs::path& data_dir, Split split, std::size_t seq_len,
                                           std::size_t limit) {
  const fs::path file = folder_of(data_dir) / file_name(split);
  std::error_code unknown;
  if (fs::status(file, unknown).type() == fs::file_type::not_found) {
    throw Error(fmt::format("{}: there is no such file", file.string()),
                fmt::format("make it with `lra-run data prepare listops --data-dir {}`", data_dir.string()));
  }
  return read_listops(file, seq_len, limit);
}

using Counts = std::array<std::int64_t, 10>;

std::size_t most_frequent(const Counts& counts) {
  return static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
}

/// Accuracy on `test` of the label that is most frequent in `train` after the same root.
double root_operator_level(const Dataset& train, const Dataset& test) {
  std::array<Counts, token_close + 1> of_root{};
  Counts of_all{};
  for (std::size_t i = 0; i < train.size(); ++i) {
    const Example example = train.get(i);
    ++of_root.at(static_cast<std::size_t>(example.tokens.at(0))).at(static_cast<std::size_t>(example.label));
    ++of_all.at(static_cast<std::size_t>(example.label));
  }
  std::int64_t hits = 0;
  for (std::size_t i = 0; i < test.size(); ++i) {
    const Example example = test.get(i);
    const Counts& counts = of_root.at(static_cast<std::size_t>(example.tokens.at(0)));
    const bool seen = std::any_of(counts.begin(), counts.end(), [](std::int64_t count) { return count > 0; });
    hits += static_cast<std::size_t>(example.label) == most_frequent(seen ? counts : of_all);
  }
  return static_cast<double>(hits) / static_cast<double>(test.size());
}

/// Facts about all three splits together, to be held against the original's, and about each.
Json statistics(const ListopsSample& sample) {
  std::array<std::int64_t, 4> roots{};
  std::int64_t total = 0;
  Json splits = Json::object();
  for (std::size_t s = 0; s < 3; ++s) {
    const ListopsDataset& split = sample.splits[s];
    for (std::size_t i = 0; i < split.size(); ++i) {
      ++total;
      if (const char root = split.tokens(i)[0]; root >= token_min) ++roots[static_cast<std::size_t>(root - token_min)];
    }
    splits[split_name(all_splits[s])] = split_statistics(split, 10, official_seq_len);
  }
  const auto root_frequency = [&](ListopsToken token) {
    return static_cast<double>(roots[static_cast<std::size_t>(token - token_min)]) / static_cast<double>(total);
  };
  Json result = {{"candidates", sample.candidates},
                 {"acceptance_rate", static_cast<double>(sample.accepted) / static_cast<double>(sample.candidates)},
                 {"duplicates_removed", sample.accepted - total},
                 {"root_operators",
                  {{"MIN", root_frequency(token_min)},
                   {"MAX", root_frequency(token_max)},
                   {"MED", root_frequency(token_med)},
                   {"SM", root_frequency(token_sum_mod)}}}};
  result.update(splits);
  return result;
}

/// "MAX(4, 7, MIN(2, 3))", or as far as the tokens go.
std::string readable(const std::vector<std::int32_t>& tokens) {
  constexpr std::array<std::string_view, 4> names{"MIN", "MAX", "MED", "SM"};
  std::string text;
  bool first = true;
  for (const auto token : tokens) {
    if (token == token_close) {
      text += ')';
      continue;
    }
    if (!first) text += ", ";
    first = token >= token_min;
    text += first ? fmt::format("{}(", names.at(static_cast<std::size_t>(token - token_min)))
                  : std::to_string(token - token_digit_0);
  }
  return text;
}

/// The folder at or below `from` with the three files.
fs::path find_listops(const fs::path& from) {
  return find_folder(from, {file_name(Split::train), file_name(Split::valid), file_name(Split::test)},
                     "give LRA's lra_release folder or its listops-1000");
}

/// How the data differ from the official ones: in their numbers, and in what the generator was told. Empty where they
/// do not.
std::string difference(const Json& files, const Json& generator) {
  std::string text = difference_from_official(files, "listops");
  const Json official = to_json_object(ListopsGenerator());
  for (const char* key : {"min_length", "max_length", "max_depth", "max_args"}) {
    if (!generator.is_object() || !generator.contains(key) || generator[key] == official[key]) continue;
    text += fmt::format("{}{} is {}, the official task has {}", text.empty() ? "" : "; ", key, generator[key].dump(),
                        with_commas(official[key].get<std::int64_t>()));
  }
  return text.empty() || !generator.is_object() ? text : "generated so: " + text;
}

std::string to_tsv(const ListopsDataset& split) {
  std::string text = std::string(listops_header) + "\r\n";
  for (std::size_t i = 0; i < split.size(); ++i)
    text += listops_source(split.tokens(i)) + '\t' + static_cast<char>('0' + split.label(i)) + "\r\n";
  return text;
}

class ListopsTask : public Task {
 public:
  std::unique_ptr<Dataset> open(Split split, const TaskConfig& config) const override {
    check_split(folder_of(config.data_dir), read_manifest(folder_of(config.data_dir)), split);
    return with_options(config, [&](std::size_t seq_len) {
      return read_split(config.data_dir, split, seq_len, static_cast<std::size_t>(config.limit));
    });
  }

  std::unique_ptr<Dataset> open_file(const fs::path& file, const TaskConfig& config) const override {
    check_against_manifest(file);
    return with_options(config, [&](std::size_t seq_len) {
      return read_listops(file, seq_len, no_limit);
    });  // a file is asked for by its name: all of it
  }

  Json reference_levels(const TaskConfig& config, const Dataset& train, const Dataset& test) const override {
    Json key = {{"seq_len", config.seq_len}, {"limit", config.limit}, {"task_options", config.task_options}};
    const Json info = data_info(config);
    for (const Split split : all_splits) key[split_name(split)] = info.at(split_name(split)).at("sha256");
    return remembered_levels(folder_of(config.data_dir), key, [&] { return listops_levels(train, test); });
  }

  std::string incomplete(const Json& manifest) const override {
    return difference(manifest.at("files"), manifest.value("generator", Json()));
  }

  std::string how_to_prepare() const override { return "lra-run data prepare listops"; }

  std::string show(const Example& example, bool) const override {
    return fmt::format("{} = {}\n", readable(example.tokens), example.label);
  }

  Json prepare(const PrepareOptions& options) const override {
    return options.from.empty() ? generate(options) : import(options);
  }

  Json verify(const fs::path& data_dir) const override {
    const fs::path folder = folder_of(data_dir);
    const Json manifest = read_manifest(folder);
    Json summary = {{"folder", folder.string()},
                    {"manifest", manifest.is_null() ? "none: hashes and counts not checked" : "agrees"}};
    std::array<std::unique_ptr<ListopsDataset>, 3> splits;
    std::unordered_map<std::string_view, std::pair<Split, std::size_t>> seen;
    for (const Split split : all_splits) {
      auto& data = splits[static_cast<std::size_t>(split)];
      data = read_split(data_dir, split, whole_sequence, no_limit);
      const fs::path file = folder / file_name(split);
      for (std::size_t i = 0; i < data->size(); ++i) {
        const auto& before = seen.emplace(data->tokens(i), std::pair(split, i)).first->second;
        if (before.first != split) {
          throw Error(fmt::format("{}:{}: the same expression as {}:{}: it leaks from one split into another",
                                  file.string(), i + 2, file_name(before.first), before.second + 2));
        }
      }
      if (!manifest.is_null()) {
        const Json& entry = manifest.at("files").at(split_name(split));
        check_file(folder, entry);
        if (entry.at("examples") != data->size()) {
          throw Error(fmt::format("{}: has {} examples, the manifest says {}", file.string(), data->size(),
                                  entry.at("examples").dump()));
        }
      }
      summary["examples"][split_name(split)] = data->size();
    }
    Json files = Json::object();
    for (const auto& [split, count] : summary["examples"].items()) files[split] = {{"examples", count}};
    const std::string text = difference(files, manifest.is_object() ? manifest.value("generator", Json()) : Json());
    if (!text.empty()) summary["incomplete"] = text;
    return summary;
  }

  Json data_info(const TaskConfig& config) const override {
    const fs::path folder = folder_of(config.data_dir);
    const Json manifest = read_manifest(folder);
    Json info = Json::object();
    for (const Split split : all_splits) {
      const fs::path file = folder / file_name(split);
      if (check_split(folder, manifest, split)) {
        info[split_name(split)] = manifest.at("files").at(split_name(split));
      } else {
        const auto data = read_split(config.data_dir, split, whole_sequence, no_limit);
        info[split_name(split)] = {{"file", file_name(split)},
                                   {"bytes", fs::file_size(file)},
                                   {"sha256", known_sha256(file)},
                                   {"examples", data->size()}};
      }
    }
    const Json generator = manifest.is_object() ? manifest.value("generator", Json()) : Json();
    const std::string text = difference(info, generator);
    if (generator.is_object()) info["generator"] = generator;
    if (!text.empty()) info["incomplete"] = text;
    return info;
  }

 private:
  /// Does the manifest name the split's file? Throws Error if it does and the file is another one.
  static bool check_split(const fs::path& folder, const Json& manifest, Split split) {
    if (!manifest.is_object() || !manifest.at("files").contains(split_name(split))) return false;
    check_file_at_use(folder, manifest.at("files").at(split_name(split)));
    return true;
  }

  static Json generate(const PrepareOptions& options) {
    const auto sizes = from_json_object<ListopsGenerator>(options.generator, command_line_origin);
    Json generator = {{"version", generator_version}};
    generator.update(to_json_object(sizes));
    const fs::path folder = folder_of(options.data_dir);
    const FolderLock lock = lock_data_folder(folder);
    Json manifest = read_manifest(folder);
    const bool ours = manifest.is_object() && manifest.value("generator", Json()) == generator;
    bool complete = ours;
    for (const Split split : all_splits) {
      const fs::path file = folder / file_name(split);
      if (!fs::exists(file)) {
        complete = false;
      } else if (!ours || !size_agrees(folder, manifest.at("files").at(split_name(split)))) {
        throw Error(fmt::format("{}: this file is there already and was not made with these options", file.string()),
                    fmt::format("choose another --data-dir or delete {}", folder.string()));
      }
    }
    if (complete) {
      manifest["prepared"] = "already there";
      return manifest;
    }

    const ListopsSample sample = generate_listops(sizes, options.threads);
    std::array<std::string, 3> texts;
    manifest = {{"task", "listops"}, {"generator", generator}};
    for (std::size_t i = 0; i < 3; ++i) {
      texts[i] = to_tsv(sample.splits[i]);
      manifest["files"][split_name(all_splits[i])] =
          file_entry(file_name(all_splits[i]), texts[i], sample.splits[i].size());
    }
    manifest["statistics"] = statistics(sample);
    if (const std::string text = difference(manifest["files"], generator); !text.empty()) manifest["incomplete"] = text;
    // The manifest goes first: after a crash between the files it tells the next call that those already there are
    // ours.
    write_json(folder / "manifest.json", manifest);
    for (std::size_t i = 0; i < 3; ++i) write_file_atomically(folder / file_name(all_splits[i]), texts[i]);
    manifest["prepared"] = "written";
    return manifest;
  }

  /// Official files, checked line by line and copied.
  static Json import(const PrepareOptions& options) {
    if (!options.generator.empty())
      throw Error(fmt::format("--{} has no effect on files that are there already", options.generator.begin().key()),
                  "leave it out");
    const fs::path folder = folder_of(options.data_dir);
    const FolderLock lock = lock_data_folder(folder);
    const auto wanted = [](const std::string& entry) {
      return std::any_of(all_splits.begin(), all_splits.end(),
                         [&](Split split) { return fs::path(entry).filename() == file_name(split); });
    };
    const UnpackedSource source(options.from, folder / "unpacked", wanted, [](const std::string& entry) {
      return of_another_release_task(entry, "listops-1000");
    });
    const fs::path official = find_listops(source.folder());
    Json description = source.description();
    say_left_out(official.string(),
                 files_beside({official / file_name(Split::train), official / file_name(Split::valid),
                               official / file_name(Split::test)},
                              official),
                 false, description);
    Json manifest = {{"task", "listops"}, {"source", description}};
    std::array<std::string, 3> texts;
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string name = file_name(all_splits[i]);
      const auto split = read_listops(official / name, whole_sequence, no_limit);
      texts[i] = read_file(official / name);
      manifest["files"][split_name(all_splits[i])] = file_entry(name, texts[i], split->size());
      manifest["statistics"][split_name(all_splits[i])] = split_statistics(*split, 10, official_seq_len);
    }
    if (const std::string text = difference(manifest["files"], {}); !text.empty()) manifest["incomplete"] = text;
    Json there = read_manifest(folder);
    const bool same = there.is_object() && there.at("files") == manifest.at("files");
    if (same && std::all_of(all_splits.begin(), all_splits.end(),
                            [&](Split split) { return size_agrees(folder, there["files"][split_name(split)]); })) {
      there["prepared"] = "already there";
      return there;
    }
    for (const Split split : all_splits) {
      if (!same && fs::exists(folder / file_name(split))) {
        throw Error(fmt::format("{}: another file is there already", (folder / file_name(split)).string()),
                    fmt::format("choose another --data-dir or delete {}", folder.string()));
      }
    }
    write_json(folder / "manifest.json", manifest);
    for (std::size_t i = 0; i < 3; ++i) write_file_atomically(folder / file_name(all_splits[i]), texts[i]);
    manifest["prepared"] = "written";
    return manifest;
  }
};

}  // namespace

void ListopsOptions::describe(FieldVisitor& fields) {
  fields.choice("brackets", brackets, {"keep", "drop"},
                "drop: no token closes a list, as in LRA's code before March 2021: the structure is lost");
}

Json listops_levels(const Dataset& train, const Dataset& test) {
  Json levels = reference_levels(train, test, 10, token_close + 1);
  levels["root_operator"] = root_operator_level(train, test);
  return levels;
}

std::unique_ptr<Task> make_listops_task() { return std::make_unique<ListopsTask>(); }

}  // namespace lra
