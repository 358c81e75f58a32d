#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "report/atlas.h"
#include "report/families.h"
#include "report/find_files.h"
#include "report/labels.h"

namespace lra::report {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t longest = 4096;  // tokens of a map
constexpr std::int64_t largest_width = 1 << 24;
constexpr std::int64_t longest_of_costs = 1LL << 40;
constexpr std::size_t most_mixers = 500, most_maps = 64, most_costs = 1000;
constexpr std::size_t longest_text = 2000;
constexpr double largest_value = 1e30;

/// Typed access to one object of an atlas; errors name the file and the JSON path.
struct Part {
  const fs::path& file;
  const Json& json;
  std::string place;

  [[noreturn]] void fail(const std::string& where, const std::string& expected) const {
    throw Error(fmt::format("{}: {}/{}: expected {}", shown(file), place, where, expected),
                "write it again with lra-run atlas");
  }
  const Json& at(const std::string& key) const {
    if (!json.is_object()) fail("", "an object");
    const auto found = json.find(key);
    if (found == json.end()) fail(key, "a value, found none");
    return *found;
  }
  Part part(const std::string& key) const {
    if (!at(key).is_object()) fail(key, "an object");
    return {file, at(key), place + "/" + key};
  }
  std::vector<Part> list(const std::string& key, std::size_t most) const {
    const Json& items = at(key);
    if (!items.is_array() || items.size() > most) fail(key, fmt::format("a list of at most {}", most));
    std::vector<Part> parts;
    for (std::size_t i = 0; i < items.size(); ++i)
      parts.push_back({file, items[i], fmt::format("{}/{}/{}", place, key, i)});
    return parts;
  }
  std::string text(const std::string& key) const {
    const Json& value = at(key);
    if (!value.is_string() || value.get_ref<const std::string&>().size() > longest_text)
      fail(key, fmt::format("a text of at most {} bytes", longest_text));
    return value.get<std::string>();
  }
  std::string text_or(const std::string& key, const std::string& otherwise) const {
    return json.is_object() && json.contains(key) && !json[key].is_null() ? text(key) : otherwise;
  }
  std::int64_t whole(const std::string& key, std::int64_t low, std::int64_t high) const {
    const Json value = canonical(at(key));
    const bool good = value.is_number_integer() && !value.is_number_unsigned() && value.get<std::int64_t>() >= low &&
                      value.get<std::int64_t>() <= high;
    if (!good) fail(key, fmt::format("a whole number from {} to {}", low, high));
    return value.get<std::int64_t>();
  }
  std::optional<std::int64_t> whole_or_null(const std::string& key, std::int64_t low, std::int64_t high) const {
    return at(key).is_null() ? std::nullopt : std::optional(whole(key, low, high));
  }
  double number(const std::string& key, double low, double high) const {
    const Json& value = at(key);
    if (!value.is_number() || !(value.get<double>() >= low && value.get<double>() <= high))
      fail(key, fmt::format("a number from {:g} to {:g}", low, high));
    return value.get<double>();
  }
};

AtlasMap read_map(const Part& part, std::int64_t n) {
  AtlasMap map{part.text("label"), n, {}};
  const Json& rows = part.at("rows");
  const auto size = static_cast<std::size_t>(n);
  if (!rows.is_array() || rows.size() != size) part.fail("rows", fmt::format("{} rows", n));
  for (const Json& row : rows) {
    if (!row.is_array() || row.size() != size) part.fail("rows", fmt::format("rows of {} numbers", n));
    for (const Json& value : row) {
      if (!value.is_number() || !(std::abs(value.get<double>()) <= largest_value))
        part.fail("rows", fmt::format("numbers of at most {:g}", largest_value));
      map.values.push_back(value.get<double>());
    }
  }
  return map;
}

AtlasMixer read_mixer(const Part& part, std::int64_t n) {
  AtlasMixer mixer;
  mixer.mixer = part.text("mixer");
  mixer.variant = part.text_or("variant", mixer.mixer);
  mixer.display_name = part.text("display_name");
  mixer.family = part.text("family");
  mixer.formula = part.text("formula");
  mixer.cost = part.text("cost");
  mixer.kind = part.text("kind");
  const Part paper = part.part("paper"), options = part.part("options"), reach = part.part("reach"),
             flops = part.part("flops");
  mixer.paper = paper.text_or("title", "");
  mixer.arxiv = paper.text_or("arxiv", "");
  for (const auto& [key, value] : options.json.items()) {
    mixer.options.emplace_back(shorten(key, 100),
                               shorten(value.is_string() ? value.get<std::string>() : value.dump(), 100));
    if (mixer.options.size() > 100) part.fail("options", "at most 100 options");
  }
  constexpr std::int64_t most_layers = 1 << 20;
  mixer.layers_tried = reach.whole("layers_tried", 0, most_layers);
  mixer.layers_all = reach.whole_or_null("all", 0, most_layers);
  mixer.layers_cls = reach.whole_or_null("cls", 0, most_layers);
  for (const Part& map : part.list("maps", most_maps)) mixer.maps.push_back(read_map(map, n));
  if (mixer.maps.empty()) part.fail("maps", "at least one");
  for (const Part& point : flops.list("points", most_costs)) {
    const double cost = point.number("flops", 1, largest_value);
    mixer.costs.push_back({point.whole("n", 1, longest_of_costs), cost, point.number("masked_flops", 0, cost),
                           point.number("softmax_flops", 1, largest_value)});
    if (mixer.costs.size() > 1 && mixer.costs.back().n <= mixer.costs[mixer.costs.size() - 2].n)
      flops.fail("points", "n in ascending order");
  }
  mixer.below_softmax_from = flops.whole_or_null("below_softmax_from", 0, longest_of_costs);
  return mixer;
}

}  // namespace

