#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "core/config.h"
#include "core/config_files.h"
#include "core/config_reader.h"
#include "core/error.h"
#include "core/file_lock.h"
#include "core/record.h"
#include "core/suggest.h"

using namespace lra;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return std::string(error.what()) + " | " + error.hint();
  }
  return "no error";
}

struct Options {
  std::int64_t width = 3;
  double rate = 0.5;
  bool wide = false;
  std::string form = "round";
  void describe(FieldVisitor& fields) {
    fields.integer("width", width, {1, 9}, "a width");
    fields.number("rate", rate, fraction, "a rate");
    fields.boolean("wide", wide, "a switch");
    fields.choice("form", form, {"round", "square"}, "a form");
  }
};

std::string error_of(const char* json) {
  return message_of([&] { from_json_object<Options>(Json::parse(json), "file.json"); });
}

}  // namespace

TEST_CASE("options are read, and every wrong value names its file and place", "[config]") {
  const auto options =
      from_json_object<Options>(Json::parse(R"({"width": 4, "rate": 1, "wide": true, "form": "square" })"), "f");
  CHECK((options.width == 4 && options.rate == 1.0 && options.wide && options.form == "square"));
  CHECK(error_of(R"({"widht": 4})") == "file.json: /widht: unknown key | did you mean 'width'?");
  CHECK(error_of(R"({"width": "4"})") == "file.json: /width: expected an integer, found \"4\" | ");
  CHECK(from_json_object<Options>(Json::parse(R"({"width": 4.0})"), "f").width == 4);
  CHECK(error_of(R"({"width": 1e300})") == "file.json: /width: expected an integer, found 1e+300 | ");
  CHECK(error_of(R"({"wide": "éééééééééééééééééééééééé"})") ==
        "file.json: /wide: expected true or false, found \"éééééééééééééééééé... | ");
  CHECK(error_of(R"({"width": 2.5})") == "file.json: /width: expected an integer, found 2.5 | ");
  CHECK(error_of(R"({"width": 10})") == "file.json: /width: expected an integer between 1 and 9, found 10 | ");
  CHECK(error_of(R"({"width": 18446744073709551615})") ==
        "file.json: /width: expected an integer between 1 and 9, found 18446744073709551615 | ");
  CHECK(error_of(R"({"rate": 1.5})") == "file.json: /rate: expected a number between 0 and 1, found 1.5 | ");
  CHECK(error_of(R"({"wide": 1})") == "file.json: /wide: expected true or false, found 1 | ");
  CHECK(error_of(R"({"form": "squar"})") ==
        "file.json: /form: expected one of round, square, found \"squar\" | did you mean 'square'?");
}

TEST_CASE("what is written is read back unchanged", "[config]") {
  Options options;
  options.width = 7;
  const Json json = to_json_object(options);
  CHECK(to_json_object(from_json_object<Options>(json, "f")) == json);
}

TEST_CASE("layers: later wins, objects merge, each value remembers its origin", "[config]") {
  LayeredJson layers;
  layers.merge(Json::parse(R"({"a": 1, "o": {"x": 1, "y": 2}})"), "first");
  layers.merge(Json::parse(R"({"o": {"y": 3}})"), "second");
  CHECK(layers.json() == Json::parse(R"({"a": 1, "o": {"x": 1, "y": 3}})"));
  CHECK(layers.origin("/a") == "first");
  CHECK(layers.origin("/o/x") == "second");  // the nearest that is known: the object was last touched there
  CHECK(layers.origin("/o/y") == "second");
  layers.merge(Json::parse(R"({"o": 5})"), "third");
  CHECK(layers.origin("/o/y") == "third");
}

TEST_CASE("overrides go down by dots, and are JSON or text", "[config]") {
  CHECK(parse_overrides({"a=1", "o.x=2.5", "o.y=true", "s=text", "l=[1,2]", "q=\"1\""}) ==
        Json::parse(R"({"a": 1, "o": {"x": 2.5, "y": true}, "s": "text", "l": [1, 2], "q": "1"})"));
  CHECK_THAT(message_of([] { parse_overrides({"a"}); }), ContainsSubstring("expected KEY=VALUE"));
  CHECK_THAT(message_of([] { parse_overrides({"a=1", "a.b=2"}); }), ContainsSubstring("expected a key"));
}

