#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/text.h"
#include "report/page_parts.h"

namespace lra::report {
namespace {

std::string host_text(const Result& result) {
  const Json load = result.host.value("load", Json());
  const std::string others = load.is_object() && load.contains("during")
                                 ? fmt::format(", other programs used {} cores meanwhile", recorded(load, "during"))
                                 : "";
  return fmt::format("{}: {}, {} usable cores, {} threads, device {}, allocator {}, {}{}",
                     recorded(result.host, "name"), recorded(result.host, "cpu"), recorded(result.host, "cores"),
                     recorded(result.host, "threads"), recorded(result.host, "device"),
                     recorded(result.host, "allocator"), recorded(result.host, "os"), others);
}

std::string build_text(const Result& result) {
  return fmt::format("revision {}{}, LibTorch {}, {}, {}", recorded(result.build, "revision"),
                     recorded(result.build, "dirty") == "true" ? " with uncommitted changes" : "",
                     recorded(result.build, "libtorch"), recorded(result.build, "compiler"),
                     recorded(result.build, "build_type"));
}

/// A path as one word of a shell. The page holds no bytes that are not UTF-8: in bash, zsh and ksh $'\xff' stands for
/// one.
std::string shell_path(const std::filesystem::path& file) {
  const std::string text = file.string(), seen = printable(text);
  if (seen == text) return shell_word(text);
  std::string word = "$'";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f)
      word += fmt::format("\\x{:02x}", byte);
    else
      word += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  }
  return word + "'";
}

std::string run_title(const Result& result) {
  std::string title = fmt::format("{} · {} · {} · {}", result.kind, task_name(result.task),
                                  result.display_name.empty() ? result.variant : result.display_name, result.variant);
  title += result.sequence_length
               ? fmt::format(" · {} tokens", *result.sequence_length)
               : fmt::format(" · up to {} · seed {}", text_at(result.config, "seq_len"), result.seed);
  title += fmt::format(" · profile {}{} · {}", result.profile, result.suite.empty() ? "" : " · suite " + result.suite,
                       result.status);
  if (!result.message.empty()) title += ": " + result.message;
  if (result.test_accuracy) title += fmt::format(" · {:.2f} %", 100 * *result.test_accuracy);
  if (result.train_examples_per_second)
    title += fmt::format(" · {} examples/s", four_digits(result.train_examples_per_second->median));
  if (!result.disturbed.empty()) title += fmt::format(" (disturbed: {})", result.disturbed);
  return title;
}

}  // namespace

std::string recorded(const Json& object, const char* key) {
  const std::string text = text_at(object, key);
  return text.empty() ? "unknown" : text;
}

Json runs_json(const std::vector<Result>& results) {
  Json page_runs = {{"hosts", Json::array()},
                    {"builds", Json::array()},
                    {"data", Json::array()},
                    {"configs", Json::array()},
                    {"list", Json::array()}};
  std::map<std::string, std::size_t> known;
  const auto place = [&](const char* where, const Json& value) {
    Json& list = page_runs[where];
    const auto [entry, added] =
        known.emplace(where + value.dump(-1, ' ', false, Json::error_handler_t::replace), list.size());
    if (added) list.push_back(value);
    return entry->second;
  };
  for (const Result& result : results) {
    Json config = result.config;
    config.erase("seed");  // the seeds of one setting share the rest
    Json run = {{"title", run_title(result)},
                {"key", result.variant},
                {"commands", regenerating_commands(result)},
                {"seed", result.seed},
                {"config", place("configs", config)},
                {"host", place("hosts", host_text(result))},
                {"build", place("builds", build_text(result))},
                {"data", place("data", result.data)}};
    std::vector<std::string> notes;
    for (const Json& note : result.notes) notes.push_back(note.is_string() ? note.get<std::string>() : note.dump());
    if (!notes.empty()) run["notes"] = fmt::format("{}", fmt::join(notes, "\n"));
    page_runs["list"].push_back(run);
  }
  return page_runs;
}

std::string regenerating_commands(const Result& result) {
  std::string commands;
  const std::string revision = text_at(result.build, "revision").substr(0, 12);
  const bool known = !revision.empty() && revision.find_first_not_of("0123456789abcdef") == std::string::npos;
  commands +=
      known ? fmt::format("git checkout {} && scripts/setup.sh\n", revision) : "# the program's revision is unknown\n";
  if (const auto generator = result.data.find("generator");
      result.kind == "train" && generator != result.data.end() && generator->is_object()) {
    commands += fmt::format("build/release/bin/lra-run data prepare {} --data-dir {}", shell_word(result.task),
                            shell_word(recorded(result.config, "data_dir")));
    for (const char* key :
         {"seed", "train", "valid", "test", "min_length", "max_length", "max_depth", "max_args", "contour_length"}) {
      if (!generator->contains(key)) continue;
      std::string name = key;
      std::replace(name.begin(), name.end(), '_', '-');
      commands += fmt::format(" --{} {}", name, shell_word(text_at(*generator, key)));
    }
    commands += "\n";
  }
  return commands +
         fmt::format(
             "build/release/bin/lra-run --config {} --out runs/again\nbuild/release/bin/lra-report diff {} runs/again",
             shell_path(result.file), shell_path(result.file.parent_path()));
}

}  // namespace lra::report
