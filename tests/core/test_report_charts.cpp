#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <set>

#include "report/charts.h"
#include "report/vega.h"

using namespace lra;
using namespace lra::report;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string caption_of(const Drawing& drawing) { return fmt::format("{}", fmt::join(drawing.caption, " ")); }

/// The values of the first layer with this mark that pass the test.
template <class Test>
Json values_of(const Drawing& drawing, const char* mark, Test test) {
  for (const Json& layer : drawing.spec["layer"]) {
    const Json& values = layer["data"]["values"];
    if (layer["mark"]["type"] == mark && !values.empty() && test(values[0])) return values;
  }
  return Json::array();
}

Chart three_circles() {
  Chart chart;
  chart.bubbles = {
      {"slow", "softmax", 1, 45, 1, 4e8}, {"middle", "linear", 20, 40, 1, 1e8}, {"fast", "none", 60, 20, 1, 1e8}};
  for (Bubble& bubble : chart.bubbles) bubble.key = bubble.mixer;
  return chart;
}

}  // namespace

TEST_CASE("a staircase runs down along those whom nobody beats in speed and score", "[report]") {
  Chart chart = three_circles();
  chart.bubbles.push_back({"beaten", "fnet", 10, 30, 1, 1e8});
  chart.bubbles.push_back({"doubtful", "gmlp", 90, 50, 1, 1e8});
  chart.bubbles.back().disturbed = "other programs used 1.8 cores";
  for (const Layout& layout : layouts) {
    const Drawing drawing = draw(chart, layout);
    const Json steps = values_of(drawing, "line", [](const Json& value) { return value.contains("i"); });
    REQUIRE(steps.size() == 7);  // the left edge, then two corners for each of the three
    CHECK(steps[0]["px"] == 0);
    CHECK(steps[6]["py"] == layout.height);
    for (std::size_t i = 1; i < steps.size(); ++i) {
      CHECK(steps[i]["px"] >= steps[i - 1]["px"]);
      CHECK(steps[i]["py"] >= steps[i - 1]["py"]);
      CHECK((steps[i]["px"] == steps[i - 1]["px"]) != (steps[i]["py"] == steps[i - 1]["py"]));  // level, then down
    }
    CHECK_THAT(caption_of(drawing), ContainsSubstring("staircase"));
  }
  chart.bubbles = {chart.bubbles[0]};
  CHECK(values_of(draw(chart, wide_layout), "line", [](const Json&) { return true; }).empty());
}

TEST_CASE("runs without a score or a speed stand at the edges", "[report]") {
  Chart chart = three_circles();
  chart.failures = {{"Large", "performer", "performer", "oom"},
                    {"Broken", "rfa", "rfa", "failed", 20.0},
                    {"Unmeasured", "local", "local", "oom", {}, 38.0}};
  for (const Layout& layout : layouts) {
    const Drawing drawing = draw(chart, layout);
    const Json crosses = values_of(drawing, "point", [](const Json& value) { return value.contains("reason"); });
    REQUIRE(crosses.size() == 3);
    for (const std::size_t lower : {0u, 1u}) CHECK(crosses[lower]["py"].get<double>() > layout.height - 20);
    CHECK(crosses[2]["px"].get<double>() < 20);
    const Json circles = values_of(drawing, "circle", [](const Json&) { return true; });
    CHECK(circles.size() == 3);
    const std::string text = drawing.spec.dump();
    CHECK_THAT(text, ContainsSubstring("Large (oom)") && ContainsSubstring("Broken (failed)") &&
                         ContainsSubstring("Unmeasured (oom)"));
  }
  for (int i = 0; i < 30; ++i) chart.failures.push_back({fmt::format("F{}", i), "rfa", "rfa", "oom"});
  const Drawing many = draw(chart, wide_layout);
  CHECK(values_of(many, "point", [](const Json& value) { return value.contains("reason"); }).size() == 12);
  CHECK_THAT(caption_of(many), ContainsSubstring("Not drawn:") && ContainsSubstring("F29"));
}

TEST_CASE("the sizes of one mechanism are joined by a line", "[report]") {
  Chart chart = three_circles();
  chart.bubbles.push_back({"linear (features=64)", "linear", 5, 42, 1, 2e8});
  chart.bubbles.back().key = "linear";
  const Drawing drawing = draw(chart, wide_layout);
  const Json joined = values_of(drawing, "line", [](const Json& value) { return value.contains("key"); });
  REQUIRE(joined.size() == 2);
  CHECK(joined[0]["key"] == "linear");
  CHECK(joined[0]["px"] < joined[1]["px"]);
}

TEST_CASE("of many lines the best are in colour and the rest is grey", "[report]") {
  const auto colours = [](std::size_t count, bool low_is_good) {
    LineChart chart{"x", "x", "x", "x", "y"};
    chart.low_is_good = low_is_good;
    for (std::size_t i = 0; i < count; ++i) {
      const double end = static_cast<double>(i + 1);
      chart.lines.push_back({fmt::format("m{}", i), i == 3 ? "softmax" : "linear", {{1, 5}, {2, end}}, "k"});
    }
    const Drawing drawing = draw(chart, wide_layout);
    std::set<std::string> coloured;
    for (const Json& layer : drawing.spec["layer"]) {
      if (layer["mark"]["type"] != "line") continue;
      const Json& scale = layer["encoding"]["color"]["scale"];
      for (std::size_t i = 0; i < scale["domain"].size(); ++i) {
        if (scale["range"][i] != line_grey) coloured.insert(scale["domain"][i].get<std::string>());
      }
    }
    return coloured;
  };
  CHECK(colours(8, false).size() == 8);
  CHECK(colours(12, false) == std::set<std::string>{"m7", "m8", "m9", "m10", "m11", "m3"});  // and full attention
  CHECK(colours(12, true) == std::set<std::string>{"m0", "m1", "m2", "m3", "m4"});
}

TEST_CASE("a roofline's limits carry their names, and nothing but them looks like a line", "[report]") {
  RooflineChart chart{"roofline", "t", "s", "x", "y"};
  chart.products = 100;
  chart.bandwidths = {{"memory", 10}, {"fresh memory", 2}};
  chart.steps = {{"a", "linear", 4, 30}, {"b", "softmax", 8, 60}, {"c", "none", 3, 5}};
  const Drawing drawing = draw(chart, wide_layout);
  std::size_t lines = 0;
  for (const Json& layer : drawing.spec["layer"]) {
    if (layer["mark"]["type"] != "line") continue;
    ++lines;
    CHECK(layer["mark"]["color"] == line_grey);
    double last = 1e300;
    for (const Json& point : layer["data"]["values"]) {
      CHECK(point["py"].get<double>() <= last);  // limits only rise
      last = point["py"].get<double>();
    }
    CHECK(layer["data"]["values"].front()["py"].get<double>() > last + 50);
  }
  CHECK(lines == 2);
  CHECK_THAT(drawing.spec.dump(), ContainsSubstring("100 GFLOP/s") && ContainsSubstring("memory: 10 GB/s"));
}
