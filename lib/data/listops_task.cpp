#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "data/line_reader.h"
#include "data/listops.h"
#include "data/manifest.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t generator_version = 1;  // raise it when the same options begin to give other data
constexpr std::array<Split, 3> all_splits{Split::train, Split::valid, Split::test};
constexpr std::string_view header = "Source\tTarget";
constexpr std::size_t no_limit = 0, whole_sequence = std::numeric_limits<std::size_t>::max();
constexpr std::size_t longest_line = 8 << 20;  // a million tokens, the generator's longest, take seven bytes each

fs::path folder_of(const fs::path& data_dir) { return data_dir / "listops"; }

std::string file_name(Split split) { return split == Split::valid ? "basic_val.tsv" : fmt::format("basic_{}.tsv", split_name(split)); }

/// What a character is in a source text: a token, or one of these.
constexpr char kind_parenthesis = 0, kind_operator = 100, kind_unknown = 101;
constexpr auto kinds = [] {
  std::array<char, 256> table{};
  table.fill(kind_unknown);
  table['('] = table[')'] = kind_parenthesis;
  table['['] = kind_operator;
  table[']'] = token_close;
  for (std::size_t digit = 0; digit < 10; ++digit) table['0' + digit] = static_cast<char>(token_digit_0 + digit);
  return table;
}();

/// `p` points behind a '['; returns the operator and moves `p` behind its name, or returns kind_unknown.
char read_operator(const char*& p, const char* end) {
  constexpr std::array<std::pair<std::string_view, char>, 4> names{
      {{"MIN", token_min}, {"MAX", token_max}, {"MED", token_med}, {"SM", token_sum_mod}}};
  const std::string_view rest(p, static_cast<std::size_t>(end - p));
  for (const auto& [name, token] : names) {
    if (rest.starts_with(name)) {
      p += name.size();
      return token;
    }
  }
  return kind_unknown;
}

/// Writes the tokens of `source` to `out`, which has room for source.size() of them, and returns their number. source.end() must be
/// readable. Throws Error saying what was expected.
std::size_t tokenise(std::string_view source, char* out) {
  const char* p = source.data();
  const char* const end = p + source.size();
  std::size_t count = 0;
  while (p < end) {
    const char* const symbol = p;
    char kind = kinds[static_cast<unsigned char>(*p++)];
    if (kind == kind_operator) kind = read_operator(p, end);
    if (kind == kind_unknown || (p < end && *p != ' ')) {
      const std::string_view rest(symbol, static_cast<std::size_t>(end - symbol));
      throw Error(fmt::format("expected ( ) ] [MIN [MAX [MED [SM or a digit, separated by single spaces, found '{}' in column {}",
                              printable(rest.substr(0, std::min(std::max<std::size_t>(rest.find(' '), 1), std::size_t{12}))),
                              symbol - source.data() + 1));
    }
    ++p;
    out[count] = kind;
    count += kind != kind_parenthesis;
  }
  if (count == 0) throw Error("expected an expression before the tab, found none");
  return count;
}

void check_config(const TaskConfig& config) {
  if (config.vocab_size <= token_close) {
    throw Error(fmt::format("vocab_size: ListOps has token ids up to 15, expected at least 16 (17 in the original), found {}", config.vocab_size));
  }
  if (config.num_classes < 10) throw Error(fmt::format("num_classes: ListOps has 10 classes, expected at least 10, found {}", config.num_classes));
}

std::unique_ptr<ListopsDataset> read_split(const fs::path& data_dir, Split split, std::size_t seq_len, std::size_t limit) {
  const fs::path file = folder_of(data_dir) / file_name(split);
  std::error_code unknown;
  if (fs::status(file, unknown).type() == fs::file_type::not_found) {
    throw Error(fmt::format("{}: there is no such file", file.string()),
                fmt::format("make it with `lra-run data prepare listops --data-dir {}`", data_dir.string()));
  }
  return read_listops(file, seq_len, limit);
}

using Counts = std::array<std::int64_t, 10>;

std::size_t most_frequent(const Counts& counts) { return static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin()); }

