#include "report/check_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>

#include "core/error.h"
#include "core/sha256.h"
#include "core/text.h"
#include "report/compare.h"
#include "report/find_files.h"
#include "report/json_access.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

/// Shorter where the file is below the working directory.
std::string near(const fs::path& file) {
  const fs::path relative = file.lexically_relative(fs::current_path());
  return shown(relative.empty() || relative.begin()->string() == ".." ? file : relative);
}

}  // namespace

std::vector<std::string> check_files(const Json& record, const fs::path& folder) {
  const Json* files = find(record, "/files");
  if (files == nullptr) return {};
  if (!files->is_object()) return {"/files: expected an object"};
  std::vector<std::string> problems;
  for (const auto& [name, entry] : files->items()) {
    const std::string text = printable(name);
    if (fs::path(name).filename() != fs::path(name) || name.empty() || name == "..") {
      problems.push_back(fmt::format("/files names '{}', which is no file beside it", text));
      continue;
    }
    const bool complete = entry.is_object() && entry.contains("bytes") && entry["bytes"].is_number_integer() &&
                          entry["bytes"] >= 0 && entry.contains("sha256") && entry["sha256"].is_string();
    if (!complete) {
      problems.push_back(fmt::format("/files/{} lacks bytes or sha256", text));
      continue;
    }
    std::error_code code;
    const bool regular = fs::is_regular_file(folder / name, code);
    const auto bytes = regular ? fs::file_size(folder / name, code) : 0;
    if (!regular && fs::path(name).extension() == ".safetensors")
      continue;  // records are handed on without their weights
    if (!regular || code) {
      problems.push_back(fmt::format("{}, for which the record vouches, is missing", text));
    } else if (bytes != entry["bytes"].get<std::uintmax_t>()) {
      problems.push_back(fmt::format("{} has {} bytes, the record says {}", text, bytes, entry["bytes"].dump()));
    } else if (const std::string hash = sha256_file(folder / name); hash != entry["sha256"].get<std::string>()) {
      problems.push_back(
          fmt::format("{} has SHA-256 {}, the record says {}", text, hash, entry["sha256"].get<std::string>()));
    }
  }
  return problems;
}

std::vector<Finding> check_quality(const Result& result) {
  std::vector<Finding> findings;
  const auto warn = [&](const std::string& kind, const std::string& text) {
    findings.push_back({false, {}, text, kind});
  };
  if (trained_beside_another(result))
    warn("a run trained beside others of its suite: compare speeds by the benches", result.disturbed);
  else if (!result.disturbed.empty())
    warn("a speed that is not to be trusted", fmt::format("its speed is not to be trusted: {}", result.disturbed));
  if (!result.incomplete.empty()) warn("incomplete data", fmt::format("incomplete data: {}", result.incomplete));
  if (const auto shares = cut_shares(result); !shares.empty()) warn("sequences that seq_len cuts", cut_text(shares));
  return findings;
}

std::vector<std::string> check_values(const Json& record) {
  std::vector<std::string> problems;
  const auto range = [&](const std::string& place, double low, double high) {
    const Json* value = find(record, place);
    if (value == nullptr) return;
    if (value->is_number() && value->get<double>() >= low && value->get<double>() <= high) return;
    problems.push_back(fmt::format("{} is {}, expected a number from {:g} to {:g}", place, value->dump(), low, high));
  };
  for (const char* split : {"train", "valid", "test"}) range(fmt::format("/data/{}/cut_share", split), 0, 1);
  range("/host/threads", 1, 1e6);
  range("/host/cores", 1, 1e6);
  for (const char* when : {"before", "during"}) range(fmt::format("/host/load/{}", when), 0, 1e6);
  for (const char* place : {"/speed/disturbed", "/data/incomplete"}) {
    const Json* value = find(record, place);
    if (value != nullptr && (!value->is_string() || value->get<std::string>().empty()))
      problems.push_back(fmt::format("{} is {}, expected a text", place, value->dump()));
  }
  return problems;
}

