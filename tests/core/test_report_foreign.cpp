// Files of others: nothing in them stops the report, leaves its folder or runs on somebody's machine.
#include <fmt/format.h>
#include <sys/wait.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <regex>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/report_records.h"
#include "report/atlas.h"
#include "report/check.h"
#include "report/find_files.h"
#include "report/page.h"
#include "report/report.h"

namespace {

using namespace lra;
using namespace lra::report;
using namespace lra::report::testing;
using Catch::Matchers::ContainsSubstring;

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

Json small_atlas() {
  const Json point = {{"n", 16}, {"flops", 320}, {"masked_flops", 160}, {"softmax_flops", 160}};
  const Json mixer = {{"mixer", "linear"},
                      {"variant", "linear"},
                      {"display_name", "Linear"},
                      {"family", "kernel"},
                      {"paper", {{"title", "A paper"}, {"arxiv", "1234.5678"}}},
                      {"formula", "Q K V"},
                      {"cost", "N d"},
                      {"options", {{"features", 16}}},
                      {"kind", "weights"},
                      {"reach", {{"layers_tried", 3}, {"all", nullptr}, {"cls", 2}}},
                      {"flops", {{"points", {point}}, {"below_softmax_from", nullptr}}},
                      {"maps", {{{"label", "head 1"}, {"rows", {{0, 1}, {1, 0.5}}}}}}};
  return {{"schema_version", 1},
          {"n", 2},
          {"seed", 0},
          {"d_model", 64},
          {"num_heads", 1},
          {"input", "x"},
          {"flops_model", {{"d_model", 64}, {"num_heads", 2}}},
          {"mixers", {mixer}}};
}

/// Everything below a folder, with the size of files.
std::set<std::string> tree(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    names.insert(entry.path().lexically_relative(folder).string());
  return names;
}

}  // namespace

TEST_CASE("a foreign atlas.json is refused by name, whatever stands where", "[report]") {
  parse_atlas(small_atlas(), "x/atlas.json");  // this one is good
  const std::pair<const char*, Json> faults[] = {{"/n", 4294967296},
                                                 {"/n", 0},
                                                 {"/n", -2},
                                                 {"/n", 2.5},
                                                 {"/n", 1e300},
                                                 {"/n", "2"},
                                                 {"/n", Json::array()},
                                                 {"/seed", -1},
                                                 {"/d_model", 0},
                                                 {"/num_heads", 18446744073709551615u},
                                                 {"/input", 3},
                                                 {"/flops_model", nullptr},
                                                 {"/flops_model/num_heads", 0},
                                                 {"/mixers", {{"a", 1}}},
                                                 {"/mixers", Json::array()},
                                                 {"/mixers/0", "linear"},
                                                 {"/mixers/0/maps", Json::array()},
                                                 {"/mixers/0/maps/0/rows/1/0", nullptr},
                                                 {"/mixers/0/maps/0/rows/1/0", "1"},
                                                 {"/mixers/0/maps/0/rows", {{1, 2}}},
                                                 {"/mixers/0/maps/0/rows/0", 7},
                                                 {"/mixers/0/flops/points/0/n", 0},
                                                 {"/mixers/0/flops/points/0/flops", 0},
                                                 {"/mixers/0/flops/points/0/flops", -5},
                                                 {"/mixers/0/flops/points/0/softmax_flops", 1e305},
                                                 {"/mixers/0/flops/points", {1, 2}},
                                                 {"/mixers/0/reach/layers_tried", -1},
                                                 {"/mixers/0/reach/all", "all"},
                                                 {"/mixers/0/paper", "Linear"},
                                                 {"/mixers/0/options", {1, 2}},
                                                 {"/mixers/0/display_name", std::string(3000, 'x')},
                                                 {"/mixers/0/family", {{"a", 1}}},
                                                 {"/mixers/0/flops/below_softmax_from", -1}};
  for (const auto& [place, value] : faults) {
    Json atlas = small_atlas();
    atlas[Json::json_pointer(place)] = value;
    INFO(place << " = " << value.dump().substr(0, 40));
    CHECK_THAT(error_of([&] { parse_atlas(atlas, "x/atlas.json"); }), ContainsSubstring("x/atlas.json: /"));
  }
  // What is odd and no fault is drawn.
  Json odd = small_atlas();
  odd["n"] = 2.0;
  odd["mixers"][0]["flops"]["points"] = Json::array();
  odd["mixers"][0]["maps"][0]["rows"] = {{0, 0}, {0, -1e30}};
  odd["mixers"][0]["family"] = "of my own";
  const std::string html = atlas_page(parse_atlas(odd, "x"), "");
  CHECK_THAT(html, ContainsSubstring("of my own") && !ContainsSubstring("nan"));
  const Json domain = cost_chart(parse_atlas(odd, "x"))["layer"][0]["encoding"]["x"]["scale"]["domain"];
  CHECK((domain.at(0).is_number() && domain.at(0) < domain.at(1)));
}