/// Accuracies on `test` without a model: chance, the most frequent label of `train`, and the one most frequent after the same root.
Json levels(const Dataset& train, const Dataset& test) {
  std::array<Counts, token_close + 1> of_root{};
  Counts of_all{};
  for (std::size_t i = 0; i < train.size(); ++i) {
    const Example example = train.get(i);
    ++of_root.at(static_cast<std::size_t>(example.tokens.at(0))).at(static_cast<std::size_t>(example.label));
    ++of_all.at(static_cast<std::size_t>(example.label));
  }
  std::int64_t hits_majority = 0, hits_root = 0;
  for (std::size_t i = 0; i < test.size(); ++i) {
    const Example example = test.get(i);
    const Counts& counts = of_root.at(static_cast<std::size_t>(example.tokens.at(0)));
    const bool seen = std::any_of(counts.begin(), counts.end(), [](std::int64_t count) { return count > 0; });
    hits_majority += static_cast<std::size_t>(example.label) == most_frequent(of_all);
    hits_root += static_cast<std::size_t>(example.label) == most_frequent(seen ? counts : of_all);
  }
  const auto size = static_cast<double>(test.size());
  return {{"chance", 0.1}, {"majority", static_cast<double>(hits_majority) / size}, {"root_operator", static_cast<double>(hits_root) / size}};
}

/// Facts about all three splits together, to be held against the original's.
Json statistics(const ListopsSample& sample) {
  std::vector<std::int64_t> lengths;
  Counts labels{};
  std::array<std::int64_t, 4> roots{};
  for (const ListopsDataset& split : sample.splits) {
    for (std::size_t i = 0; i < split.size(); ++i) {
      lengths.push_back(split.length(i));
      ++labels[static_cast<std::size_t>(split.label(i))];
      if (const char root = split.tokens(i)[0]; root >= token_min) ++roots[static_cast<std::size_t>(root - token_min)];
    }
  }
  std::sort(lengths.begin(), lengths.end());
  const auto total = static_cast<double>(lengths.size());
  const double mean = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0})) / total;
  double squares = 0;
  for (const auto length : lengths) squares += (static_cast<double>(length) - mean) * (static_cast<double>(length) - mean);
  Json quantiles = Json::object();
  for (const int percent : {0, 10, 25, 50, 75, 90, 100}) {
    quantiles[fmt::format("{}%", percent)] = lengths[(lengths.size() - 1) * static_cast<std::size_t>(percent) / 100];
  }
  Json label_frequencies = Json::array();
  for (const auto count : labels) label_frequencies.push_back(static_cast<double>(count) / total);
  const auto root_frequency = [&](ListopsToken token) { return static_cast<double>(roots[static_cast<std::size_t>(token - token_min)]) / total; };
  return {{"candidates", sample.candidates},
          {"acceptance_rate", static_cast<double>(sample.accepted) / static_cast<double>(sample.candidates)},
          {"duplicates_removed", sample.accepted - static_cast<std::int64_t>(total)},
          {"length_mean", mean},
          {"length_deviation", std::sqrt(squares / total)},
          {"length_quantiles", quantiles},
          {"label_frequencies", label_frequencies},
          {"root_operators",
           {{"MIN", root_frequency(token_min)}, {"MAX", root_frequency(token_max)}, {"MED", root_frequency(token_med)}, {"SM", root_frequency(token_sum_mod)}}},
          {"reference_levels", levels(sample.splits[0], sample.splits[2])}};
}

std::string to_tsv(const ListopsDataset& split) {
  std::string text = std::string(header) + "\r\n";
  for (std::size_t i = 0; i < split.size(); ++i) text += listops_source(split.tokens(i)) + '\t' + static_cast<char>('0' + split.label(i)) + "\r\n";
  return text;
}

class ListopsTask : public Task {
 public:
  std::unique_ptr<Dataset> open(Split split, const TaskConfig& config) const override {
    check_config(config);
    return read_split(config.data_dir, split, static_cast<std::size_t>(config.seq_len), static_cast<std::size_t>(config.limit));
  }

  std::unique_ptr<Dataset> open_file(const fs::path& file, const TaskConfig& config) const override {
    check_config(config);
    return read_listops(file, static_cast<std::size_t>(config.seq_len), static_cast<std::size_t>(config.limit));
  }

  Json reference_levels(const Dataset& train, const Dataset& test) const override { return levels(train, test); }

