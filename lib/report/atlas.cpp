#include "report/atlas.h"

#include <fmt/format.h>

#include <cctype>
#include <set>

#include "report/output.h"
#include "report/render.h"

namespace lra::report {
namespace fs = std::filesystem;

std::string picture_name(const Atlas& atlas, std::size_t i) {
  const auto plain = [](const std::string& variant) {
    std::string name;
    for (const char c : variant.substr(0, 80))
      name += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' ? c : '_';
    return name.empty() ? std::string("_") : name;
  };
  std::set<std::string> taken = {"atlas", "atlas_cost"};
  std::string name;
  for (std::size_t j = 0; j <= i; ++j) {
    name = plain(atlas.mixers[j].variant);
    for (int count = 2; taken.count(name) != 0; ++count)
      name = fmt::format("{}_{}", plain(atlas.mixers[j].variant), count);
    taken.insert(name);
  }
  return name;
}

std::vector<std::string> write_atlas(const Atlas& atlas, const fs::path& out, bool pictures) {
  for (std::size_t i = 0; i < atlas.mixers.size(); ++i)
    write_report_file(out, picture_name(atlas, i) + ".svg", mixer_svg(atlas.mixers[i]));
  const fs::path overview = out / "atlas.svg", chart = out / "atlas_cost.vl.json", chart_svg = out / "atlas_cost.svg";
  std::error_code code;
  for (const char* old : {"atlas.png", "atlas_cost.svg", "atlas_cost.png", "atlas_cost.pdf"})
    fs::remove(out / old, code);
  write_report_file(out, "atlas.svg", overview_svg(atlas));
  write_report_file(out, "atlas_cost.vl.json", json_text(cost_chart(atlas), 2) + "\n");
  std::vector<std::string> missing;
  if (const std::string problem = pictures ? render_charts({chart, overview}) : ""; !problem.empty())
    missing.push_back(problem);
  write_report_file(out, "atlas.html", atlas_page(atlas, fs::exists(chart_svg) ? read_file(chart_svg) : ""));
  return missing;
}

}  // namespace lra::report