TEST_CASE("a report writes only below its folder", "[report]") {
  const TemporaryFolder folder;
  Json atlas = small_atlas();
  atlas["mixers"].push_back(atlas["mixers"][0]);
  atlas["mixers"].push_back(atlas["mixers"][0]);
  atlas["mixers"][0]["variant"] = "../../x";
  atlas["mixers"][1]["variant"] = "/tmp/lra_report_absolute";
  atlas["mixers"][2]["variant"] = "atlas";
  atlas["mixers"][2]["mixer"] = "$(touch pwned)";
  write_json(folder.path / "runs/atlas.json", atlas);
  Json record = train_record("linear", 0, 0.3);
  for (const char* key : {"suite", "variant", "profile", "mixer", "task"}) record[key] = std::string("../../") + key;
  record["display_name"] = "../../../x";
  write_json(folder.path / "runs/a/result.json", record);
  write_json(folder.path / "runs/b/result.json", bench_record("../x", 1024, 10, 500));
  // An earlier report's list that names files of others.
  write_file_atomically(folder.path / "deep/out/mine.csv", "mine");
  write_json(folder.path / "deep/out/lra_report_files.json",
             {{"written_by", "lra-report"}, {"files", {"mine.csv", "../mine.csv", "charts/../mine.csv", 3}}});
  write_file_atomically(folder.path / "deep/mine.csv", "mine");
  std::set<std::string> before = tree(folder.path);
  write_report({{folder.path / "runs"}, folder.path / "deep/out", 0, false, 0});
  for (const std::string& name : tree(folder.path)) {
    if (before.count(name) == 0) CHECK(name.starts_with("deep/out/"));
    before.erase(name);
  }
  CHECK(before.empty());  // and nothing of others is gone
  CHECK_FALSE(fs::exists("/tmp/lra_report_absolute.svg"));
  const std::string page = read_file(folder.path / "deep/out/atlas.html");
  CHECK_THAT(page, ContainsSubstring("lra-run atlas --mixer &#39;$(touch pwned)&#39;"));
  CHECK(read_file(folder.path / "deep/out/atlas.svg").find("Who reads whom") != std::string::npos);
  // Each picture that the page links to is there.
  const std::regex link("<a href=\"([^\"#:]*\\.svg)\">");
  for (std::sregex_iterator one(page.begin(), page.end(), link), end; one != end; ++one)
    CHECK(fs::exists(folder.path / "deep/out" / (*one)[1].str()));
}

TEST_CASE("a report replaces links in its folder and never follows them", "[report]") {
  const TemporaryFolder folder;
  write_json(folder.path / "runs/result.json", train_record("linear", 0, 0.3));
  write_json(folder.path / "runs/atlas.json", small_atlas());
  const ReportOptions options{{folder.path / "runs"}, folder.path / "out", 0, false, 0};
  write_report(options);
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(options.out)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  REQUIRE(files.size() > 10);
  for (const fs::path& file : files) {
    const fs::path outside = folder.path / "outside" / file.filename();
    write_file_atomically(outside,
                          file.extension() == ".html" || file.extension() == ".json" ? read_file(file) : "mine");
    fs::remove(file);
    fs::create_symlink(outside, file);
  }
  std::map<fs::path, std::string> before;
  for (const auto& entry : fs::directory_iterator(folder.path / "outside"))
    before[entry.path()] = read_file(entry.path());
  write_json(folder.path / "runs/more/result.json", train_record("fnet", 0, 0.4));
  write_report(options);
  for (const auto& [file, text] : before) CHECK(read_file(file) == text);
  for (const fs::path& file : files) CHECK_FALSE(fs::is_symlink(file));
  CHECK_THAT(read_file(options.out / "index.html"), ContainsSubstring("2 records"));

  fs::rename(options.out / "tables", folder.path / "elsewhere");
  fs::create_directory_symlink(folder.path / "elsewhere", options.out / "tables");
  CHECK_THAT(error_of([&] { write_report(options); }), ContainsSubstring("out/tables: is a link"));
  // The folder itself is the user's choice.
  fs::create_directory_symlink(folder.path / "chosen", folder.path / "link");
  fs::create_directories(folder.path / "chosen");
  write_report({{folder.path / "runs"}, folder.path / "link", 0, false, 0});
  CHECK(fs::exists(folder.path / "chosen/index.html"));
}

