#include "report/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "core/config.h"
#include "core/config_files.h"
#include "core/error.h"
#include "core/sha256.h"
#include "report/check_parts.h"
#include "report/collect.h"
#include "report/find_files.h"
#include "report/json_access.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

const std::vector<std::string> splits = {"train", "valid", "test"};

/// Where lra-run puts a run with this configuration, below its --out; empty if the configuration does not say.
fs::path place_of(const Json& config) {
  const auto length = integer(config, "/seq_len"), seed = integer(config, "/seed"),
             batch = integer(config, "/batch_size");
  const std::string task = text(config, "/task"), profile = text(config, "/profile"),
                    variant = text(config, "/variant");
  if (!length || !seed || !batch || task.empty() || profile.empty() || variant.empty()) return {};
  const fs::path rest = fs::path(task) / profile / variant;
  if (text(config, "/kind") == "bench") return "bench" / rest / fmt::format("n{}b{}", *length, *batch);
  return rest / fmt::format("n{}", *length) / fmt::format("seed{}", *seed);
}

bool is_hash(const std::string& hash, std::size_t digits) {
  return hash.size() == digits && hash.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// "train_steps = 20, not 3000" for each key of `wanted` that `found` has with another value; objects and lists by
/// their elements.
void compare_settings(const Json& wanted, const Json& found, const std::string& place,
                      std::vector<std::string>& differences) {
  if (wanted.is_object() && found.is_object()) {
    for (const auto& [key, value] : wanted.items()) {
      if (found.contains(key))
        compare_settings(value, found[key], place.empty() ? key : place + "." + key, differences);
    }
  } else if (wanted.is_array() && found.is_array() && wanted.size() == found.size()) {
    for (std::size_t i = 0; i < wanted.size(); ++i)
      compare_settings(wanted[i], found[i], fmt::format("{}.{}", place, i), differences);
  } else if (wanted != found) {
    differences.push_back(fmt::format("{} = {}, not {}", place, found.dump(), wanted.dump()));
  }
}

class Checker {
 public:
  Checker(const std::vector<fs::path>& folders, const CheckOptions& options)
      : options_(options), collection_(collect(folders)) {
    for (const fs::path& folder : folders) folders_.push_back(fs::canonical(folder));
  }

  Check run() {
    check_.records = collection_.results.size();
    for (const std::string& sentence : collection_.broken) {
      const auto end =
          std::min(sentence.find(": "),
                   sentence.find(".json:") == std::string::npos ? std::string::npos : sentence.find(".json:") + 5);
      const auto start = sentence.find_first_not_of(": ", end);  // the sentence begins with the file
      check_.findings.push_back(
          {true, sentence.substr(0, end), start == std::string::npos ? "" : sentence.substr(start)});
    }
    for (const Result& result : collection_.results) {
      record_ = &result;
      json_ = parse_json(read_bounded(result.file), shown(result.file));
      check_fields();
      check_numbers();
      check_speed();
      check_data();
      for (const std::string& sentence : check_files(json_, result.file.parent_path())) problem(sentence);
      for (const std::string& sentence : check_values(json_)) problem(sentence);
      for (const Finding& finding : check_quality(result)) warning(finding.kind, finding.text);
      if (result.kind == "train" && result.status == "ok") {
        for (const std::string& sentence : check_curve(result, json_)) problem(sentence);
      }
      check_conditions();
      check_place();
    }
    for (const Finding& finding : check_parameters(collection_.results)) check_.findings.push_back(finding);
    check_suites();
    return std::move(check_);
  }

 private:
  void problem(const std::string& sentence) { check_.findings.push_back({true, record_->file, sentence}); }
  void warning(const std::string& kind, const std::string& sentence) {
    check_.findings.push_back({false, record_->file, sentence, kind});
  }

  bool bench() const { return record_->kind == "bench"; }
  bool ok() const { return record_->status == "ok"; }
  /// The process that wrote the record did not take all of its steps itself.
  bool resumed() const {
    const auto says_so = [](const Json& note) {
      return note.is_string() && note.get<std::string>().starts_with("resumed at step");
    };
    return std::any_of(record_->notes.begin(), record_->notes.end(), says_so);
  }
  bool own_valid_split() const { return find(json_, "/config/task_options/valid") == nullptr; }

  void check_fields() {
    std::vector<std::string> required = {"/host/name",      "/host/cpu",       "/host/device", "/host/threads",
                                         "/build/revision", "/build/libtorch", "/wall_seconds"};
    for (const char* key :
         {"kind", "task", "mixer", "profile", "variant", "seq_len", "seed", "batch_size", "train_steps", "selection"}) {
      required.push_back(fmt::format("/config/{}", key));
    }
    const auto add = [&](const std::vector<std::string>& more) {
      required.insert(required.end(), more.begin(), more.end());
    };
    if (!ok()) add({"/message"});
    if (ok()) add({"/parameters", "/metrics/steps_done", "/memory/peak_tensor_bytes", "/memory/peak_rss_bytes"});
    if (ok() && !bench()) add({"/metrics/test_accuracy", "/metrics/test_examples", "/metrics/selected_step"});
    if (ok() && !bench() && text(json_, "/config/selection") == "best_valid") add({"/metrics/valid_accuracy"});
    if (ok() && bench())
      add({"/speed/train_steps_per_second", "/speed/train_examples_per_second",
           "/speed/inference_examples_per_second"});
    if (ok() && bench() && record_->task == "bytes") add({"/sequence_length"});
    if (ok() && record_->task != "bytes") {
      for (const std::string& split : splits) {
        if (split == "valid" && !own_valid_split()) continue;
        for (const char* key : {"file", "sha256", "examples"})
          required.push_back(fmt::format("/data/{}/{}", split, key));
      }
    }
    for (const std::string& place : required) {
      if (find(json_, place) == nullptr) problem(fmt::format("{} is missing", place));
    }
    for (const char* key : {"kind", "task", "mixer", "variant", "profile", "seed", "suite"}) {
      const Json *top = find(json_, fmt::format("/{}", key)), *configured = find(json_, fmt::format("/config/{}", key));
      if (top == nullptr || configured == nullptr || *top == *configured) continue;
      problem(fmt::format("/{} is {}, /config/{} is {}", key, top->dump(), key, configured->dump()));
    }
    if (!ok() && record_->test_accuracy)
      problem(fmt::format("has a test accuracy, which a run with status {} never reached", record_->status));
  }

  void check_whole(const char* name, std::optional<double> accuracy, std::optional<std::int64_t> examples) {
    if (!accuracy || !examples || *examples == 0) return;
    const double correct = *accuracy * static_cast<double>(*examples);
    if (std::abs(correct - std::round(correct)) <= 1e-6) return;
    problem(
        fmt::format("{} {} of {} examples is {:.4f} of them, no whole number", name, *accuracy, *examples, correct));
  }

  void check_numbers() {
    const auto limit = integer(json_, "/config/limit").value_or(0);
    const auto used = [&](const std::string& split) {
      auto examples = integer(json_, fmt::format("/data/{}/examples", split));
      if (examples && limit > 0) examples = std::min(*examples, limit);
      return examples;
    };
    check_whole("test accuracy", record_->test_accuracy, record_->test_examples);
    if (own_valid_split()) check_whole("validation accuracy", record_->valid_accuracy, used("valid"));
    if (const auto examples = used("test");
        examples && record_->test_examples && *examples != *record_->test_examples) {
      problem(fmt::format("tested on {} examples, the data have {}", *record_->test_examples, *examples));
    }

    const auto steps = record_->steps_done, train_steps = integer(json_, "/config/train_steps");
    const auto warmup = integer(json_, "/config/measure_warmup_steps"), timed = integer(json_, "/config/measure_steps");
    const auto selected = integer(json_, "/metrics/selected_step"), eval_every = integer(json_, "/config/eval_every");
    if (bench() && steps && warmup && timed && (ok() ? *steps != *warmup + *timed : *steps > *warmup + *timed)) {
      problem(fmt::format("{} steps done of {} + {}", *steps, *warmup, *timed));
    }
    if (!bench() && steps && train_steps && (ok() ? *steps != *train_steps : *steps > *train_steps)) {
      problem(fmt::format("{} steps done of {}", *steps, *train_steps));
    }
    if (selected && steps && eval_every && *eval_every > 0) {
      const bool last = text(json_, "/config/selection") == "last";
      if (last ? *selected != *steps
               : *selected < 1 || *selected > *steps || (*selected % *eval_every != 0 && *selected != *steps)) {
        problem(fmt::format("weights of step {} were selected, where none were evaluated", *selected));
      }
    }
    if (bench() && record_->task == "bytes" && record_->sequence_length &&
        record_->sequence_length != integer(json_, "/config/seq_len")) {
      problem(fmt::format("/sequence_length is {}, /config/seq_len is {}", *record_->sequence_length,
                          json_["config"]["seq_len"].dump()));
    }
    // Not held against peak_rss_bytes: memory that was asked for and never written is not resident.
    if (record_->parameters && record_->peak_tensor_bytes && *record_->peak_tensor_bytes < 4 * *record_->parameters) {
      problem(fmt::format("a peak of {} bytes, less than the {} parameters take", *record_->peak_tensor_bytes,
                          *record_->parameters));
    }
  }

  void check_speed() {
    if (const Json* speeds = find(json_, "/speed")) {
      for (const auto& [name, speed] : speeds->items()) {
        if (name != "disturbed") check_measured(name, speed);
      }
    }
    const char* name = "train_examples_per_second";
    if (ok() && !bench() && !record_->train_examples_per_second && expected_count(name).value_or(0) > 0)
      problem(fmt::format("/speed/{} is missing", name));
  }

  void check_measured(const std::string& name, const Json& speed) {
    const auto count = integer(speed, "/count");
    const Json *list = find(speed, "/samples"), *median = find(speed, "/median"), *spread = find(speed, "/spread");
    const auto number = [](const Json* value) { return value != nullptr && value->is_number(); };
    const auto positive_number = [](const Json& sample) { return sample.is_number() && sample.get<double>() > 0; };
    if (!count || !number(median) || !number(spread) || list == nullptr || !list->is_array() || list->empty() ||
        !std::all_of(list->begin(), list->end(), positive_number)) {
      return problem(fmt::format("/speed/{} lacks median, spread, count or samples above 0", name));
    }
    const auto samples = list->get<std::vector<double>>();
    const auto kept = static_cast<std::int64_t>(samples.size());
    const auto [least, most] = std::minmax_element(samples.begin(), samples.end());
    const Measured again = measured(samples);
    const double middle = median->get<double>(), range = spread->get<double>();
    // Records keep at most 200, evenly thinned.
    if (kept != std::min<std::int64_t>(*count, 200))
      problem(fmt::format("/speed/{} has {} samples of {}", name, kept, *count));
    const bool differ =
        std::abs(again.median - middle) > 1e-9 * middle || std::abs(again.spread - range) > 1e-9 * middle;
    if (middle < *least || middle > *most || (kept == *count && differ)) {
      problem(fmt::format("/speed/{} says median {} and spread {}, its samples {} and {}", name, middle, range,
                          again.median, again.spread));
    }
    double seconds = 0;
    for (const double sample : samples) seconds += 1 / sample;
    if (name == "train_steps_per_second" && record_->wall_seconds && seconds > *record_->wall_seconds + 0.001) {
      problem(fmt::format("{:.3f} s of steps in a run of {:.3f} s", seconds, *record_->wall_seconds));
    }
    if (const auto expected = expected_count(name); expected && *expected != *count) {
      problem(fmt::format("/speed/{} counts {} steps, {} were timed", name, *count, *expected));
    }
  }

  std::optional<std::int64_t> expected_count(const std::string& name) const {
    const auto warmup = integer(json_, "/config/measure_warmup_steps");
    if (bench()) return ok() ? integer(json_, "/config/measure_steps") : std::nullopt;
    if (!warmup || !record_->steps_done || resumed() || !name.starts_with("train_")) return std::nullopt;
    return std::max<std::int64_t>(0, *record_->steps_done - *warmup);
  }

  void check_data() {
    const std::string generator = record_->data.contains("generator") ? record_->data["generator"].dump() : "";
    for (const auto& [split, entry] : record_->data.items()) {
      const std::string file = text(entry, "/file"), hash = text(entry, "/sha256");
      if (file.empty() || hash.empty()) continue;
      if (!is_hash(hash, 64)) {
        problem(fmt::format("/data/{}/sha256 is '{}', not 64 hexadecimal digits", split, hash));
        continue;
      }
      // The same data in one folder of runs.
      const auto [known, first] = hashes_.try_emplace(
          {root_of(), record_->task, text(json_, "/config/data_dir"), file, generator}, hash, record_->file);
      if (!first && known->second.first != hash)
        problem(fmt::format("{} has SHA-256 {}, in {} it is {}", file, hash, known->second.second.string(),
                            known->second.first));
      if (options_.data.empty()) continue;
      const fs::path path = options_.data / record_->task / file;
      if (!fs::is_regular_file(path)) continue;
      auto& actual = actual_hashes_[path];
      if (actual.empty()) actual = sha256_file(path);
      if (actual != hash) problem(fmt::format("{} has SHA-256 {}, {} has {}", file, hash, path.string(), actual));
    }
  }

  void check_conditions() {
    const std::string revision = text(json_, "/build/revision");
    const Json* dirty = find(json_, "/build/dirty");
    if (dirty != nullptr && *dirty == true)
      warning("built with changed files",
              fmt::format("built from revision {} with changed files", revision.substr(0, 12)));
    if (revision == "unknown")
      warning("", "built outside a git checkout: revision unknown");
    else if (!revision.empty() && !is_hash(revision, 40))
      problem(fmt::format("/build/revision is '{}', no git revision", revision));
    if (const auto limit = integer(json_, "/config/limit").value_or(0); limit > 0)
      warning("only the first examples of each split", fmt::format("only the first {} examples of each split", limit));
    if (record_->status == "failed" || record_->status == "interrupted")
      warning("status " + record_->status, fmt::format("{}: {}", record_->status, record_->message));
  }

  /// The folder given as --out, if the record lies where lra-run puts it; else empty.
  fs::path root_of() const {
    fs::path folder = record_->file.parent_path();
    const fs::path place = place_of(record_->config);
    if (place.empty()) return {};
    for (fs::path rest = place; !rest.empty(); rest = rest.parent_path()) {
      if (folder.filename() != rest.filename()) return {};
      folder = folder.parent_path();
    }
    return folder;
  }

  void check_place() {
    const fs::path place = place_of(record_->config);
    if (!place.empty() && root_of().empty()) problem(fmt::format("its configuration belongs into {}", place.string()));
    if (!root_of().empty() && !record_->suite.empty()) suites_[{root_of(), record_->suite}][place] = record_;
  }

  void check_suites() {
    std::vector<std::string> known;
    try {
      known = config_names("suites");
    } catch (const Error& error) {
      if (!suites_.empty())
        check_.findings.push_back(
            {false, suites_.begin()->first.first, fmt::format("completeness not checked: {}", error.what())});
      return;
    }
    for (const auto& [key, records] : suites_) {
      const auto& [root, suite] = key;
      if (std::find(known.begin(), known.end(), suite) == known.end()) {
        const std::string where = (config_root() / "suites").string();
        check_.findings.push_back(
            {false, root, fmt::format("completeness not checked: no suite '{}' in {}", suite, where)});
        continue;
      }
      check_suite(root, suite, records);
    }
  }

  void check_suite(const fs::path& root, const std::string& suite, std::map<fs::path, const Result*> records) {
    const std::string origin = fmt::format("configs/suites/{}.json", suite);
    // Whoever runs a suite chooses these for the machine.
    const std::set<std::string> machine = {"data_dir",           "threads",          "device", "memory_limit_gb",
                                           "time_limit_minutes", "checkpoint_every", "summary"};
    for (const LayeredJson& layers : expand_config(named_config("suites", suite), origin, Json::object())) {
      Json wanted = RunConfig().to_json();
      wanted.update(layers.json());
      const fs::path place = place_of(wanted), folder = root / place;
      const auto found = records.find(place);
      if (found == records.end()) {
        const fs::path whole = fs::weakly_canonical(folder);  // as the given folders are
        const auto below = [&](const fs::path& given) {
          return std::mismatch(given.begin(), given.end(), whole.begin(), whole.end()).first == given.end();
        };
        const bool asked_for = std::any_of(folders_.begin(), folders_.end(), below);
        const char* what = fs::exists(folder / "config.json") ? "was begun and has no record" : "is missing";
        if (asked_for && !fs::exists(folder / "result.json"))
          check_.findings.push_back({!options_.partial, folder, fmt::format("{} ({})", what, origin)});
        continue;
      }
      record_ = found->second;
      records.erase(found);
      std::vector<std::string> differences;
      for (const auto& [key, value] : layers.json().items()) {
        const bool resolved_later = key == "black_pixels" && value == "official";
        if (machine.count(key) != 0 || resolved_later || !record_->config.contains(key)) continue;
        compare_settings(value, record_->config[key], key, differences);
      }
      if (!differences.empty())
        warning("other settings than in " + origin,
                fmt::format("other settings than in {}: {}", origin, fmt::join(differences, ", ")));
    }
    for (const auto& [place, record] : records) {
      record_ = record;
      warning("", fmt::format("not in {}", origin));
    }
  }

  const CheckOptions& options_;
  const Collection collection_;
  std::vector<fs::path> folders_;
  Check check_;
  const Result* record_ = nullptr;  ///< the one being checked
  Json json_;
  std::map<std::vector<std::string>, std::pair<std::string, fs::path>> hashes_;  ///< and the record that said it first
  std::map<fs::path, std::string> actual_hashes_;
  std::map<std::pair<fs::path, std::string>, std::map<fs::path, const Result*>>
      suites_;  ///< of a folder and a suite: records by place
};

}  // namespace

std::size_t Check::problems() const {
  return static_cast<std::size_t>(
      std::count_if(findings.begin(), findings.end(), [](const Finding& finding) { return finding.problem; }));
}

Check check(const std::vector<fs::path>& folders, const CheckOptions& options) {
  return Checker(folders, options).run();
}

}  // namespace lra::report