  Json prepare(const PrepareOptions& options) const override {
    const Json generator = {{"version", generator_version},        {"seed", options.seed},
                            {"train", options.train},              {"valid", options.valid},
                            {"test", options.test},                {"min_length", options.min_length},
                            {"max_length", options.max_length},    {"max_depth", options.max_depth},
                            {"max_args", options.max_args}};
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

    const ListopsSample sample = generate_listops(options);
    std::array<std::string, 3> texts;
    manifest = {{"task", "listops"}, {"generator", generator}};
    for (std::size_t i = 0; i < 3; ++i) {
      texts[i] = to_tsv(sample.splits[i]);
      manifest["files"][split_name(all_splits[i])] = file_entry(file_name(all_splits[i]), texts[i], sample.splits[i].size());
    }
    manifest["statistics"] = statistics(sample);
    // The manifest goes first: after a crash between the files it tells the next call that those already there are ours.
    write_json(folder / "manifest.json", manifest);
    for (std::size_t i = 0; i < 3; ++i) write_file_atomically(folder / file_name(all_splits[i]), texts[i]);
    manifest["prepared"] = "written";
    return manifest;
  }

  Json verify(const fs::path& data_dir) const override {
    const fs::path folder = folder_of(data_dir);
    const Json manifest = read_manifest(folder);
    Json summary = {{"folder", folder.string()}, {"manifest", manifest.is_null() ? "none: hashes and counts not checked" : "agrees"}};
    for (const Split split : all_splits) {
      const auto data = read_split(data_dir, split, whole_sequence, no_limit);
      const fs::path file = folder / file_name(split);
      for (std::size_t i = 0; i < data->size(); ++i) {
        const auto fail = [&](const std::string& message) { throw Error(fmt::format("{}:{}: {}", file.string(), i + 2, message)); };
        int value = 0;
        try {
          value = evaluate_listops(data->tokens(i));
        } catch (const Error& error) {
          fail(error.what());
        }
        if (value != data->label(i)) fail(fmt::format("the Target is {}, but the Source evaluates to {}", data->label(i), value));
      }
      if (!manifest.is_null()) {
        const Json& entry = manifest.at("files").at(split_name(split));
        check_file(folder, entry);
        if (entry.at("examples") != data->size()) {
          throw Error(fmt::format("{}: has {} examples, the manifest says {}", file.string(), data->size(), entry.at("examples").dump()));
        }
      }
      summary["examples"][split_name(split)] = data->size();
    }
    return summary;
  }

  Json data_info(const TaskConfig& config) const override {
    const fs::path folder = folder_of(config.data_dir);
    const Json manifest = read_manifest(folder);
    Json info = Json::object();
    for (const Split split : all_splits) {
      const Json known = manifest.is_object() ? manifest.at("files").at(split_name(split)) : Json();
      if (known.is_object() && size_agrees(folder, known)) {
        info[split_name(split)] = known;
      } else {
        const auto data = read_split(config.data_dir, split, whole_sequence, no_limit);
        info[split_name(split)] = file_entry(file_name(split), read_file(folder / file_name(split)), data->size());
      }
    }
    if (manifest.is_object()) info["generator"] = manifest.at("generator");
    return info;
  }
};

}  // namespace

std::unique_ptr<ListopsDataset> read_listops(const fs::path& file, std::size_t seq_len, std::size_t limit) {
  LineReader reader(file, longest_line);
  const auto fail = [&](std::size_t number, const std::string& message) { throw Error(fmt::format("{}:{}: {}", file.string(), number, message)); };
  std::string_view line;
  if (!reader.next(line) || line != header) fail(1, "expected the header Source<tab>Target");

  auto data = std::make_unique<ListopsDataset>();
  if (limit == no_limit) data->reserve(reader.file_size() / 6);  // about six characters a token
  std::vector<char> tokens;
  for (std::size_t number = 2; (limit == no_limit || data->size() < limit) && reader.next(line); ++number) {
    if (line.empty()) {
      if (!reader.next(line)) break;
      fail(number, "expected an expression, a tab and a digit, found an empty line");
    }
    const std::size_t tab = line.size() < 2 ? 0 : line.size() - 2;
    if (line[tab] != '\t' || line.back() < '0' || line.back() > '9') fail(number, "expected a tab and one digit (the Target) at the end of the line");
    tokens.resize(std::max(tokens.size(), tab));
    std::size_t count = 0;
    try {
      count = tokenise(line.substr(0, tab), tokens.data());
    } catch (const Error& error) {
      fail(number, error.what());
    }
    data->add({tokens.data(), std::min(count, seq_len)}, line.back() - '0');
  }
  if (data->size() == 0) fail(2, "expected an expression, a tab and a digit, found the end of the file");
  return data;
}

std::unique_ptr<Task> make_listops_task() { return std::make_unique<ListopsTask>(); }

}  // namespace lra