TEST_CASE("a page of others is written over with --force alone", "[report]") {
  const TemporaryFolder folder;
  write_json(folder.path / "runs/result.json", train_record("linear", 0, 0.3));
  ReportOptions options{{folder.path / "runs"}, folder.path / "out", 0, false, 0};
  write_file_atomically(options.out / "index.html", "<title>My site</title>");
  CHECK_THAT(error_of([&] { write_report(options); }),
             ContainsSubstring("out/index.html: was not written by lra-report"));
  CHECK(tree(options.out) == std::set<std::string>{"index.html"});
  options.force = true;
  write_report(options);
  options.force = false;
  write_report(options);  // now it is its own
  CHECK_THAT(read_file(options.out / "index.html"), ContainsSubstring("Long Range Arena report"));
}

TEST_CASE("runs behind links are found, each once, and loops end", "[report]") {
  const TemporaryFolder folder;
  write_json(folder.path / "far/run/result.json", train_record("linear", 0, 0.3));
  fs::create_directories(folder.path / "tree/own");
  write_json(folder.path / "tree/own/result.json", train_record("fnet", 0, 0.3));
  fs::create_directory_symlink(folder.path / "far", folder.path / "tree/a_link");
  fs::create_directory_symlink(folder.path / "far/run", folder.path / "tree/second_link");
  fs::create_directory_symlink(folder.path / "tree", folder.path / "tree/loop");
  fs::create_directory_symlink(folder.path / "tree/own", folder.path / "far/run/back");
  fs::create_symlink("nowhere", folder.path / "tree/broken");
  fs::create_symlink("itself", folder.path / "tree/itself");
  const auto collection = collect({folder.path / "tree"});
  CHECK(collection.results.size() == 2);
  CHECK(collection.broken.empty());
  std::set<std::string> names;
  for (const Result& result : collection.results) names.insert(result.file.lexically_relative(folder.path).string());
  CHECK(names == std::set<std::string>{"tree/a_link/run/result.json",
                                       "tree/own/result.json"});  // its own path, where it has one
  CHECK(collect({folder.path / "tree/loop/loop"}).results.size() == 2);
}

