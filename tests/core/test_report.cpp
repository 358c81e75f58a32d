#include <fmt/format.h>

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/report_records.h"
#include "report/page.h"
#include "report/report.h"

namespace {

using namespace lra;
using namespace lra::report;
using namespace lra::report::testing;
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

std::string error_of(const std::vector<fs::path>& folders) {
  try {
    const auto broken = collect(folders).broken;
    if (!broken.empty()) return broken.front();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("records are collected, each once, and bad ones are named", "[report]") {
  const TemporaryFolder folder;
  CHECK_THAT(error_of({folder.path / "nowhere"}), ContainsSubstring("nowhere: no such folder"));
  CHECK_THAT(error_of({folder.path}), ContainsSubstring("no result.json"));
  write_json(folder.path / "deep/er/result.json", train_record("linear", 0, 0.3));
  write_json(folder.path / "deep/other.json", Json{{"schema_version", 9}});
  CHECK(collect({folder.path, folder.path / "deep/../deep"}).results.size() == 1);

  const fs::path bad = folder.path / "bad/result.json";
  const auto refused = [&](const Json& record) {
    write_json(bad, record);
    return error_of({folder.path});
  };
  Json record = train_record("linear", 1, 0.3);
  record["schema_version"] = 2;
  CHECK_THAT(refused(record),
             ContainsSubstring("bad/result.json") && ContainsSubstring("schema_version: expected 1, found 2"));
  record = train_record("linear", 1, 0.3);
  record["status"] = "great";
  CHECK_THAT(refused(record), ContainsSubstring("/status"));
  record = train_record("linear", 1, 0.3);
  record["metrics"]["test_accuracy"] = 30.0;
  CHECK_THAT(refused(record), ContainsSubstring("/metrics/test_accuracy: expected a fraction of 1"));
  write_file_atomically(bad, "{\"schema_version\": 1,,}");
  CHECK_THAT(error_of({folder.path}), ContainsSubstring("bad/result.json:1:") && ContainsSubstring("broken JSON"));
}

TEST_CASE("seeds are averaged and a single seed has the test set's standard error", "[report]") {
  Json dead = train_record("linear", 3, 0);
  dead["status"] = "nan";
  dead["metrics"] = Json::object();
  dead["data"] = Json::object();  // died before it read its data
  const auto groups = compare_scores(
      parse({train_record("linear", 0, 0.30), train_record("linear", 1, 0.34), train_record("linear", 2, 0.38), dead,
             train_record("linear", 2, 0.99), train_record("fnet", 0, 0.36)}),
      published());
  REQUIRE(groups.size() == 1);
  const auto& rows = groups[0].rows;
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].label == "The fnet");  // 36 beats 34
  CHECK(rows[0].test->error == Approx(100 * std::sqrt(0.36 * 0.64 / 2000)));
  CHECK(rows[0].test->error_kind == "binomial SE");
  CHECK(rows[1].test->mean == Approx(34));  // the second record of seed 2 is not counted
  CHECK(rows[1].test->error == Approx(4));
  CHECK(rows[1].test->error_kind == "sd over seeds");
  CHECK(rows[1].test->n == 3);
  CHECK(rows[1].published == 16.13);  // Table 1
  CHECK(rows[2].status == "nan");
  CHECK_FALSE(rows[2].test);
  CHECK(groups[0].reference_levels == std::vector<std::pair<std::string, double>>{{"chance", 10.0}});
  CHECK_THAT(groups[0].notes.back(), ContainsSubstring("r4 repeats seed 2"));
}

TEST_CASE("profiles, data, lengths, hosts and devices are never ranked together", "[report]") {
  std::vector<Json> records(10, train_record("linear", 0, 0.3));
  records[1]["profile"] = "lra-paper";
  records[2]["data"] = {{"test", "other"}};
  records[3]["config"]["seq_len"] = 1000;
  records[4]["config"]["limit"] = 100;
  records[5]["host"]["name"] = "b";
  records[6]["host"]["device"] = "NVIDIA H200";
  records[7]["config"]["precision"] = "bf16";
  records[8]["config"]["train_steps"] = 200;
  records[8]["config"]["precision"] = "float32";
  records[9]["config"]["batch_size"] = 64;
  const auto groups = compare_scores(parse(records), published());
  CHECK(groups.size() == 10);
  std::set<std::string> titles, names, slugs;
  for (const auto& group : groups) {
    titles.insert(group.title);
    names.insert(group.name);
    slugs.insert(group.slug);
  }
  CHECK(titles.size() == 10);
  CHECK(names.size() == 10);
  CHECK(slugs.size() == 10);
  // And the banner says in what they differ.
  const std::string banner = fmt::format("{}", fmt::join(sentences_of(parse(records)), "\n"));
  for (const char* what :
       {"profile: lra-paper, small", "ListOps was run on 2 different data sets", "length of ListOps: 1000, 2000",
        "LIMITED", "precision: bf16, float32", "host: a (NVIDIA H200)"}) {
    CHECK_THAT(banner, ContainsSubstring(what));
  }
  CHECK(remarks_on(parse({records[0], records[0]})).empty());

  // One variant with two configurations: two rows that say what differs, not an average, and a warning.
  records = {train_record("linear", 0, 0.3), train_record("linear", 1, 0.4)};
  records[0]["config"]["learning_rate"] = 0.1;
  records[1]["config"]["learning_rate"] = 0.2;
  const auto split = compare_scores(parse(records), published());
  REQUIRE(split.size() == 1);
  CHECK(row_of(split[0].rows, "The linear (learning_rate=0.2)").test->mean == Approx(40));
  CHECK(row_of(split[0].rows, "The linear (learning_rate=0.1)").test->mean == Approx(30));
  CHECK(split[0].warnings == std::vector<std::string>{"The rows differ in learning_rate: 0.1, 0.2."});
  records[1]["build"] = {{"revision", "b"}, {"dirty", true}};
  records[0]["build"] = {{"revision", "a"}, {"dirty", false}};
  records[0]["suite"] = "smoke";
  const std::string warnings =
      fmt::format("{}", fmt::join(compare_scores(parse(records), published()).at(0).warnings, "\n"));
  CHECK_THAT(warnings, ContainsSubstring("differ in program revision: a, b") && ContainsSubstring("uncommitted") &&
                           ContainsSubstring("SMOKE RUN"));
}

TEST_CASE("a variant has its display name where no other variant has it", "[report]") {
  std::vector<Json> records(4, train_record("local", 0, 0.3));
  records[1]["variant"] = "local_blocks";
  records[1]["display_name"] = "Local blocks";
  records[2]["variant"] = "local_wide";
  records[3]["variant"] = "local_narrow";
  const auto groups = compare_scores(parse(records), published());
  REQUIRE(groups.size() == 1);
  std::set<std::string> labels;
  for (const auto& row : groups[0].rows) labels.insert(row.label);
  CHECK(labels == std::set<std::string>{"The local", "Local blocks", "local_wide", "local_narrow"});
}

TEST_CASE("the chart joins scores with the longest bench length that all have", "[report]") {
  Json no_memory = bench_record("softmax", 4096, 0, 0);
  no_memory["status"] = "oom";
  no_memory["message"] = "limit";
  no_memory["speed"] = no_memory["memory"] = Json::object();
  std::vector<Json> elsewhere = {bench_record("softmax", 8192, 1000, 1), bench_record("linear", 8192, 1000, 1)};
  for (Json& record : elsewhere) record["host"]["name"] = "b";
  Json failed = train_record("local", 0, 0);
  failed["status"] = "timeout";
  failed["metrics"] = Json::object();
  const auto results =
      parse({train_record("softmax", 0, 0.4), train_record("linear", 0, 0.3), train_record("none", 0, 0.2), failed,
             no_memory, bench_record("softmax", 1024, 8, 800), bench_record("softmax", 2048, 2, 3200),
             bench_record("linear", 1024, 20, 100), bench_record("linear", 2048, 9, 200),
             bench_record("linear", 2048, 11, 400), bench_record("linear", 4096, 5, 400), elsewhere[0], elsewhere[1]});
  const auto scores = compare_scores(results, published());
  const auto speeds = compare_speed(results);
  const SpeedGroup* speed = speed_for(scores.at(0), speeds, 0);
  REQUIRE(speed != nullptr);
  CHECK(speed->length == 2048);
  CHECK(row_of(speed->rows, "The linear").examples_per_second->mean == Approx(10));
  CHECK(row_of(speed->rows, "The linear").relative_speed == Approx(5));
  CHECK(row_of(speed->rows, "The linear").relative_memory == Approx(300.0 / 3200));
  const Chart chart = runs_chart(scores.at(0), speed);
  REQUIRE(chart.bubbles.size() == 2);
  CHECK(row_of(chart.bubbles, "The softmax").x == 2);
  CHECK(row_of(chart.bubbles, "The softmax").y == Approx(40));
  CHECK(row_of(chart.bubbles, "The softmax").bytes == 3200);
  CHECK(row_of(chart.bubbles, "The linear").bytes == 300);
  CHECK_THAT(chart.x_title, ContainsSubstring("2048 tokens"));
  REQUIRE(chart.failures.size() == 2);  // `none` has no bench record, `local` ran out of time
  CHECK((chart.failures[0].label == "The none" && chart.failures[0].y == 20 && !chart.failures[0].x));
  CHECK((chart.failures[1].label == "The local" && chart.failures[1].reason == "timeout" && !chart.failures[1].y));
  CHECK(speed_for(scores.at(0), speeds, 1024)->length == 1024);

  bool oom_row = false;
  const Table efficiency = efficiency_table(speeds);
  for (const auto& section : efficiency.sections) {
    for (const auto& row : section.rows) oom_row = oom_row || (row[9].text == "oom: limit" && row[11].value.is_null());
  }
  CHECK(oom_row);

  // Without bench records the chart says that its speed comes from training.
  const auto trained = parse({train_record("softmax", 0, 0.4), train_record("linear", 0, 0.3)});
  const auto trained_scores = compare_scores(trained, published());
  const auto trained_speeds = compare_speed(trained);
  const Chart fallback = runs_chart(trained_scores.at(0), speed_for(trained_scores.at(0), trained_speeds, 0));
  CHECK(fallback.bubbles.size() == 2);
  CHECK(fallback.bubbles.at(0).x == 70);
  CHECK_THAT(fallback.x_title, ContainsSubstring("seen while training on ListOps"));
}

TEST_CASE("averages appear only with all their tasks, under their own names", "[report]") {
  std::vector<Json> records;
  double accuracy = 0.30;
  for (const char* task : {"listops", "text", "retrieval", "image"}) {
    records.push_back(train_record("linear", 0, accuracy += 0.05));  // 35 40 45 50
    records.back()["task"] = task;
    if (task == std::string("retrieval")) records.back()["config"]["seq_len"] = 4000;
    records.back()["config"]["task"] = task;
  }
  CHECK(compare_scores(parse(records), published()).size() == 4);
  records.push_back(train_record("linear", 0, 0.70));
  records.back()["task"] = "pathfinder";
  auto groups = compare_scores(parse(records), published());
  REQUIRE(groups.size() == 6);
  CHECK(groups.back().task == "average_5");
  CHECK(groups.back().rows.at(0).test->mean == Approx((35 + 40 + 45 + 50 + 70) / 5.0));
  CHECK(groups.back().rows.at(0).published == 50.55);

  Json path_x = train_record("linear", 0, 0.503);  // no better than chance: 50 % + 2 x 1.1 %
  path_x["task"] = "pathx";
  records.push_back(path_x);
  groups = compare_scores(parse(records), published());
  REQUIRE(groups.size() == 8);
  CHECK(groups.back().task == "average_6");
  CHECK(groups.back().rows.at(0).test->mean == Approx((35 + 40 + 45 + 50 + 70 + 50) / 6.0));
  records.back()["metrics"]["test_accuracy"] = 0.80;
  CHECK(compare_scores(parse(records), published()).back().rows.at(0).test->mean ==
        Approx((35 + 40 + 45 + 50 + 70 + 80) / 6.0));
  records[0]["config"]["limit"] = 100;
  CHECK(compare_scores(parse(records), published()).size() == 6);
}

TEST_CASE("the paper's chart is Table 1 against Table 2", "[report]") {
  const Chart chart = paper_chart(published());
  CHECK(chart.bubbles.size() == 9);
  CHECK(row_of(chart.bubbles, "Performer").x == Approx(256));
  CHECK(row_of(chart.bubbles, "Transformer").bytes == Approx(9.48e9));
  CHECK(row_of(chart.bubbles, "Sinkhorn Transformer").y ==
        Approx((33.67 + 61.2 + 53.83 + 41.23 + 67.45) / 5).margin(0.005));
  REQUIRE(chart.not_drawn.size() == 2);
  CHECK_THAT(chart.not_drawn[0].first + chart.not_drawn[1].first,
             ContainsSubstring("Sparse Transformer") && ContainsSubstring("Longformer"));
  CHECK_THAT(chart.caption.back(), ContainsSubstring("51.48") && ContainsSubstring("51.39"));
}

TEST_CASE("CSV quotes, HTML and scripts escape", "[report]") {
  CHECK(csv_field("plain") == "plain");
  for (const char* formula : {"=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"})
    CHECK(csv_field(formula).substr(csv_field(formula)[0] == '"' ? 1 : 0, 1) == "'");
  CHECK(csv_field("a=b") == "a=b");
  CHECK(csv_field("a,b") == "\"a,b\"");
  CHECK(csv_field("say \"x\"\n") == "\"say \"\"x\"\"\n\"");
  CHECK(escape_html("<a href=\"x\">&'") == "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");

  const std::string evil = "</script><img src=x onerror=alert(1)>, \"q\" | _b_";
  Json record = train_record("linear", 0, 0.3);
  record["display_name"] = evil;
  record["notes"] = {evil};
  record["suite"] = evil;
  record["host"]["cpu"] = evil;
  const auto results = parse({record});
  const auto scores = compare_scores(results, published());
  const auto speeds = compare_speed(results);
  Content content;
  content.records.results = results;
  content.records.broken = {evil};
  content.tables = {
      accuracy_table(scores),       efficiency_table(speeds), score_tables(scores), length_tables(speeds), {},
      paper_tables({}, published())};
  content.vega_bundle = "window.vegaEmbed = () => {};";
  content.figures = {bubble_figure(scores, speeds, 0), paper_figure(published())};
  const Table accuracy = accuracy_table(scores);
  const std::string html = page(content, [](const std::string&) { return std::string(); });
  CHECK(html.find("<img src=x") == std::string::npos);
  CHECK_THAT(html, ContainsSubstring("&lt;img src=x onerror=alert(1)&gt;") && ContainsSubstring("\\u003c/script>"));

  const std::string csv = to_csv(accuracy);
  CHECK_THAT(csv, ContainsSubstring("\"</script><img src=x onerror=alert(1)>, \"\"q\"\" | _b_\""));
  const std::string markdown = to_markdown(accuracy);
  CHECK_THAT(markdown, ContainsSubstring("\\| \\_b\\_"));
  CHECK(to_json(accuracy)["sections"][0]["rows"][0]["test_accuracy_percent"] == 30.0);
}

TEST_CASE("a lead within the error is no win, and nobody at chance wins", "[report]") {
  // 2,000 examples: the standard error of 40 % is 1.1, of a difference 1.5; two of them are 3.1 points.
  const auto marks = [](std::vector<std::pair<const char*, double>> runs) {
    std::vector<Json> records;
    for (const auto& [mixer, accuracy] : runs) records.push_back(train_record(mixer, 0, accuracy));
    std::map<std::string, Mark> found;
    for (const ScoreRow& row : compare_scores(parse(records), published()).at(0).rows) found[row.mixer] = row.mark;
    return found;
  };
  auto found = marks({{"linear", 0.40}, {"fnet", 0.36}, {"local", 0.30}});
  CHECK(found["linear"] == Mark::best);
  CHECK(found["fnet"] == Mark::second);
  CHECK(found["local"] == Mark::none);
  found = marks({{"linear", 0.40}, {"fnet", 0.38}, {"local", 0.30}});
  CHECK(found["linear"] == Mark::tied);
  CHECK(found["fnet"] == Mark::tied);
  CHECK(found["local"] == Mark::none);
  found = marks({{"linear", 0.40}, {"fnet", 0.30}, {"local", 0.29}});
  CHECK(found["linear"] == Mark::best);
  CHECK(found["fnet"] == Mark::none);                        // level with local
  CHECK(marks({{"linear", 0.40}})["linear"] == Mark::none);  // alone
  found = marks({{"linear", 0.11}, {"local", 0.09}});        // chance is 10 %
  CHECK(found["linear"] == Mark::none);

  // Over seeds it is the standard error of the mean that decides: sd 4 of 4 seeds is 2.
  std::vector<Json> records;
  for (std::int64_t seed = 0; seed < 4; ++seed) {
    records.push_back(train_record("linear", seed, 0.40 + (seed % 2 == 0 ? 0.0346 : -0.0346)));
    records.push_back(train_record("fnet", seed, 0.33 + (seed % 2 == 0 ? 0.0346 : -0.0346)));
  }
  const auto rows = compare_scores(parse(records), published()).at(0).rows;
  CHECK(rows.at(0).standard_error() == Approx(2).margin(0.01));
  CHECK(rows.at(0).mark == Mark::best);  // 7 points apart, two standard errors of the difference are 5.7
}

TEST_CASE("as papers print it: tasks across, failures and chance shown, LaTeX that compiles", "[report]") {
  Json text = train_record("linear", 0, 0.65), dead = train_record("softmax", 0, 0),
       guess = train_record("none", 0, 0.101);
  text["task"] = "text";
  dead["status"] = "oom";
  dead["metrics"] = Json::object();
  Json odd = train_record("fnet", 0, 0.30);
  odd["display_name"] = "50 % & more_{x} ≈ #1";
  const auto tables =
      score_tables(compare_scores(parse({train_record("linear", 0, 0.40), text, dead, guess, odd}), published()));
  REQUIRE(tables.size() == 1);
  const Table& table = tables[0];
  CHECK(table.columns.at(2).title == "ListOps");
  CHECK(table.columns.at(3).title == "Text");
  const auto cell = [&](const std::string& model, std::size_t column) {
    for (const auto& row : table.sections.at(0).rows) {
      if (row.at(0).text == model) return row.at(column);
    }
    throw std::runtime_error("no row " + model);
  };
  CHECK(cell("The linear", 2).text == "40.00 ± 1.10");
  CHECK(cell("The linear", 2).mark == Mark::best);
  CHECK(cell("The linear", 3).text == "65.00 ± 1.07");
  CHECK(cell("The linear", 3).mark == Mark::none);
  CHECK(cell("The softmax", 2).text == "oom");
  CHECK(cell("The softmax", 2).value.is_null());
  CHECK(cell("The none", 2).muted);
  CHECK_THAT(cell("The none", 2).hover, ContainsSubstring("no better than chance"));
  CHECK(cell("reference: chance", 2).text == "10.00");

  const std::string latex = to_latex(table);
  CHECK_THAT(latex, ContainsSubstring("\\begin{tabular}{lrrrrr}") && ContainsSubstring("\\textbf{40.00 $\\pm$ 1.10}") &&
                        ContainsSubstring("50 \\% \\& more\\_\\{x\\} $\\approx$ \\#1") &&
                        ContainsSubstring("\\toprule") && ContainsSubstring("\\bottomrule"));
  CHECK_THAT(to_markdown(table), ContainsSubstring("| **40.00 ± 1.10** |"));
  CHECK_THAT(to_html(table), ContainsSubstring("<td class=\"number best\" data-value=\"40\""));
}

TEST_CASE("tasks stand side by side, but no task twice: then each suite has a table", "[report]") {
  Json text = train_record("linear", 0, 0.65), again = train_record("linear", 0, 0.41);
  text["task"] = "text";
  again["config"]["train_steps"] = 7;
  for (Json* record : {&text, &again}) (*record)["suite"] = "b";
  Json first = train_record("linear", 0, 0.40);
  first["suite"] = "a";
  CHECK(score_tables(compare_scores(parse({first, text}), published())).size() == 1);
  const auto tables = score_tables(compare_scores(parse({first, text, again}), published()));
  REQUIRE(tables.size() == 2);
  CHECK(tables[0].columns.at(2).title == "ListOps (a)");
  CHECK(tables[1].columns.at(2).title == "ListOps (b)");
  CHECK(tables[1].columns.at(3).title == "Text (b)");
}

TEST_CASE("a model has one name at all lengths, and one for each program that measured it", "[report]") {
  std::vector<Json> records = {bench_record("linear", 1024, 10, 100), bench_record("linear", 2048, 5, 200),
                               bench_record("linear", 2048, 6, 200)};
  for (Json& record : records) {
    record["config"]["seq_len"] = record["sequence_length"];
    record["build"] = {{"revision", "a"}};
  }
  records.pop_back();
  std::set<std::string> labels;
  for (const SpeedGroup& group : compare_speed(parse(records))) {
    for (const SpeedRow& row : group.rows) labels.insert(row.label);
  }
  CHECK(labels == std::set<std::string>{"The linear"});
  // One length measured again with a later program: both lengths say which is which.
  records.push_back(records[1]);
  records[2]["build"]["revision"] = "b";
  labels.clear();
  for (const SpeedGroup& group : compare_speed(parse(records))) {
    for (const SpeedRow& row : group.rows) labels.insert(fmt::format("{} {}", group.length, row.label));
  }
  CHECK(labels == std::set<std::string>{"1024 The linear (revision a)", "2048 The linear (revision a)",
                                        "2048 The linear (revision b)"});
}

TEST_CASE("odd records cost nothing but themselves", "[report]") {
  const TemporaryFolder folder;
  const fs::path runs = folder.path / "runs";
  Json null_level = train_record("linear", 0, 0.3), long_suite = train_record("fnet", 0, 0.3),
       other_task = train_record("linear", 0, 0.3);
  null_level["metrics"]["reference_levels"]["chance"] = nullptr;
  long_suite["suite"] = std::string(300, 'x');
  other_task["task"] = "source";  // a key of the published rows, but no task
  write_json(runs / "a/result.json", null_level);
  write_json(runs / "b/result.json", long_suite);
  write_json(runs / "c/result.json", other_task);
  write_json(runs / "copy/result.json", null_level);
  write_file_atomically(runs / "atlas.json", "{");
  for (int i = 0; i < 300; ++i) {  // many in one ranking
    Json record = train_record("linear", 0, 0.2 + 0.001 * i);
    record["variant"] = fmt::format("linear_{}", i);
    write_json(runs / fmt::format("many{}/result.json", i), record);
  }
  const auto notes = write_report({{runs}, folder.path / "out", 0, false, 0});
  const std::string all = fmt::format("{}", fmt::join(notes, "\n"));
  CHECK_THAT(all, ContainsSubstring("copy/result.json: a copy of") && ContainsSubstring("atlas.json"));
  const std::string html = read_file(folder.path / "out/index.html");
  CHECK_THAT(html, ContainsSubstring("303 records (303 ok)") && ContainsSubstring("Without room for a name: "));
}

TEST_CASE("profiled benches are drawn below their machine's limits, and profiles that cannot be read are named",
          "[report]") {
  const TemporaryFolder folder;
  const auto profile = [](double products) {
    return Json{{"steps", 3},
                {"seconds_per_step", 0.1},
                {"limits", {{"float32_flops", products}, {"copy_bytes", 4e10}, {"first_touch_bytes", 5e9}}},
                {"operators",
                 {{{"name", "aten::mm"}, {"flops", 2e10}, {"bytes", 5e8}},
                  {{"name", "aten::add"}, {"flops", 0}, {"bytes", 5e8}}}}};
  };
  Json incomplete = profile(4e11), idle = profile(4e11);
  incomplete["limits"].erase("copy_bytes");
  idle["operators"] = Json::array();
  for (const auto& [name, written] : std::map<std::string, Json>{{"linear", profile(3e11)},
                                                                 {"local", profile(4e11)},
                                                                 {"fnet", profile(5e11)},
                                                                 {"flash", incomplete},
                                                                 {"gmlp", idle}}) {
    write_json(folder.path / name / "result.json", bench_record(name, 4096, 20, 100));
    write_json(folder.path / name / "profile.json", written);
  }
  write_json(folder.path / "none/result.json", bench_record("none", 4096, 20, 100));  // not profiled
  write_json(folder.path / "softmax/result.json", bench_record("softmax", 4096, 20, 100));
  write_file_atomically(folder.path / "softmax/profile.json", "{");
  std::vector<std::string> broken;
  const Figure figure = roofline_figure(collect({folder.path}).results, broken);
  const std::string all = fmt::format("{}", fmt::join(broken, "\n"));
  CHECK(broken.size() == 3);
  CHECK_THAT(all, ContainsSubstring("flash/profile.json: not a profile") &&
                      ContainsSubstring("gmlp/profile.json: a step or a machine without") &&
                      ContainsSubstring("softmax/profile.json"));
  REQUIRE(figure.views.size() == 1);
  CHECK(figure.views[0].file == "roofline");
  const std::string spec = picture(figure.views[0].wide(), wide_layout).dump();
  // 20 operations a byte, 200 GFLOP/s; the middle limit of three.
  CHECK_THAT(spec, ContainsSubstring(R"({"model":"The linear","key":"linear","x":20.0,"y":200.0,)"));
  CHECK_THAT(fmt::format("{}", fmt::join(figure.views[0].wide().caption, " ")),
             ContainsSubstring("400 GFLOP/s, the best rate of float32 products; 40 GB/s") &&
                 ContainsSubstring("5.0 GB/s (dashed)"));
  CHECK_THAT(spec, !ContainsSubstring("The none") && !ContainsSubstring("The flash"));
}

TEST_CASE("a failed seed is said beside the others, and never counts twice", "[report]") {
  Json dead = train_record("linear", 1, 0), twin = train_record("fnet", 0, 0);
  for (Json* record : {&dead, &twin}) {
    (*record)["status"] = "nan";
    (*record)["metrics"] = Json::object();
  }
  const auto groups =
      compare_scores(parse({train_record("linear", 0, 0.4), dead, twin, train_record("fnet", 0, 0.3)}), published());
  const auto table = score_tables(groups).at(0);
  std::map<std::string, std::string> cells;
  for (const auto& row : table.sections.at(0).rows) cells[row.at(0).text] = row.at(2).text;
  CHECK(cells["The linear"] == "40.00 ± 1.10 (1 more nan)");
  CHECK(cells["The fnet"] == "30.00 ± 1.02");  // seed 0 was run twice: the run that ended well counts

  // Equal scores of two seeds are no certainty: 2,000 examples each.
  std::vector<Json> records;
  for (std::int64_t seed = 0; seed < 2; ++seed) {
    records.push_back(train_record("linear", seed, 0.4));
    records.push_back(train_record("fnet", seed, 0.3995));
  }
  const auto rows = compare_scores(parse(records), published()).at(0).rows;
  CHECK(rows.at(0).mark == Mark::tied);
  CHECK(rows.at(1).mark == Mark::tied);

  // A run that ended well but does not name its data is not of anybody's data set.
  Json nameless = train_record("fnet", 0, 0.5);
  nameless["data"] = Json::object();
  CHECK(compare_scores(parse({train_record("linear", 0, 0.4), nameless}), published()).size() == 2);
}

TEST_CASE("a chart takes speeds only of the same precision and training", "[report]") {
  std::vector<Json> records = {train_record("linear", 0, 0.3), train_record("linear", 0, 0.4),
                               bench_record("linear", 4096, 5, 400)};
  records[1]["config"]["seq_len"] = 1000;
  records[1]["speed"]["train_examples_per_second"]["median"] = 140;
  records[2]["config"]["precision"] = "bf16";
  const auto results = parse(records);
  const auto scores = compare_scores(results, published());
  const auto speeds = compare_speed(results);
  REQUIRE(scores.size() == 2);
  for (const ScoreGroup& group : scores) {
    const auto found = speeds_for(group, speeds);
    REQUIRE(found.size() == 1);
    CHECK(runs_chart(group, found[0]).bubbles.at(0).x == (group.rows[0].test->mean == Approx(40) ? 140 : 70));
  }
}

TEST_CASE("a chart takes its speeds from benches on the same machine, whatever their number of threads", "[report]") {
  std::vector<Json> records = {train_record("softmax", 0, 0.4), train_record("linear", 0, 0.3),
                               bench_record("softmax", 1024, 8, 800), bench_record("linear", 1024, 20, 100)};
  for (Json& record : records) {
    record["host"]["cpu"] = "x";
    record["host"]["threads"] = record["kind"] == "train" ? 1 : 2;
  }
  const auto drawn = [&] {
    const auto results = parse(records);
    const auto scores = compare_scores(results, published());
    const auto speeds = compare_speed(results);
    const Chart chart = runs_chart(scores.at(0), speed_for(scores.at(0), speeds, 0));
    CHECK(chart.bubbles.size() == 2);
    return row_of(chart.bubbles, "The softmax").x;
  };
  CHECK(drawn() == 8);
  // Of two that are equally good, the bench with the training's threads.
  for (std::size_t i : {2u, 3u}) {
    records.push_back(records[i]);
    records.back()["host"]["threads"] = 1;
    records.back()["speed"]["train_examples_per_second"]["median"] = 5;
  }
  CHECK(drawn() == 5);
  records.resize(4);
  for (const char* key : {"name", "cpu", "device"}) {
    INFO(key);
    const auto before = records;
    for (std::size_t i : {2u, 3u}) records[i]["host"][key] = "another";
    CHECK(drawn() == 70);  // what training saw
    records = before;
  }
}

TEST_CASE("every choice of a figure is one view, and names of files differ", "[report]") {
  std::vector<Json> records;
  for (const char* host : {"a", "b"}) {
    for (const std::int64_t length : {16, 1024, 2048, 4096, 8192}) {
      records.push_back(bench_record("linear", length, 10, 100 + length));
      records.back()["host"]["name"] = host;
      records.push_back(records.back());
      records.back()["host"]["allocator"] = "caching";  // another setting that reads the same
    }
    for (const char* suite : {"a b", "a_b"}) {
      records.push_back(train_record("linear", 0, 0.3));
      records.back()["host"]["name"] = host;
      records.back()["suite"] = suite;
      records.back()["data"]["test"] = suite;
    }
  }
  const auto results = parse(records);
  const auto scores = compare_scores(results, published());
  const auto speeds = compare_speed(results);
  for (const Figure& figure :
       {bubble_figure(scores, speeds, 0), growth_figure(growth(speeds)), paper_figure(published())}) {
    std::set<std::vector<std::size_t>> choices;
    std::set<std::string> files;
    std::size_t named = 0;
    for (const View& view : figure.views) {
      choices.insert(view.choice);
      named += view.file.empty() ? 0 : 1;
      if (!view.file.empty()) files.insert(view.file);
    }
    INFO(figure.id);
    CHECK(choices.size() == figure.views.size());
    CHECK(files.size() == named);
    CHECK(named > 0);
  }
}

TEST_CASE("speed and memory stand beside those of full attention at each length", "[report]") {
  const auto tables = length_tables(
      compare_speed(parse({bench_record("softmax", 1024, 8, 800), bench_record("linear", 1024, 20, 200),
                           bench_record("softmax", 4096, 1, 12800), bench_record("linear", 4096, 5, 800)})));
  REQUIRE(tables.size() == 2);
  const auto& speed = tables[0].sections.at(0).rows;
  REQUIRE(speed.size() == 2);
  CHECK(speed[0][0].text == "The linear");
  CHECK(speed[0][2].text == "20.00 (2.50×)");
  CHECK(speed[0][2].mark == Mark::best);
  CHECK(speed[0][3].value == 2.5);
  CHECK(speed[0][4].mark == Mark::none);  // 5 against 1, with interquartile ranges of 2 each
  CHECK(tables[1].sections.at(0).rows[0][4].text == "0.00 (0.062×)");
}

TEST_CASE("speeds of different program revisions are neither averaged nor mixed up", "[report]") {
  std::vector<Json> records = {bench_record("linear", 1024, 10, 100), bench_record("linear", 1024, 20, 200),
                               bench_record("linear", 1024, 40, 200), train_record("linear", 0, 0.3)};
  records[0]["build"] = {{"revision", "aaa"}};
  for (std::size_t i = 1; i < 4; ++i) records[i]["build"] = {{"revision", "bbb"}};
  const auto results = parse(records);
  const auto speeds = compare_speed(results);
  const SpeedGroup& group = speeds.at(0);
  REQUIRE(group.rows.size() == 2);
  CHECK(row_of(group.rows, "The linear (revision aaa)").examples_per_second->mean == 10);
  CHECK(row_of(group.rows, "The linear (revision bbb)").examples_per_second->mean == 30);
  CHECK_THAT(group.warnings.at(0), ContainsSubstring("different programs: revision aaa; revision bbb"));
  // The score was trained with bbb.
  const auto scores = compare_scores(results, published());
  CHECK(runs_chart(scores.at(0), speed_for(scores.at(0), speeds, 0)).bubbles.at(0).x == 30);
}

TEST_CASE("the Pareto front has those that nobody beats in all three", "[report]") {
  const std::vector<Bubble> bubbles = {{"fast", "none", 10, 10, 0, 5}, {"accurate", "softmax", 1, 50, 0, 50},
                                       {"small", "fnet", 5, 20, 0, 1}, {"beaten", "linear", 5, 20, 0, 2},
                                       {"twin", "rfa", 10, 10, 0, 5},  {"larger", "gmlp", 6, 21, 0, 9}};
  CHECK(pareto_front(bubbles) == std::vector<bool>{true, true, true, false, true, true});
}

TEST_CASE("a report names broken records, is the same bytes twice, and removes what an earlier one left", "[report]") {
  const TemporaryFolder folder;
  const fs::path runs = folder.path / "runs", out = folder.path / "out";
  for (const char* mixer : {"softmax", "linear", "fnet"}) {
    Json record = train_record(mixer, 0, 0.3);
    record["suite"] = "first";
    write_json(runs / mixer / "result.json", record);
    write_file_atomically(runs / mixer / "metrics.jsonl",
                          "{\"step\":10,\"split\":\"valid\",\"loss\":2.0,\"accuracy\":0.2}\n{\"step\":20,\"split\":"
                          "\"valid\",\"loss\":1.5,\"accuracy\":0.3}\n{\"step\":30,\"spl");
    write_json(runs / mixer / "bench/result.json", bench_record(mixer, 1024, 10, 500));
  }
  write_file_atomically(runs / "broken/result.json", "{");
  ReportOptions options{{runs}, out, 0, false, 0};
  const auto notes = write_report(options);
  CHECK_THAT(notes.at(0), ContainsSubstring("broken/result.json:1:2: broken JSON"));
  const std::string first = read_file(out / "index.html");
  CHECK_THAT(first,
             ContainsSubstring("broken/result.json:1:2: broken JSON") && ContainsSubstring("1 records are left out"));
  CHECK_THAT(first, ContainsSubstring("runs/softmax/result.json"));
  CHECK_THAT(first, ContainsSubstring("\"title\":\"Validation accuracy (%)"));
  write_report(options);
  CHECK(read_file(out / "index.html") == first);
  CHECK(fs::exists(out / "charts/bubble_listops_first.vl.json"));
  CHECK(fs::exists(out / "tables/scores.tex"));

  write_file_atomically(out / "mine.txt", "not the report's");
  for (const char* mixer : {"softmax", "linear", "fnet"}) {
    Json record = train_record(mixer, 0, 0.3);
    record["suite"] = "second";
    write_json(runs / mixer / "result.json", record);
  }
  write_report(options);
  CHECK_FALSE(fs::exists(out / "charts/bubble_listops_first.vl.json"));
  CHECK(fs::exists(out / "charts/bubble_listops_second.vl.json"));
  CHECK(fs::exists(out / "mine.txt"));
}

TEST_CASE("a run's commands make its data and repeat it", "[report]") {
  Json record = train_record("linear", 3, 0.3);
  record["build"] = {{"revision", "0123456789abcdef"}};
  record["config"]["data_dir"] = "data/quickstart";
  record["data"] = {{"generator", {{"version", 1}, {"seed", 1}, {"train", 24000}, {"max_args", 6}}}};
  const std::string commands = regenerating_commands(parse_result(record, "results/x/result.json"));
  CHECK_THAT(commands, ContainsSubstring("git checkout 0123456789ab") &&
                           ContainsSubstring(
                               "data prepare listops --data-dir data/quickstart --seed 1 --train 24000 --max-args 6") &&
                           ContainsSubstring("lra-run --config results/x/result.json"));
}

TEST_CASE("watch writes the page again as records come, and ends well", "[report]") {
  const TemporaryFolder folder;
  const fs::path runs = folder.path / "runs", page = folder.path / "out/index.html";
  fs::create_directories(runs);
  const std::string command = "timeout --preserve-status --signal=TERM 10 " LRA_BIN_DIR "/lra-report watch " +
                              runs.string() + " -o " + (folder.path / "out").string() + " --every 1 > " +
                              (folder.path / "log").string() + " 2>&1";
  int code = -1;
  std::thread watching([&] { code = std::system(command.c_str()); });
  const auto page_says = [&](const std::string& what) {
    for (int tenth = 0; tenth < 100; ++tenth) {
      std::error_code missing;
      if (fs::exists(page, missing) && read_file(page).find(what) != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  };
  write_json(runs / "a/result.json", train_record("linear", 0, 0.3));
  CHECK(page_says("1 records (1 ok)"));
  CHECK(page_says("http-equiv=\"refresh\""));
  write_json(runs / "b/result.json", train_record("fnet", 0, 0.3));
  CHECK(page_says("2 records (2 ok)"));
  watching.join();
  CHECK(code == 0);
  CHECK(read_file(page).find("http-equiv=\"refresh\"") == std::string::npos);
}
