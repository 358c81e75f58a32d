#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <filesystem>
#include <map>
#include <regex>
#include <set>

#include "core/error.h"
#include "report/atlas.h"
#include "report/families.h"
#include "report/page.h"

namespace {

using namespace lra;
using namespace lra::report;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

Json entry(const std::string& mixer, const std::string& family, const Json& rows) {
  return {{"mixer", mixer},
          {"variant", mixer},
          {"display_name", "The " + mixer},
          {"family", family},
          {"paper", {{"title", "A paper"}, {"arxiv", "1234.5678"}}},
          {"formula", "Q Kᵀ V"},
          {"cost", "N² d"},
          {"options", {{"window", 4}, {"kind", "x"}}},
          {"kind", "weights"},
          {"reach", {{"layers_tried", 3}, {"all", nullptr}, {"cls", 2}}},
          {"flops",
           {{"points",
             {{{"n", 16}, {"flops", 320}, {"masked_flops", 160}, {"softmax_flops", 160}},
              {{"n", 24}, {"flops", 480}, {"masked_flops", 0}, {"softmax_flops", 600}},
              {{"n", 32}, {"flops", 640}, {"masked_flops", 0}, {"softmax_flops", 1280}}}},
            {"below_softmax_from", 24}}},
          {"maps", {{{"label", "head 1"}, {"rows", rows}}}}};
}

Json atlas_json(const Json& mixers) {
  return {{"schema_version", 1},
          {"n", 3},
          {"seed", 0},
          {"d_model", 64},
          {"num_heads", 1},
          {"input", "normal numbers"},
          {"flops_model", {{"d_model", 64}, {"num_heads", 2}}},
          {"mixers", mixers}};
}

const Json small_rows = {{0, 0, 1}, {-0.25, -0.25, 0}, {1e-13, 0.001, 1}};

/// Shade of every cell, read back from the paths: colour → cells.
std::map<std::string, std::set<std::pair<int, int>>> cells(const std::string& svg) {
  std::map<std::string, std::set<std::pair<int, int>>> found;
  const std::regex path("<path stroke=\"(#[0-9a-f]{6})\" d=\"([^\"]*)\"/>"), run("M([0-9]+) ([0-9]+)h([0-9]+)");
  for (std::sregex_iterator p(svg.begin(), svg.end(), path), end; p != end; ++p) {
    const std::string d = (*p)[2];
    for (std::sregex_iterator r(d.begin(), d.end(), run); r != end; ++r) {
      for (int j = 0; j < std::stoi((*r)[3]); ++j)
        CHECK(found[(*p)[1]].insert({std::stoi((*r)[2]), std::stoi((*r)[1]) + j}).second);
    }
  }
  return found;
}

}  // namespace

TEST_CASE("a heat map draws each value once, by magnitude, and zero not at all", "[atlas]") {
  const Atlas atlas = parse_atlas(atlas_json(Json::array({entry("softmax", "full", small_rows)})), "x");
  const std::string svg = heat_map(atlas.mixers.at(0).maps.at(0), "#3b6fb6");
  const auto found = cells(svg);
  REQUIRE(found.size() == 3);  // 0.001, 0.25, 1; 1e-13 is nothing
  std::set<std::set<std::pair<int, int>>> groups;
  for (const auto& [colour, places] : found) groups.insert(places);
  CHECK(groups == std::set<std::set<std::pair<int, int>>>{{{0, 2}, {2, 2}}, {{1, 0}, {1, 1}}, {{2, 1}}});
  CHECK_THAT(svg, ContainsSubstring("M0 1h2"));  // one run for two equal neighbours
  // 64 × 64 cells, no two neighbours alike, are still small.
  AtlasMap worst{"head 1", 64, {}};
  for (int i = 0; i < 64 * 64; ++i) worst.values.push_back(1 + (i * 7919 % 101));
  CHECK(heat_map(worst, "#3b6fb6").size() < 35000);
}

TEST_CASE("shades grow darker with the value", "[atlas]") {
  for (const Family& family : families()) {
    INFO(family.name);
    AtlasMap ramp{"head 1", 12, std::vector<double>(144, 0)};
    for (std::size_t i = 0; i < 12; ++i) ramp.values[i] = std::pow((static_cast<double>(i) + 0.5) / 11.5, 2);
    std::map<int, double> lightness;  // by column
    for (const auto& [colour, places] : cells(heat_map(ramp, family.colour))) {
      REQUIRE(places.size() == 1);
      double sum = 0;
      for (const int part : {1, 3, 5}) sum += std::stoi(colour.substr(static_cast<std::size_t>(part), 2), nullptr, 16);
      lightness[places.begin()->second] = sum;
    }
    REQUIRE(lightness.size() == 12);
    CHECK(lightness[0] < 255 * 3 - 20);  // visible against white
    for (int i = 1; i < 12; ++i) CHECK(lightness[i] < lightness[i - 1]);
  }
}