TEST_CASE("foreign records are refused by name, and the others are reported", "[report]") {
  const TemporaryFolder folder;
  const std::pair<const char*, Json> faults[] = {{"/sequence_length", 18446744073709551615u},
                                                 {"/seed", 1e300},
                                                 {"/memory/peak_tensor_bytes", 1e30},
                                                 {"/memory/peak_tensor_bytes", -1},
                                                 {"/speed/train_examples_per_second/median", 1e300},
                                                 {"/speed/train_examples_per_second/median", 1e-300},
                                                 {"/speed/disturbed", 3},
                                                 {"/data/incomplete", Json::array()},
                                                 {"/wall_seconds", "long"},
                                                 {"/display_name", std::string(1000, 'x')},
                                                 {"/config", 3},
                                                 {"/metrics/reference_levels/chance", 7}};
  write_json(folder.path / "good/result.json", train_record("fnet", 0, 0.3));
  for (const auto& [place, value] : faults) {
    Json record = train_record("linear", 0, 0.3);
    record[Json::json_pointer(place)] = value;
    write_json(folder.path / "bad/result.json", record);
    INFO(place << " = " << value.dump().substr(0, 40));
    const auto collection = collect({folder.path});
    CHECK(collection.results.size() == 1);
    REQUIRE(collection.broken.size() == 1);
    CHECK_THAT(collection.broken[0], ContainsSubstring("bad/result.json: /"));
  }
  // Values that may be there: nothing falls over them, in the report and in check.
  const Json wild[] = {1e15,
                       -1,
                       0,
                       "",
                       "=1+1",
                       Json::array(),
                       Json::object(),
                       {{"seq_len", 3}},
                       nullptr,
                       true,
                       std::string(100000, 'y'),
                       Json(std::vector<int>(100000, 1))};
  for (const Json& value : wild) {
    Json record = train_record("linear", 0, 0.3), bench = bench_record("linear", 1024, 1, 1);
    for (const char* key : {"seq_len", "train_steps", "batch_size", "limit", "mixer_options", "precision", "eval_every",
                            "num_layers", "d_model"})
      record["config"][key] = bench["config"][key] = value;
    record["host"]["cpu"] = record["host"]["threads"] = record["build"]["revision"] = record["data"]["generator"] =
        record["data"]["train"] = record["notes"] = value;
    record["metrics"]["selected_step"] = record["metrics"]["steps_done"] = 1;
    record["data"]["generator"] = {{"min_length", value}, {"max_length", value}, {"seed", value}};
    write_json(folder.path / "bad/result.json", record);
    write_json(folder.path / "bench/result.json", bench);
    write_json(folder.path / "bench/profile.json",
               {{"seconds_per_step", value}, {"limits", value}, {"operators", value}});
    write_file_atomically(folder.path / "bad/metrics.jsonl",
                          "[]\n3\n{\"step\":1e300,\"split\":\"valid\",\"accuracy\":0.1}\n{\"step\":-5,\"split\":"
                          "\"valid\",\"accuracy\":0.1}\n"
                          "{\"step\":1,\"split\":\"valid\",\"accuracy\":0.1,\"loss\":1e14}\n{\"step\":2,\"split\":"
                          "\"valid\",\"accuracy\":0.1,\"loss\":1e14}\n"
                          "{\"step\":1,\"split\":\"train\",\"accuracy\":0.1,\"loss\":1e14}\n{\"step\":2,\"split\":"
                          "\"train\",\"accuracy\":0.1,\"loss\":1e14}\n" +
                              std::string(100000, '['));
    INFO(value.dump().substr(0, 40));
    CHECK_NOTHROW(write_report({{folder.path}, folder.path / "out", 0, false, 0, true}));
    CHECK(fs::file_size(folder.path / "out/index.html") < 10'000'000);
    CHECK_NOTHROW(check({folder.path}, {}));
    CHECK_NOTHROW(check_text(check({folder.path}, {}), true));
  }
}

TEST_CASE("what a shell reads of a page's commands is data", "[report]") {
  const TemporaryFolder folder;
  for (const std::string evil : {"x; touch pwned", "$(touch pwned)", "`touch pwned`", "a' ; touch pwned; '",
                                 "\n touch pwned", "\\'; touch pwned #", "\xff; touch pwned"}) {
    Json record = train_record("linear", 3, 0.3);
    const std::string text = evil[0] == '\xff' ? "x" : evil;  // JSON has no such bytes, names of folders do
    record["task"] = record["build"]["revision"] = record["config"]["data_dir"] = text;
    record["data"] = {{"generator", {{"seed", text}, {"train", {{"a", text}}}, {"max_args", 6}}}};
    const Result result = parse_result(record, folder.path / evil / "result.json");
    std::string commands = regenerating_commands(result);
    for (const std::string program :
         {"build/release/bin/lra-run", "build/release/bin/lra-report", "scripts/setup.sh", "git"}) {
      for (std::size_t at = 0; (at = commands.find(program + " ", at)) != std::string::npos;)
        commands.replace(at, program.size(), "printf '%s|'");
    }
    INFO(commands);
    write_file_atomically(folder.path / "script", "cd " + folder.path.string() + "\n" + commands);
    CHECK(std::system(
              ("bash " + (folder.path / "script").string() + " > " + (folder.path / "said").string()).c_str()) == 0);
    CHECK_FALSE(fs::exists(folder.path / "pwned"));
    CHECK_THAT(read_file(folder.path / "said"), ContainsSubstring((folder.path / evil).string() + "|runs/again"));
  }
}

