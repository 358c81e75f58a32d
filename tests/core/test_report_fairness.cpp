// Who may win, who stands beside whom, and what a chart says of it.
#include <fmt/format.h>

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <set>

#include "core/report_records.h"
#include "report/charts.h"
#include "report/check_parts.h"
#include "report/diff.h"
#include "report/families.h"
#include "report/labels.h"
#include "report/official.h"
#include "report/page.h"

namespace {

using namespace lra;
using namespace lra::report;
using namespace lra::report::testing;
using Catch::Matchers::ContainsSubstring;

Mark mark_at(const std::vector<Json>& records, std::size_t table, const std::string& label) {
  const auto results = parse(records);
  const auto tables = length_tables(compare_speed(results));
  for (const auto& row : tables.at(table).sections.at(0).rows) {
    if (row[0].text == label) return row[2].mark;
  }
  throw std::runtime_error("no row " + label);
}

Json short_listops() {
  return {{"train", {{"examples", 24000}, {"sha256", "a"}}}, {"generator", {{"min_length", 20}, {"max_length", 120}}}};
}

std::string all_text(const Table& table) { return to_markdown(table) + to_csv(table); }

/// WCAG's contrast of two colours "#rrggbb".
double contrast(const std::string& a, const std::string& b) {
  const auto luminance = [](const std::string& colour) {
    double sum = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const double c = std::stoi(colour.substr(1 + 2 * i, 2), nullptr, 16) / 255.0;
      sum += (i == 0   ? 0.2126
              : i == 1 ? 0.7152
                       : 0.0722) *
             (c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4));
    }
    return sum;
  };
  return (std::max(luminance(a), luminance(b)) + 0.05) / (std::min(luminance(a), luminance(b)) + 0.05);
}

}  // namespace

TEST_CASE("configurations are compared by what they mean, and a lacking key has its default", "[report]") {
  std::vector<Json> records(5, train_record("linear", 0, 0.3));
  for (std::size_t i = 0; i < records.size(); ++i) records[i]["seed"] = i;
  records[0]["config"].update({{"dropout", 0.0}, {"mixer_options", {{"a", 1.0}, {"b", 2}}}});
  records[1]["config"].update({{"dropout", 0}, {"mixer_options", {{"b", 2.0}, {"a", 1}}}});
  records[2]["config"].update({{"dropout", 0.0},
                               {"mixer_options", {{"a", 1.0}, {"b", 2}}},
                               {"kernels", "fused"},
                               {"precision", "float32"},
                               {"clip_norm", 0}});
  records[3]["config"].update(
      {{"dropout", 0.0}, {"mixer_options", {{"a", 1.0}, {"b", 2}}}, {"seq_len", 2000.0}, {"train_steps", 5e3}});
  records[4]["config"].update({{"dropout", 0.0}, {"mixer_options", {{"a", 1.0}, {"b", 2}}}, {"kernels", "reference"}});
  auto groups = compare_scores(parse(records), published());
  REQUIRE(groups.size() == 1);
  REQUIRE(groups[0].rows.size() == 2);
  std::set<std::string> labels;
  for (const ScoreRow& row : groups[0].rows) labels.insert(fmt::format("{}: {}", row.label, row.seeds.size()));
  CHECK(labels == std::set<std::string>{"The linear (kernels=fused): 4", "The linear (kernels=reference): 1"});

  // The order of the data's keys, and what is only said of the data, make no other data.
  records.assign(2, train_record("linear", 0, 0.3));
  records[1]["seed"] = 1;
  records[0]["data"] = {{"train", {{"sha256", "a"}, {"bytes", 4}}}, {"test", {{"sha256", "b"}}}};
  records[1]["data"] = {{"test", {{"sha256", "b"}, {"cut_share", 0.5}}}, {"train", {{"bytes", 4.0}, {"sha256", "a"}}}};
  CHECK(compare_scores(parse(records), published()).size() == 1);
  records[1]["data"]["test"]["sha256"] = "c";
  CHECK(compare_scores(parse(records), published()).size() == 2);

  const TemporaryFolder folder;
  write_json(folder.path / "a/result.json", train_record("linear", 0, 0.3));
  Json other = train_record("linear", 0, 0.3);
  other["config"].update({{"seq_len", 2000.0}, {"kernels", "fused"}});
  write_json(folder.path / "b/result.json", other);
  other["config"]["kernels"] = "reference";
  write_json(folder.path / "c/result.json", other);
  CHECK(diff(folder.path / "a", folder.path / "b", {}).rows.size() == 1);
  CHECK(diff(folder.path / "a", folder.path / "c", {}).rows.size() == 2);
}

