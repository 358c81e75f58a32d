#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <random>

#include "report/charts.h"
#include "report/families.h"
#include "report/labels.h"

namespace {

using namespace lra;
using namespace lra::report;

constexpr double width = 660, height = 400, font_size = 12.5;

/// Pixels between a box and a bubble's edge; negative inside.
double distance(const Box& box, const LabelledBubble& bubble) {
  const double dx = std::max({box.left - bubble.centre.x, 0.0, bubble.centre.x - box.right});
  const double dy = std::max({box.top - bubble.centre.y, 0.0, bubble.centre.y - box.bottom});
  return std::hypot(dx, dy) - bubble.radius;
}

void check_placement(const std::vector<LabelledBubble>& bubbles) {
  const auto labels = place_labels(bubbles, width, height, {120, 300}, font_size);
  REQUIRE(labels.size() == bubbles.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const Box& box = labels[i].box;
    REQUIRE(labels[i].placed);
    CHECK(box.right - box.left >= text_width(bubbles[i].text, font_size));
    CHECK((box.left >= 0 && box.top >= 0 && box.right <= width && box.bottom <= height));
    if (distance(box, bubbles[i]) > 12) CHECK(labels[i].leader);
    for (std::size_t j = 0; j < labels.size(); ++j) {
      if (i == j) continue;
      const Box& other = labels[j].box;
      CHECK((box.right <= other.left || other.right <= box.left || box.bottom <= other.top || other.bottom <= box.top));
    }
  }
}

}  // namespace

TEST_CASE("no two names overlap and none leaves the plot, however crowded", "[report]") {
  std::mt19937 random(7);
  const auto uniform = [&](double low, double high) {
    return low + (high - low) * static_cast<double>(random()) / 4294967296.0;
  };
  for (int round = 0; round < 20; ++round) {
    std::vector<LabelledBubble> bubbles;
    for (int i = 0; i < 20; ++i) {
      const double radius = uniform(2, 34);
      // The first eight coincide, in a corner in every second round.
      const Point centre = i < 8 ? (round % 2 == 0 ? Point{width - 40, 40} : Point{300, 200})
                                 : Point{uniform(radius, width - radius), uniform(radius, height - radius)};
      bubbles.push_back({centre, radius, uniform(0, 20), "Transformer variant " + std::to_string(i)});
    }
    check_placement(bubbles);
  }
}

TEST_CASE("a lone name stands right of its bubble, or left where the plot ends", "[report]") {
  const auto placed = [](double x) {
    return place_labels({{{x, 200}, 20, 0, "Linformer"}}, width, height, {}, font_size)[0];
  };
  CHECK(placed(300).box.left >= 320);
  CHECK(placed(300).box.left < 330);
  CHECK_FALSE(placed(300).leader);
  CHECK(placed(640).box.right <= width);
  // A neighbour on the right: the name goes elsewhere and touches neither bubble.
  const std::vector<LabelledBubble> pair = {{{300, 200}, 20, 0, "Linformer"},
                                            {{345, 200}, 20, 0, "Linear Transformer"}};
  for (const PlacedLabel& label : place_labels(pair, width, height, {}, font_size)) {
    for (const LabelledBubble& bubble : pair) {
      CHECK(distance(label.box, bubble) >= 0);
    }
  }
}

TEST_CASE("names beside lines keep their distance and move as little as it takes", "[report]") {
  CHECK(spread({10, 50, 90}, 14, 0, 100) == std::vector<double>{10, 50, 90});
  CHECK(spread({50, 50}, 14, 0, 100) == std::vector<double>{43, 57});
  CHECK(spread({0, 1}, 14, 0, 100) == std::vector<double>{0, 14});
  CHECK(spread({99, 100}, 14, 0, 100) == std::vector<double>{86, 100});
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<double> wanted(1 + random() % 28);
    for (double& one : wanted) one = static_cast<double>(random() % 400);
    std::sort(wanted.begin(), wanted.end());
    const auto places = spread(wanted, 14, -12, 412);
    REQUIRE(places.size() == wanted.size());
    CHECK(places.front() >= -12);
    CHECK(places.back() <= 412 + 1e-9);
    for (std::size_t i = 1; i < places.size(); ++i) CHECK(places[i] - places[i - 1] >= 14 - 1e-9);
  }
}

TEST_CASE("text widths, wrapping and shortening", "[report]") {
  CHECK(std::abs(text_width("Transformer", 1000) - (611 + 333 + 556 + 556 + 500 + 278 + 556 + 333 + 833 + 556 + 333)) <
        1e-9);
  CHECK(wrap("aa bb cc", text_width("aa bb", 10) + 0.1, 10) == std::vector<std::string>{"aa bb", "cc"});
  CHECK(shorten("naïve", 5) == "naïve");
  CHECK(shorten("naïvely", 5) == "naïv…");
}