TEST_CASE("the atlas page shows every mixer, who is blind, and escapes", "[atlas]") {
  Json blind = entry("none", "reference", small_rows), evil = entry("zzz", "a new family", small_rows);
  blind["reach"]["cls"] = nullptr;
  evil["display_name"] = "<img src=x>";
  evil["paper"]["title"] = "\"><script>";
  const Atlas atlas = parse_atlas(
      atlas_json({evil, blind, entry("flash", "full", small_rows), entry("softmax", "full", small_rows)}), "x");
  std::vector<std::string> order;
  for (const AtlasMixer& mixer : atlas.mixers) order.push_back(mixer.mixer);
  CHECK(order == std::vector<std::string>{"softmax", "flash", "none", "zzz"});
  const std::string html = atlas_page(atlas, "");
  CHECK(html.find("<img src=x>") == std::string::npos);
  CHECK(html.find("\"><script>") == std::string::npos);
  CHECK_THAT(html, ContainsSubstring("The softmax") && ContainsSubstring("https://arxiv.org/abs/1234.5678") &&
                       ContainsSubstring("window 4, kind x") && ContainsSubstring("from N = 24") &&
                       ContainsSubstring("2 d d′ N"));
  const std::string picture = overview_svg(atlas);
  const auto count = [&](const std::string& part) {
    std::size_t number = 0;
    for (std::size_t at = picture.find(part); at != std::string::npos; at = picture.find(part, at + 1)) ++number;
    return number;
  };
  CHECK(count(">CLS blind<") == 1);
  CHECK(count("all see all: never") == 4);
  CHECK(count("Q K<tspan dy=\"-0.4em\" font-size=\"70%\">T</tspan><tspan dy=\"0.28em\"> V</tspan>") ==
        4);  // fonts lack ᵀ
  CHECK_THAT(mixer_svg(atlas.mixers[0]), ContainsSubstring("head 1") && ContainsSubstring("M2 0h1"));
}

TEST_CASE("the cost chart has every line, names that do not overlap, and the crossings on the line of full attention",
          "[atlas]") {
  Json mixers = Json::array();
  for (int i = 0; i < 24; ++i) mixers.push_back(entry("mixer" + std::to_string(i), "kernel", small_rows));
  const Json spec = cost_chart(parse_atlas(atlas_json(mixers), "x"));
  CHECK(spec["layer"][0]["data"]["values"].size() == 25 * 3);  // full attention beside them
  const Json& crossing = spec["layer"][1]["data"]["values"][0];
  CHECK(crossing["n"] == 24);
  CHECK(crossing["flops"] == 25);  // per token
  std::set<double> heights;
  for (const Json& layer : spec["layer"]) {
    if (layer["mark"]["type"] == "text") heights.insert(layer["encoding"]["y"]["value"].get<double>());
  }
  REQUIRE(heights.size() == 25);
  CHECK(*heights.begin() >= 0);
  CHECK(*heights.rbegin() <= spec["height"].get<double>());
  for (auto next = std::next(heights.begin()); next != heights.end(); ++next) CHECK(*next - *std::prev(next) >= 14);
}

TEST_CASE("a broken atlas.json is named", "[atlas]") {
  const auto refused = [](const Json& json) {
    try {
      parse_atlas(json, "some/atlas.json");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  CHECK_THAT(refused(Json::array()), ContainsSubstring("some/atlas.json: /schema_version: expected 1"));
  CHECK_THAT(refused(atlas_json(Json::array())), ContainsSubstring("at least one"));
  CHECK_THAT(refused(atlas_json(Json::array({entry("x", "full", {{1, 2, 3}, {1, 2, 3}})}))),
             ContainsSubstring("/mixers/0/maps/0/rows: expected 3 rows"));
  CHECK_THAT(refused(atlas_json(Json::array({entry("x", "full", {{1, 2}, {1, 2}, {1, 2}})}))),
             ContainsSubstring("expected rows of 3 numbers"));
  Json lacking = entry("x", "full", small_rows);
  lacking.erase("reach");
  CHECK_THAT(refused(atlas_json(Json::array({lacking}))), ContainsSubstring("reach"));
}

TEST_CASE("the report takes the atlas with the most mixers", "[atlas]") {
  const fs::path folder = fs::temp_directory_path() / ("lra_atlas_" + std::to_string(::getpid()));
  std::vector<std::string> broken;
  CHECK(find_atlas({folder}, broken).empty());
  write_json(folder / "a/atlas.json", atlas_json(Json::array({entry("softmax", "full", small_rows)})));
  write_json(folder / "b/deep/atlas.json",
             atlas_json(Json::array({entry("softmax", "full", small_rows), entry("none", "reference", small_rows)})));
  write_json(folder / "c/atlas.json", atlas_json(Json::array({entry("none", "reference", small_rows)})));
  CHECK(find_atlas({folder}, broken) == fs::canonical(folder / "b/deep/atlas.json"));
  fs::remove_all(folder);
  Content content;
  const auto no_svg = [](const std::string&) { return std::string(); };
  CHECK(page(content, no_svg).find("atlas.html") == std::string::npos);
  content.atlas_svg = "<svg>the overview</svg>";
  CHECK_THAT(page(content, no_svg), ContainsSubstring("<svg>the overview"));
  CHECK_THAT(page(content, no_svg), ContainsSubstring("<a href=\"atlas.html\">"));
}