TEST_CASE("a speed that is not to be trusted is shown and wins nothing", "[report]") {
  std::vector<Json> records = {bench_record("linear", 1024, 100, 500), bench_record("fnet", 1024, 60, 400),
                               bench_record("gmlp", 1024, 30, 300)};
  CHECK(mark_at(records, 0, "The linear") == Mark::best);
  CHECK(mark_at(records, 0, "The fnet") == Mark::second);
  records[1]["speed"]["disturbed"] = "other programs used 1.8 cores";
  CHECK(mark_at(records, 0, "The linear") == Mark::best);
  CHECK(mark_at(records, 0, "The fnet") == Mark::none);
  records[0]["speed"]["train_examples_per_second"]["spread"] = 26;  // a record of an older program: 26 %
  CHECK(mark_at(records, 0, "The linear") == Mark::none);
  records[0]["speed"]["train_examples_per_second"]["spread"] = 24;
  CHECK(mark_at(records, 0, "The linear") == Mark::best);
  const auto results = parse(records);
  const auto tables = length_tables(compare_speed(results));
  CHECK_THAT(all_text(tables.at(0)), ContainsSubstring("60.00 †"));
  CHECK_THAT(all_text(efficiency_table(compare_speed(results))), ContainsSubstring("other programs used 1.8 cores"));
  CHECK_THAT(fmt::format("{}", fmt::join(sentences_of(results), "\n")),
             ContainsSubstring("1 of 3 speeds were measured on a busy machine"));
  records[1]["speed"]["disturbed"] = "trained beside another run of this suite, spread is 40 % of the median";
  CHECK_THAT(fmt::format("{}", fmt::join(sentences_of(parse(records)), "\n")),
             ContainsSubstring("1 run trained beside others") && !ContainsSubstring("busy machine"));
  CHECK(check_quality(results[1]).at(0).text == "its speed is not to be trusted: other programs used 1.8 cores");
  CHECK(check_quality(results[0]).empty());
}

TEST_CASE("memory within the difference of equal records is level", "[report]") {
  std::vector<Json> records = {bench_record("linear", 1024, 10, 500), bench_record("fnet", 1024, 10, 501)};
  CHECK(mark_at(records, 1, "The linear") == Mark::best);
  records.push_back(bench_record("fnet", 1024, 10, 503));
  CHECK(mark_at(records, 1, "The linear") == Mark::tied);  // 500 and 502, which are 501 and 503
  CHECK(mark_at(records, 1, "The fnet") == Mark::tied);
  records[0]["memory"]["peak_tensor_bytes"] = 499;
  CHECK(mark_at(records, 1, "The linear") == Mark::best);
  CHECK(mark_at(records, 1, "The fnet") == Mark::second);
}

TEST_CASE("incomplete data are ranked apart and said", "[report]") {
  std::vector<Json> records(3, train_record("linear", 0, 0.3));
  for (std::size_t i = 0; i < records.size(); ++i) records[i]["seed"] = i;
  const Json whole = {{"train", {{"sha256", "a"}, {"examples", 96000}, {"cut_share", 0.12}}},
                      {"test", {{"sha256", "b"}, {"cut_share", 0.004}}}};
  records[0]["data"] = whole;
  records[1]["data"] = {{"train", {{"sha256", "c"}, {"examples", 8}}},
                        {"incomplete", "train has 8 examples, the official task has 96,000"}};
  records[2]["data"] = whole;
  const auto results = parse(records);
  const auto groups = compare_scores(results, published());
  REQUIRE(groups.size() == 2);
  for (const ScoreGroup& group : groups) {
    const bool incomplete = group.rows.at(0).seeds.size() == 1;
    CHECK((group.name.find("incomplete data") != std::string::npos) == incomplete);
    CHECK(group.rows[0].published.has_value() != incomplete);  // LRA's score stands beside the whole data alone
    const std::string warnings = fmt::format("{}", fmt::join(group.warnings, "\n"));
    if (incomplete)
      CHECK_THAT(warnings, ContainsSubstring("INCOMPLETE DATA: train has 8 examples"));
    else
      CHECK_THAT(warnings,
                 ContainsSubstring("seq_len cuts 0.4 % of the sequences of test, 12 % of the sequences of train."));
  }
  const std::string read_first = fmt::format("{}", fmt::join(sentences_of(results), "\n"));
  CHECK_THAT(read_first, ContainsSubstring("Not the official data, ranked apart: ListOps (train has 8 examples") &&
                             ContainsSubstring("ListOps: seq_len cuts"));
  CHECK(check_quality(results[1]).at(0).kind == "incomplete data");
  CHECK(check_quality(results[0]).at(0).kind == "sequences that seq_len cuts");
}