TEST_CASE("a key that is a text takes its override as it is", "[config]") {
  const auto value = [](const std::string& argument) { return parse_overrides({argument}).begin().value(); };
  CHECK(value("variant=123") == "123");
  CHECK(value("data_dir=2024") == "2024");
  CHECK(value("display_name=1e5") == "1e5");
  CHECK(value("suite=null") == "null");
  CHECK(value("device=[1]") == "[1]");
  CHECK(value("precision=5") == "5");
  CHECK(value("task=1.50") == "1.50");
  CHECK(value("data_dir=a=b") == "a=b");
  CHECK(value("data_dir=\xff") == "\xff");
  CHECK(value("variant=\"123\"") == "123");
  CHECK(value("variant=\"x") == "\"x");
  CHECK(value("variant=") == "");
  CHECK(value("seed=123") == 123);
  CHECK(value("learning_rate=nan") == "nan");  // which no number accepts
}

TEST_CASE("what a person mistypes on the command line is said", "[config]") {
  const auto problem = [](const std::vector<std::string>& arguments) {
    return message_of([&] { parse_overrides(arguments); });
  };
  CHECK(problem({"seed=1", "seed=2"}) == "the command line: the key seed is given twice | ");
  CHECK(problem({"seed=null", "seed=2"}) == "the command line: the key seed is given twice | ");
  CHECK(problem({"mixer_options.k=1", "mixer_options={\"k\": 2}"}) ==
        "the command line: the key mixer_options is given twice | ");
  CHECK(problem({"mixer_options={\"k\": 2}", "mixer_options.k=1"}) ==
        "the command line: the key mixer_options.k is given twice | ");
  CHECK_THAT(problem({"mixer_options={\"k\": 2"}),
             ContainsSubstring("the command line: mixer_options:1:8: broken JSON"));
  CHECK_THAT(problem({"seeds=" + std::string(100'000, '[')}), ContainsSubstring("nested more than 100 deep"));
  for (const char* key : {"a..b", ".a", "a.", "."})
    CHECK_THAT(problem({std::string(key) + "=1"}), ContainsSubstring("expected a key of letters"));
  CHECK(parse_overrides({"a/b=1", "c~d=2", "e.0=3"}) ==
        Json::parse(R"({"a/b": 1, "c~d": 2, "e": {"0": 3}})"));  // unknown keys, said later as they are
}

TEST_CASE("names that are not UTF-8 are written so that they can be read", "[config]") {
  RunConfig config;
  config.task.data_dir = "data\xff";
  config.display_name = "\xc3(";
  const Json json = config.to_json();
  CHECK(json["data_dir"] == "data\\xff");
  CHECK(json["display_name"] == "\\xc3(");
  CHECK_NOTHROW(json.dump());
}

TEST_CASE("broken JSON is said with line and column", "[config]") {
  CHECK(message_of([] { parse_json("{\n  \"a\": 1,\n  \"b\" 2\n}", "f.json"); }).rfind("f.json:3:7: broken JSON", 0) ==
        0);
  CHECK(message_of([] { parse_json("", "f.json"); }) ==
        "f.json:1:1: broken JSON: unexpected end of input; expected '[', '{', or a literal | there is nothing in it");
  CHECK(message_of([] {
          parse_json("{\"a\": 1, \"a\": 2}", "f.json");
        }).rfind("f.json: the key \"a\" is given twice", 0) == 0);
  CHECK(message_of([] { parse_json(std::string(1'000'000, '['), "f.json"); }) ==
        "f.json: objects and lists are nested more than 100 deep | ");
  CHECK(parse_json(std::string(99, '[') + "{\"a\": 1}" + std::string(99, ']'), "f.json").dump().size() == 205);
  CHECK_THAT(message_of([] { read_json("/nowhere/f.json"); }), ContainsSubstring("/nowhere/f.json: cannot be read"));
}

TEST_CASE("broken JSON is said with what was found, and what to do", "[config]") {
  const auto problem = [](std::string_view text) { return message_of([&] { parse_json(text, "f"); }); };
  CHECK(problem("{\"a\": 1,}") ==
        "f:1:9: broken JSON: unexpected '}'; expected string literal | remove the comma before it");
  CHECK_THAT(problem("[1,\n 2,\n]"), ContainsSubstring("f:3:1: broken JSON: unexpected ']'") &&
                                         ContainsSubstring("remove the comma before it"));
  for (const char* text : {"// a\n{}", "{ # a\n}", "{\"a\": 1 /* b */}"})
    CHECK_THAT(problem(text), ContainsSubstring("JSON has no comments"));
  for (const std::string_view text : {std::string_view("\xff\xfe{\0}\0", 6), std::string_view("\xfe\xff\0{\0}", 6),
                                      std::string_view("{\0}\0", 4), std::string_view("\0{\0}", 4)}) {
    CHECK_THAT(problem(text), ContainsSubstring("the text is UTF-16; save it as UTF-8"));
  }
  for (const char* text : {"{\"a\": True}", "{\"a\": None}", "[NaN]", "[nan]", "[-Infinity]"})
    CHECK_THAT(problem(text), ContainsSubstring("JSON knows true, false, null"));
  CHECK_THAT(problem("{'a': 1}"), ContainsSubstring("double quotes"));
  CHECK_THAT(problem("{\"a\": [1, 2"), ContainsSubstring("it ends too early"));
  CHECK_THAT(problem(" \n"), ContainsSubstring("there is nothing in it"));
  CHECK_THAT(problem("{\"a\": \"\xff\"}"), ContainsSubstring("ill-formed UTF-8 byte"));
  CHECK(problem("[\"" + std::string(100'000, 'x')).size() < 400);
  CHECK(parse_json("\xef\xbb\xbf{}", "f").empty());  // the mark of UTF-8
}

TEST_CASE("precedence of the layers of a run", "[config]") {
  const fs::path root = fs::temp_directory_path() / "lra_test_precedence";
  fs::remove_all(root);
  write_json(
      root / "tasks/t.json",
      Json::parse(
          R"({"task": "t", "defaults": {"seq_len": 1, "d_model": 1, "d_ff": 1, "num_layers": 1, "batch_size": 1, "seed": 1, "threads": 1}})"));
  write_json(root / "mixers/m.json",
             Json::parse(R"({"mixer": "m", "display_name": "M", "options": {"a": 1, "b": 1, "c": 1, "d": 1}})"));
  write_json(root / "profiles/p.json",
             Json::parse(
                 R"({"profile": "p", "defaults": {"d_model": 2, "d_ff": 2, "num_layers": 2, "batch_size": 2, "seed": 2},
    "tasks": {"t": {"d_ff": 3, "num_layers": 3, "batch_size": 3, "seed": 3,
      "mixers": {"m": {"num_layers": 4, "batch_size": 4, "seed": 4, "mixer_options": {"b": 4, "c": 4, "d": 4}}}}}})"));
  setenv("LRA_CONFIGS", root.c_str(), 1);
  const Json run = Json::parse(
      R"({"task": "t", "mixer": "m", "profile": "p", "batch_size": 5, "seed": 5, "mixer_options": {"c": 5, "d": 5}})");
  const auto layers = layer_run(run, "run.json", parse_overrides({"seed=6", "mixer_options.d=6"}));
  const auto no_such_mixer = message_of([&] { layer_run(run, "run.json", parse_overrides({"mixer=n"})); });
  const auto no_profile =
      message_of([&] { layer_run(Json::parse(R"({"task": "t", "mixer": "m"})"), "run.json", Json::object()); });
  unsetenv("LRA_CONFIGS");
  const Json& json = layers.json();
  CHECK(json["seq_len"] == 1);
  CHECK(json["d_model"] == 2);
  CHECK(json["d_ff"] == 3);
  CHECK(json["num_layers"] == 4);
  CHECK(json["batch_size"] == 5);
  CHECK(json["seed"] == 6);
  CHECK(json["mixer_options"] == Json::parse(R"({"a": 1, "b": 4, "c": 5, "d": 6})"));
  CHECK(layers.origin("/num_layers") == (root / "profiles/p.json").string());
  CHECK(layers.origin("/seed") == "the command line");
  CHECK(no_such_mixer == "unknown mixer 'n' | did you mean 'm'?");
  CHECK_THAT(no_profile, ContainsSubstring("run.json: the key \"profile\" is missing"));
  fs::remove_all(root);
}

TEST_CASE("a suite is the product of tasks, mixers and seeds, then its bench", "[config]") {
  setenv("LRA_CONFIGS", LRA_SOURCE_DIR "/configs", 1);
  const Json suite = Json::parse(
      R"({"suite": "s", "profile": "small", "tasks": [{"task": "listops", "seq_len": 99}], "mixers": ["linear", {"mixer": "local", "variant": "wide"}],
    "seeds": [0, 1], "train_steps": 7, "bench": {"lengths": [64, 128], "batch_sizes": [2]}})");
  const auto runs = expand_config(suite, "s.json", parse_overrides({"seeds=[3]", "train_steps=8"}));
  unsetenv("LRA_CONFIGS");
  REQUIRE(runs.size() == 6);
  std::set<std::string> seen;
  for (const auto& run : runs) {
    const Json& json = run.json();
    CHECK(json["train_steps"] == 8);
    CHECK(json["suite"] == "s");
    seen.insert(json["task"].get<std::string>() + " " + json["variant"].get<std::string>() + " " +
                json["seq_len"].dump() + " " + json["seed"].dump());
  }
  CHECK(seen == std::set<std::string>{"listops linear 99 3", "listops wide 99 3", "bytes linear 64 0",
                                      "bytes wide 64 0", "bytes linear 128 0", "bytes wide 128 0"});
}

TEST_CASE("the runs of a suite that differ in their seed are layered as each alone would be", "[config]") {
  setenv("LRA_CONFIGS", LRA_SOURCE_DIR "/configs", 1);
  const Json suite = Json::parse(
      R"({"suite": "s", "profile": "small", "tasks": ["listops"], "mixers": ["linear"], "seeds": [4, 0, 9]})");
  const auto runs = expand_config(suite, "s.json", parse_overrides({"train_steps=8"}));
  REQUIRE(runs.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const Json run = {
        {"suite", "s"}, {"profile", "small"}, {"task", "listops"}, {"mixer", "linear"}, {"seed", suite["seeds"][i]}};
    const auto alone = layer_run(run, "s.json", parse_overrides({"train_steps=8"}));
    CHECK(canonical(runs[i].json()) == canonical(alone.json()));
    CHECK(runs[i].origin("/seed") == "s.json");
    CHECK(runs[i].origin("/train_steps") == "the command line");
  }
  for (const auto& run : expand_config(suite, "s.json", parse_overrides({"seed=5"}))) {
    CHECK(run.json()["seed"] == 5);
    CHECK(run.origin("/seed") == "the command line");
  }
  unsetenv("LRA_CONFIGS");
}

TEST_CASE("a task of a suite may have mixers of its own; names on the command line choose the suite's entries",
          "[config]") {
  setenv("LRA_CONFIGS", LRA_SOURCE_DIR "/configs", 1);
  const Json suite = Json::parse(
      R"({"suite": "s", "profile": "small", "mixers": ["linear", {"mixer": "local", "variant": "wide", "mixer_options": {"window": 9}}],
    "tasks": [{"task": "listops", "seq_len": 99}, {"task": "text_standin", "seq_len": 77, "mixers": ["fnet"]}]})");
  const auto runs = [&](const std::vector<std::string>& overrides) {
    std::set<std::string> seen;
    for (const auto& run : expand_config(suite, "s.json", parse_overrides(overrides))) {
      const Json& json = run.json();
      CHECK_FALSE(json.contains("mixers"));
      seen.insert(json["task"].get<std::string>() + " " + json["variant"].get<std::string>() + " " +
                  json["seq_len"].dump());
    }
    return seen;
  };
  using Names = std::set<std::string>;
  CHECK(runs({}) == Names{"listops linear 99", "listops wide 99", "text_standin fnet 77"});
  CHECK(runs({"tasks=listops"}) == Names{"listops linear 99", "listops wide 99"});
  CHECK(runs({"mixers=local,none"}) ==
        Names{"listops wide 99", "listops none 99", "text_standin wide 77", "text_standin none 77"});
  CHECK(runs({"mixers=wide", "tasks=text_standin,image_standin"}) ==
        Names{"text_standin wide 77", "image_standin wide 1024"});
  unsetenv("LRA_CONFIGS");
}

TEST_CASE("median and interquartile range", "[config]") {
  const Measured m = measured({4, 1, 3, 2, 5});
  CHECK(m.median == 3);
  CHECK(m.spread == 2);
  CHECK(m.samples == std::vector<double>{4, 1, 3, 2, 5});
  CHECK(measured({1, 2}).median == 1.5);
  CHECK(measured(std::vector<double>(1000, 1.0)).samples.size() == 200);
  CHECK(measured(std::vector<double>(1000, 1.0)).count == 1000);
}

TEST_CASE("a folder is locked for one holder at a time", "[config]") {
  const fs::path folder = fs::temp_directory_path() / "lra_test_lock";
  {
    const auto first = FolderLock::try_lock(folder);
    CHECK(first.has_value());
    CHECK_FALSE(FolderLock::try_lock(folder).has_value());
  }
  CHECK(FolderLock::try_lock(folder).has_value());
  fs::remove_all(folder);
}

TEST_CASE("suggestions", "[config]") {
  CHECK(suggestion("linfomer", {"linear", "linformer"}) == "did you mean 'linformer'?");
  CHECK(suggestion("zzzz", {"linear", "local"}) == "known: linear, local");
  CHECK(suggestion("k", {}) == "it takes none");
}