TEST_CASE("names that are not UTF-8 work to the end", "[report]") {
  const TemporaryFolder folder;
  const fs::path runs = folder.path / "runs\xff", out = folder.path / "out\xfe";
  write_json(runs / "a/result.json", train_record("linear", 0, 0.3));
  write_json(runs / "b/result.json", train_record("linear", 0, 0.4));  // repeats a seed: is named in a note
  write_file_atomically(runs / "c/result.json", "{");
  const auto notes = write_report({{runs}, out, 0, false, 0});
  CHECK_THAT(notes.at(0), ContainsSubstring("runs\\xff/c/result.json:1:2: broken JSON"));
  const auto valid = [](const std::string& text) {
    return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace).find("\xef\xbf\xbd") == std::string::npos;
  };
  CHECK_FALSE(valid("\xff"));
  for (const char* name : {"index.html", "tables/accuracy.md", "tables/accuracy.csv", "tables/accuracy.tex"}) {
    INFO(name);
    CHECK(valid(read_file(out / name)));
  }
  CHECK_THAT(check_text(check({runs}, {}), true), ContainsSubstring("runs\\xff/c/result.json"));
}

TEST_CASE("every id of a page is there once", "[report]") {
  const TemporaryFolder folder;
  for (const char* mixer : {"softmax", "linear"}) {
    write_json(folder.path / mixer / "result.json", train_record(mixer, 0, 0.3));
    write_json(folder.path / mixer / "bench/result.json", bench_record(mixer, 1024, 10, 500));
    write_json(folder.path / mixer / "bench/profile.json",
               {{"seconds_per_step", 0.1},
                {"limits", {{"float32_flops", 1e11}, {"copy_bytes", 1e10}, {"first_touch_bytes", 1e9}}},
                {"operators", {{{"flops", 1e9}, {"bytes", 1e8}}}}});
  }
  write_json(folder.path / "atlas.json", small_atlas());
  write_report({{folder.path}, folder.path / "out", 0, false, 0});
  for (const char* name : {"index.html", "atlas.html"}) {
    const std::string html = read_file(folder.path / "out" / name), page = html.substr(0, html.find("<script>"));
    const std::regex id(" id=\"([^\"]*)\"");
    std::set<std::string> ids;
    for (std::sregex_iterator one(page.begin(), page.end(), id), end; one != end; ++one) {
      INFO(name << ": " << (*one)[1]);
      CHECK(ids.insert((*one)[1]).second);
    }
    CHECK(ids.count(name == std::string("index.html") ? "figure-roofline" : "mechanism-linear") == 1);
  }
}

TEST_CASE("watch says when its last page was not written", "[report]") {
  const TemporaryFolder folder;
  write_json(folder.path / "runs/result.json", train_record("linear", 0, 0.3));
  write_file_atomically(folder.path / "out", "a file, where a folder is asked for");
  const std::string command = "timeout --preserve-status --signal=INT 2 " LRA_BIN_DIR "/lra-report watch " +
                              (folder.path / "runs").string() + " -o " + (folder.path / "out").string() +
                              " --every 1 > " + (folder.path / "log").string() + " 2>&1";
  CHECK(WEXITSTATUS(std::system(command.c_str())) == 2);
  CHECK_THAT(read_file(folder.path / "log"),
             ContainsSubstring("not written: ") && ContainsSubstring("error: the last page was not written: "));
}

TEST_CASE("a report that is stopped leaves the page before it", "[report]") {
  const TemporaryFolder folder;
  write_json(folder.path / "runs/result.json", train_record("linear", 0, 0.3));
  ReportOptions options{{folder.path / "runs"}, folder.path / "out", 0, false, 0};
  write_report(options);
  const std::string before = read_file(options.out / "index.html");
  write_json(folder.path / "runs/more/result.json", train_record("fnet", 0, 0.3));
  int asked = 0, all = 0;
  options.stopped = [&] { return ++all < 0; };
  write_report(options);
  CHECK(all > 20);  // so often that nobody waits
  write_json(folder.path / "runs/more/result.json", train_record("gmlp", 0, 0.3));
  for (const int after : {1, 5, all - 1}) {
    asked = 0;
    options.stopped = [&] { return ++asked >= after; };
    CHECK_THROWS(write_report(options));
    CHECK(asked == after);
    CHECK_THAT(read_file(options.out / "index.html"), ContainsSubstring("2 records") && !ContainsSubstring("gmlp"));
  }
  CHECK(before != read_file(options.out / "index.html"));
}
