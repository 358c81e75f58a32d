#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json_file.h"

namespace lra::report {

inline constexpr std::int64_t atlas_schema_version = 1;

/// Which token reads which: the value in row i, column j says how much of token j goes into output i.
struct AtlasMap {
  std::string label;  ///< "head 1"
  std::int64_t n = 0;
  std::vector<double> values;  ///< n × n, row by row
};

/// FLOPs of one layer's mixer for one sequence of n tokens, and those of full attention.
struct AtlasCost {
  std::int64_t n = 0;
  double flops = 0, masked_flops = 0, softmax_flops = 0;
};

struct AtlasMixer {
  std::string mixer, variant, display_name, family, formula, cost, paper, arxiv, kind;
  std::vector<std::pair<std::string, std::string>> options;  ///< of the maps
  std::vector<AtlasMap> maps;
  std::int64_t layers_tried = 0;
  std::optional<std::int64_t> layers_all, layers_cls;  ///< layers until every token, or place 0, has seen every other
  std::vector<AtlasCost> costs;                        ///< empty for variants of a mixer
  std::optional<std::int64_t> below_softmax_from;      ///< the length from which on it takes fewer FLOPs than full
                                                       ///< attention; one of `costs` unless it is shorter than all

  bool is_attention() const {
    return !maps.empty() && maps.front().label.rfind("head", 0) == 0;
  }  ///< one map for each head
  bool cls_blind() const { return !layers_cls.has_value(); }
};

/// What `lra-run atlas` writes; mixers in the order of their families.
struct Atlas {
  std::int64_t n = 0, seed = 0, d_model = 0, num_heads = 0, flops_d_model = 0, flops_num_heads = 0;
  std::string input;
  std::vector<AtlasMixer> mixers;
};

/// Checks atlas.json, which may come from another program and hold anything. `file` names it in errors. Throws Error.
Atlas parse_atlas(const Json& json, const std::filesystem::path& file);

/// The map as SVG elements in a square of n × n units: one path for each of 12 shades, rows of equal shade merged. Zero
/// is left white; everything else has at least the palest shade; shades go with the square root of the magnitude,
/// relative to the largest.
std::string heat_map(const AtlasMap& map, const std::string& colour);

/// All maps of one mixer side by side.
std::string mixer_svg(const AtlasMixer& mixer);

/// All mixers in a grid: name, family, maps (heads that read the same places are drawn once), formula, cost, layers.
std::string overview_svg(const Atlas& atlas);

/// Vega-Lite specification of FLOPs per token against length.
Json cost_chart(const Atlas& atlas);

/// The self-contained page. `cost_svg`: the rendered chart, or empty.
std::string atlas_page(const Atlas& atlas, const std::string& cost_svg);

/// The file name of the picture of mixer `i`, without ending: its variant, without characters that file names cannot
/// have, and different from all other files of write_atlas.
std::string picture_name(const Atlas& atlas, std::size_t i);

/// Writes to `out`: <picture_name>.svg for each, atlas.svg and .png, atlas_cost.vl.json, .svg, .png and .pdf,
/// atlas.html. Returns sentences about what could not be made. Without `pictures` no PNG and PDF, and no picture of the
/// cost.
std::vector<std::string> write_atlas(const Atlas& atlas, const std::filesystem::path& out, bool pictures = true);

/// The atlas.json below the folders that has the most mixers; empty where there is none. A sentence for each that
/// cannot be read is added to `broken`.
std::filesystem::path find_atlas(const std::vector<std::filesystem::path>& folders, std::vector<std::string>& broken);

}  // namespace lra::report