TEST_CASE("a chart's circles lie in the plot and have areas in proportion to memory", "[report]") {
  Chart chart;
  chart.bubbles = {{"a", "softmax", 1, 40, 1, 4e9}, {"b", "linear", 30, 36, 1, 1e9}, {"c", "none", 31, 36, 1, 1e8}};
  chart.levels = {{"chance", 10}, {"root_operator", 35.9}};
  const Json spec = picture(draw(chart, wide_layout), wide_layout);
  const std::string text = spec.dump();
  CHECK(text.find("root operator 35.9") != std::string::npos);
  CHECK(text.find("Reference levels outside the plot: chance 10.0 %") != std::string::npos);
  for (const Json& layer : spec["layer"]) {
    if (layer["mark"]["type"] != "circle") continue;
    const Json& x = layer["encoding"]["x"]["scale"];
    CHECK(x["type"] == "log");  // 1 to 31
    CHECK(x["domain"][0].get<double>() < 1);
    CHECK(x["domain"][1].get<double>() > 31);
    const Json& size = layer["encoding"]["size"]["scale"];
    CHECK(size["domain"][0] == 0);
    CHECK(size["range"][0] == 0);
    return;
  }
  FAIL("no circles");
}

TEST_CASE("colour-blind readers can tell the families apart", "[report]") {
  // Full dichromacy by Machado, Oliveira and Fernandes (2009), on linear RGB; distances in CIE L*a*b* (1976), where 2.3
  // is just noticeable.
  using Row = std::array<double, 3>;
  using Matrix = std::array<Row, 3>;
  const Matrix normal = {Row{1, 0, 0}, Row{0, 1, 0}, Row{0, 0, 1}};
  const Matrix protan = {Row{0.152286, 1.052583, -0.204868}, Row{0.114503, 0.786281, 0.099216},
                         Row{-0.003882, -0.048116, 1.051998}};
  const Matrix deutan = {Row{0.367322, 0.860646, -0.227968}, Row{0.280085, 0.672501, 0.047413},
                         Row{-0.011820, 0.042940, 0.968881}};
  const Matrix tritan = {Row{1.255528, -0.076749, -0.178779}, Row{-0.078411, 0.930809, 0.147602},
                         Row{0.004733, 0.691367, 0.303900}};
  const Matrix xyz = {Row{0.4124564, 0.3575761, 0.1804375}, Row{0.2126729, 0.7151522, 0.0721750},
                      Row{0.0193339, 0.1191920, 0.9503041}};
  const auto times = [](const Matrix& m, const Row& v) {
    Row result{};
    for (std::size_t i = 0; i < 3; ++i) result[i] = m[i][0] * v[0] + m[i][1] * v[1] + m[i][2] * v[2];
    return result;
  };
  const auto lab = [&](const std::string& colour, const Matrix& eye) {
    Row linear{};
    for (std::size_t i = 0; i < 3; ++i) {
      const double c = std::stoi(colour.substr(1 + 2 * i, 2), nullptr, 16) / 255.0;
      linear[i] = c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
    }
    Row seen = times(eye, linear);
    for (double& c : seen) c = std::clamp(c, 0.0, 1.0);
    Row white = times(xyz, seen);
    const Row reference = {0.95047, 1, 1.08883};
    for (std::size_t i = 0; i < 3; ++i) {
      const double t = white[i] / reference[i];
      white[i] = t > 0.008856 ? std::cbrt(t) : 7.787 * t + 16.0 / 116;
    }
    return Row{116 * white[1] - 16, 500 * (white[0] - white[1]), 200 * (white[1] - white[2])};
  };
  const auto distance = [](const Row& a, const Row& b) { return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]); };
  CHECK(distance(lab("#ff0000", normal), lab("#00ff00", normal)) > 150);
  CHECK(distance(lab("#8a8f1f", protan), lab("#e08a1e", protan)) < 6);  // two that were mixed up here once
  for (const Family& family : families()) {
    INFO(family.name);
    CHECK(lab(family.colour, normal)[0] > 40);  // lightness
    CHECK(lab(family.colour, normal)[0] < 80);
  }
  for (const Matrix& eye : {normal, protan, deutan, tritan}) {
    for (const Family& a : families()) {
      for (const Family& b : families()) {
        if (&a >= &b || b.name == "other") continue;
        INFO(a.name << " and " << b.name);
        CHECK(distance(lab(a.colour, eye), lab(b.colour, eye)) > 18);
      }
    }
  }
}