Atlas parse_atlas(const Json& json, const fs::path& file) {
  const Part top{file, json, ""};
  if (!json.is_object() || canonical(json.value("schema_version", Json())) != Json(atlas_schema_version))
    top.fail("schema_version", fmt::format("{}", atlas_schema_version));
  Atlas atlas;
  atlas.n = top.whole("n", 1, longest);
  atlas.seed = top.whole("seed", 0, longest_of_costs);
  atlas.d_model = top.whole("d_model", 1, largest_width);
  atlas.num_heads = top.whole("num_heads", 1, largest_width);
  atlas.input = top.text("input");
  const Part model = top.part("flops_model");
  atlas.flops_d_model = model.whole("d_model", 1, largest_width);
  atlas.flops_num_heads = model.whole("num_heads", 1, largest_width);
  for (const Part& mixer : top.list("mixers", most_mixers)) atlas.mixers.push_back(read_mixer(mixer, atlas.n));
  if (atlas.mixers.empty()) top.fail("mixers", "at least one");
  std::stable_sort(atlas.mixers.begin(), atlas.mixers.end(), [](const AtlasMixer& a, const AtlasMixer& b) {
    const Family &first = family_named(a.family), &second = family_named(b.family);
    const auto place = [](const Family& family, const AtlasMixer& mixer) {
      return std::find(family.mixers.begin(), family.mixers.end(), mixer.mixer) - family.mixers.begin();
    };
    return &first == &second ? place(first, a) < place(second, b) : comes_before(first, second);
  });
  return atlas;
}

fs::path find_atlas(const std::vector<fs::path>& folders, std::vector<std::string>& broken) {
  fs::path best;
  std::size_t most = 0;
  for (const auto& [file, named] : find_files(folders, {"atlas.json"}).files) {
    try {
      const std::size_t count = parse_atlas(parse_json(read_bounded(file), shown(named)), named).mixers.size();
      if (count > most) best = file;
      most = std::max(most, count);
    } catch (const Error& error) {
      broken.push_back(error.what());
    }
  }
  return best;
}

}  // namespace lra::report