std::vector<std::string> check_curve(const Result& result, const Json& record) {
  std::vector<std::string> problems;
  const auto problem = [&](const std::string& sentence) { problems.push_back(sentence); };
  const auto only = [](const std::string& sentence) { return std::vector{sentence}; };
  const fs::path file = result.file.parent_path() / "metrics.jsonl";
  std::ifstream in(file);
  if (!in || !fs::is_regular_file(file)) return only("metrics.jsonl is missing beside it");
  std::int64_t last_step = 0, number = 0;
  std::optional<double> valid;
  const bool best = text(record, "/config/selection") == "best_valid";
  Json line;
  for (std::string content; std::getline(in, content);) {
    ++number;
    line = Json::parse(content, nullptr, false);
    const Json* accuracy = line.is_object() ? find(line, "/accuracy") : nullptr;
    if (accuracy == nullptr || !accuracy->is_number() || !integer(line, "/step") || text(line, "/split").empty()) {
      return only(fmt::format("metrics.jsonl:{}: no line with step, split and accuracy", number));
    }
    last_step = std::max(last_step, *integer(line, "/step"));
    if (text(line, "/split") == "valid")
      valid = best ? std::max(valid.value_or(0), accuracy->get<double>()) : accuracy->get<double>();
  }
  const auto differ = [](double a, double b) { return std::abs(a - b) > 1e-12; };
  if (result.steps_done && last_step != *result.steps_done)
    problem(fmt::format("metrics.jsonl ends with step {}, the record with {}", last_step, *result.steps_done));
  if (number == 0) return problems;
  if (text(line, "/split") != "test") {
    problem("metrics.jsonl does not end with the test");
    return problems;
  }
  if (integer(line, "/step") != integer(record, "/metrics/selected_step"))
    problem(fmt::format("metrics.jsonl says that step {} was tested", line["step"].dump()));
  if (result.test_accuracy && differ(line["accuracy"].get<double>(), *result.test_accuracy)) {
    problem(fmt::format("test accuracy {}, in metrics.jsonl {}", *result.test_accuracy, line["accuracy"].dump()));
  }
  if (valid && result.valid_accuracy && differ(*valid, *result.valid_accuracy)) {
    problem(fmt::format("validation accuracy {}, in metrics.jsonl {}", *result.valid_accuracy, *valid));
  }
  return problems;
}

std::vector<Finding> check_parameters(const std::vector<Result>& results) {
  std::vector<Finding> findings;
  using Sizes = std::vector<std::string>;
  const auto sizes_of = [](const Result& result) {
    Sizes sizes = {result.kind, result.task, result.profile};
    for (const char* key : {"seq_len", "vocab_size", "num_layers", "d_model", "d_qkv", "d_ff", "num_heads", "pooling",
                            "positions", "pixels", "attention_bias", "pair_head", "pair_hidden_layers"}) {
      sizes.push_back(result.config.contains(key) ? result.config[key].dump() : "");
    }
    return sizes;
  };
  std::map<Sizes, std::int64_t> transformers;
  for (const Result& result : results) {
    if (result.mixer == "softmax" && result.parameters) transformers.emplace(sizes_of(result), *result.parameters);
  }
  for (const Result& result : results) {
    const auto transformer = transformers.find(sizes_of(result));
    if (transformer == transformers.end() || !result.parameters) continue;
    if (10 * *result.parameters <= 11 * transformer->second) continue;
    findings.push_back(
        {false, result.file,
         fmt::format("{} parameters, the Transformer of its sizes has {}: over the 10 % more that LRA allows",
                     *result.parameters, transformer->second),
         "over the 10 % more parameters than the Transformer of its sizes that LRA allows"});
  }
  return findings;
}

std::string check_text(const Check& check, bool all) {
  constexpr std::size_t examples = 2;
  std::string lines;
  std::map<std::string, std::vector<const Finding*>> kinds;
  for (const Finding& finding : check.findings) {
    if (finding.problem || all)
      lines += fmt::format("{}: {}: {}\n", finding.problem ? "problem" : "warning", near(finding.file),
                           printable(finding.text));
    else
      kinds[finding.kind.empty() ? finding.text : finding.kind].push_back(&finding);
  }
  for (const auto& [kind, same] : kinds) {
    if (same.size() == 1) {
      lines += fmt::format("warning: {}: {}\n", near(same[0]->file), printable(same[0]->text));
      continue;
    }
    lines += fmt::format("warning: {} times {}, for example\n", same.size(), printable(kind));
    for (std::size_t i = 0; i < std::min(examples, same.size()); ++i)
      lines += fmt::format("  {}: {}\n", near(same[i]->file), printable(same[i]->text));
  }
  const bool shortened = !all && kinds.size() + check.problems() < check.findings.size();
  return lines + fmt::format("{} records: {} problems, {} warnings{}\n", check.records, check.problems(),
                             check.findings.size() - check.problems(), shortened ? " (--all lists them)" : "");
}

}  // namespace lra::report
