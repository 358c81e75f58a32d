#include <fmt/format.h>

#include "core/text.h"
#include "report/assets.h"
#include "report/page_parts.h"

namespace lra::report {
namespace {

using namespace fmt::literals;

/// A select for each switch; those without a choice are hidden.
std::string switches_html(const Figure& figure, bool interactive) {
  std::string html;
  for (const auto& [title, options] : figure.switches) {
    const bool hidden = !interactive || options.size() < 2;
    const std::string name = escape_html(title);
    html += hidden ? "<select hidden>" : fmt::format("<label>{0} <select aria-label=\"{0}\">", name);
    for (const std::string& one : options) html += fmt::format("<option>{}</option>", escape_html(one));
    html += hidden ? "</select>" : "</select></label>";
  }
  return html;
}

std::string links_html(const Figure& figure, bool interactive, bool alone) {
  std::string html;
  if (interactive) {
    html = "Save what is shown: <button data-save=\"svg\">SVG</button> <button data-save=\"png\">PNG</button>";
  }
  std::string files;
  for (const View& view : figure.views) {
    if (view.file.empty()) continue;
    files += fmt::format("{}<a href=\"charts/{}.vl.json\">{}</a>", files.empty() ? "" : ", ", view.file, view.file);
  }
  if (!alone) html += (html.empty() ? "" : " · ") + ("Files for papers (Vega-Lite, SVG, PNG, PDF): " + files);
  return "<p class=\"links\">" + html + "</p>\n";
}

}  // namespace

std::string figure_html(const Figure& figure, const std::function<std::string(const std::string&)>& svg_of,
                        const Content& content, bool first) {
  if (figure.views.empty()) return {};
  const bool interactive = !content.vega_bundle.empty();
  const View& view = figure.views.front();
  const std::string svg = !interactive || first ? svg_of(view.file) : "";
  std::string drawing, fallback;
  if (!interactive) {
    drawing = !svg.empty() ? svg
                           : fmt::format(
                                 "<p class=\"note\">Not rendered: neither Vega's JavaScript nor a renderer was "
                                 "found. The chart is in charts/{}.vl.json.</p>",
                                 view.file);
  } else if (!svg.empty()) {
    fallback = "<noscript><div class=\"chart\">" + svg + "</div></noscript>\n";
  }
  const std::string caption = interactive ? "" : escape_html(fmt::format("{}", fmt::join(view.wide().caption, " ")));
  return fmt::format(fmt::runtime(assets::figure_html), "id"_a = figure_id(figure.id),
                     "switches"_a = switches_html(figure, interactive), "drawing"_a = drawing, "fallback"_a = fallback,
                     "caption"_a = caption, "links"_a = links_html(figure, interactive, content.alone));
}

Json figures_json(const std::vector<Figure>& figures) {
  Json all = Json::object();
  for (const Figure& figure : figures) {
    if (figure.views.empty()) continue;
    Json views = Json::array();
    for (const View& view : figure.views) {
      Json drawings = Json::object();
      for (std::size_t i = 0; i < layouts.size(); ++i) {
        const Drawing& drawing = view.drawings[i];
        drawings[layouts[i].name] = {{"spec", drawing.spec},
                                     {"caption", fmt::format("{}", fmt::join(drawing.caption, " "))}};
      }
      views.push_back({{"choice", view.choice}, {"drawings", drawings}});
    }
    all[figure_id(figure.id)] = {{"views", views}};
  }
  return all;
}

}  // namespace lra::report