TEST_CASE("LRA's printed scores and ours on easier data share no row and no column", "[report]") {
  std::vector<Json> records;
  for (const char* mixer : {"linear", "softmax", "performer", "linformer", "bigbird"})
    records.push_back(train_record(mixer, 0, 0.31 + 0.01 * static_cast<double>(records.size())));
  const auto tables_of = [&] {
    const auto groups = compare_scores(parse(records), published());
    std::vector<PaperComparison> comparisons;
    for (const ScoreGroup& group : groups) {
      if (const auto comparison = paper_scores(group, published())) comparisons.push_back(*comparison);
    }
    return std::pair(groups, paper_tables(comparisons, published()));
  };
  {
    const auto [groups, tables] = tables_of();
    CHECK(groups.at(0).easier.empty());
    CHECK(groups[0].rows[0].published.has_value());
    CHECK_THAT(to_csv(tables.at(0)), ContainsSubstring("ours_1") && ContainsSubstring("31"));
    CHECK(tables.at(1).name == "paper_table2_speed");
  }
  for (Json& record : records) record["data"] = short_listops();
  const auto [groups, tables] = tables_of();
  CHECK_THAT(groups.at(0).easier, ContainsSubstring("24,000 training examples, the official task has 96,000"));
  for (const ScoreRow& row : groups[0].rows) CHECK((!row.published && row.published_text.empty()));
  CHECK_THAT(to_csv(tables.at(0)), !ContainsSubstring("ours_1"));
  REQUIRE(tables.at(1).name == "easier_than_official");
  const std::string easier = all_text(tables[1]);
  CHECK_THAT(easier, ContainsSubstring("31.00") && ContainsSubstring("24,000 training examples") &&
                         !ContainsSubstring("16.13"));
  bool ranks = false;  // the order is still compared
  for (const Table& table : tables) {
    if (table.name == "rank_correlation")
      ranks = all_text(table).find("easier than the official task") != std::string::npos;
  }
  CHECK(ranks);

  const auto why = [](const char* place, const Json& value) {
    Json record = train_record("linear", 0, 0.3);
    record[Json::json_pointer(place)] = value;
    return easier_than_official(parse_result(record, "x"));
  };
  CHECK(why("/seed", 1).empty());
  CHECK_THAT(why("/config/seq_len", 128),
             ContainsSubstring("sequences of up to 128, the official task has up to 2,000"));
  CHECK_THAT(why("/config/limit", 1000), ContainsSubstring("only the first 1,000 examples"));
  CHECK_THAT(why("/data/generator", {{"min_length", 20}, {"max_length", 120}}),
             ContainsSubstring("expressions of more than 20 and fewer than 120 symbols"));
  CHECK(why("/data/generator", {{"min_length", 500}, {"max_length", 2000}}).empty());
  CHECK_THAT(why("/task", "image_standin"), ContainsSubstring("not a task"));
}

TEST_CASE("a rim respects the error bars", "[report]") {
  // b is as fast and as small, and more accurate by less, then by more, than both errors.
  const auto front = [](double lead) {
    std::vector<Bubble> bubbles = {{"a", "linear", 10, 40, 1, 5}, {"b", "fnet", 10, 40 + lead, 1, 5}};
    return pareto_front(bubbles);
  };
  CHECK(front(1.9) == std::vector<bool>{true, true});
  CHECK(front(2.1) == std::vector<bool>{false, true});
  std::vector<Bubble> fast = {{"a", "linear", 10, 40, 1, 5}, {"b", "fnet", 14, 40, 1, 5}};
  CHECK(pareto_front(fast) == std::vector<bool>{false, true});
  fast[1].x_error = 5;
  CHECK(pareto_front(fast) == std::vector<bool>{true, true});
  fast[1].x_error = 0;
  fast[1].disturbed = "spread is 40 % of the median";
  CHECK(pareto_front(fast) == std::vector<bool>{true, true});
}

TEST_CASE("a chart says its lengths, its spread and whom not to trust", "[report]") {
  Json record = train_record("linear", 0, 0.3), other = train_record("fnet", 0, 0.4),
       slow = bench_record("fnet", 4096, 20, 500);
  record["data"] = other["data"] = short_listops();
  slow["speed"]["train_examples_per_second"]["spread"] = 8;
  const auto results = parse({record, other, bench_record("linear", 4096, 50, 2000000000), slow});
  const auto scores = compare_scores(results, published());
  const auto speeds = compare_speed(results);
  const Chart chart = runs_chart(scores.at(0), speed_for(scores.at(0), speeds, 0));
  const std::string caption = fmt::format("{}", fmt::join(draw(chart, wide_layout).caption, " "));
  CHECK_THAT(caption,
             ContainsSubstring(
                 "Scores: more than 20 and fewer than 120 symbols; speed and memory: 4,096 tokens in every sequence"));
  CHECK_THAT(caption,
             ContainsSubstring("is 4 to 40 % of them") && ContainsSubstring("Do not compare the speeds of The fnet: "));
  CHECK_THAT(caption, ContainsSubstring("Pareto front") && ContainsSubstring("by more than the error bars of both"));
  CHECK(chart.memory_unit == "GB");
  CHECK(chart.bytes_per_unit == 1e9);
}

TEST_CASE("rims and lines stand out from the page, light and dark, and can be told apart", "[report]") {
  std::vector<Family> all = families();
  for (const char* name : {"of my own", "hashing", "trees", "x", "yy", "zzz", "state space"}) {
    const Family& own = family_named(name);
    CHECK(own.name == name);
    CHECK(own.title == name);
    CHECK(own.colour != families().back().colour);
    CHECK(&family_named(name) == &own);
    all.push_back(own);
  }
  CHECK(contrast("#ffffff", "#000000") == Catch::Approx(21));
  for (const Family& family : all) {
    INFO(family.name);
    for (const char* paper : {"#ffffff", "#0d1117"}) CHECK(contrast(family.strong, paper) >= 3);
  }
  CHECK(comes_before(family_named("reference"), family_named("hashing")));
  CHECK(comes_before(family_named("hashing"), family_named("trees")));
}

TEST_CASE("names that are cut are cut where they are alike", "[report]") {
  const std::string start = "Performer (learning_rate=0.05, warmup_steps=1000, mixer_options.features=";
  const std::vector<std::string> names = {start + "16)", start + "32)", start + "32, redraw=true)", "Linear",
                                          "A name that is long, and like no other one at all, to its end"};
  for (const std::size_t length : {18u, 22u, 36u}) {
    const auto cut = shorten_all(names, length);
    std::set<std::string> different(cut.begin(), cut.end());
    CHECK(different.size() == names.size());
    for (const std::string& name : cut) CHECK(text_width(name, 1000) <= 1000.0 * static_cast<double>(length));
    CHECK_THAT(cut[0], ContainsSubstring("16)"));
    CHECK_THAT(cut[1], ContainsSubstring("32)"));
    CHECK(cut[3] == "Linear");
    CHECK(cut[4] == shorten(names[4], length));
  }
  CHECK(shorten_all({"naïve naïve naïve a", "naïve naïve naïve b"}, 12) ==
        std::vector<std::string>{"naïv…naïve a", "naïv…naïve b"});
}

TEST_CASE("a curve of 200,000 points is thinned and keeps its extremes", "[report]") {
  LineChart chart{"x", "x", "x", "x", "y"};
  Line line{"a", "linear", {}};
  for (int i = 0; i < 200000; ++i) line.points.emplace_back(i, std::sin(i / 3000.0));
  line.points[77777].second = 9;
  line.points[123456].second = -9;
  chart.lines = {line, {"b", "fnet", {{1, 1}, {2, 2}}}};
  const Drawing drawing = draw(chart, wide_layout);
  const std::string text = drawing.spec.dump();
  CHECK(text.size() < 200000);
  CHECK_THAT(text, ContainsSubstring("\"x\":77777") && ContainsSubstring("\"x\":123456") &&
                       ContainsSubstring("\"x\":0") && ContainsSubstring("\"x\":199999"));
  CHECK_THAT(fmt::format("{}", fmt::join(drawing.caption, " ")),
             ContainsSubstring("every stretch is drawn with its lowest and highest"));
}

TEST_CASE("a name does not stand nearer to another circle than to its own where there is room elsewhere", "[report]") {
  // Two circles side by side: right of the first is the second.
  const std::vector<LabelledBubble> bubbles = {{{200, 200}, 30, 0, "Transformer"}, {{245, 200}, 6, 0, "Flash"}};
  const auto labels = place_labels(bubbles, 660, 400, {}, 14);
  const auto distance = [&](std::size_t name, std::size_t circle) {
    const Box& box = labels[name].box;
    const Point& centre = bubbles[circle].centre;
    return std::hypot(std::clamp(centre.x, box.left, box.right) - centre.x,
                      std::clamp(centre.y, box.top, box.bottom) - centre.y) -
           bubbles[circle].radius;
  };
  CHECK(distance(0, 0) <= distance(0, 1));
  CHECK(distance(1, 1) <= distance(1, 0));
}
