#include "report/vega.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "report/labels.h"

namespace lra::report {
namespace {

double title_size(const Layout& layout) { return layout.narrow ? 15 : 18; }
constexpr const char* font = "Arial, Helvetica, Liberation Sans, sans-serif";

void set_ticks(Axis& axis) {
  const auto room = static_cast<std::size_t>(std::max(3.0, axis.size / 50));
  if (axis.log) {
    for (const auto& digits : {std::vector<double>{1}, {1, 3}, {1, 2, 5}, {1, 2, 3, 5, 7}}) {
      std::vector<double> ticks;
      for (int power = -12; power <= 15; ++power) {
        for (const double digit : digits) {
          const double tick = std::stod(fmt::format("{}e{}", digit, power));
          if (tick >= axis.low && tick <= axis.high) ticks.push_back(tick);
        }
      }
      if (ticks.size() > room && axis.ticks.size() >= 2) return;
      axis.ticks = ticks;
      if (ticks.size() >= 5) return;
    }
    if (axis.ticks.size() >= 2) return;
  }
  axis.ticks.clear();
  const double rough = (axis.high - axis.low) / std::min(6.0, axis.size / 55),
               power = std::pow(10, std::floor(std::log10(rough)));
  const double step = rough / power < 1.5   ? power
                      : rough / power < 3.5 ? 2 * power
                      : rough / power < 7.5 ? 5 * power
                                            : 10 * power;
  const double first = std::ceil(axis.low / step);
  for (int i = 0; i < 20 && (first + i) * step <= axis.high; ++i)
    axis.ticks.push_back(std::round((first + i) * step * 1e9) / 1e9);
}

/// Six digits of every number: less to carry, and the same text where the last bits of a logarithm differ from
/// processor to processor.
Json rounded(Json json) {
  if (json.is_structured()) {
    for (Json& part : json) part = rounded(std::move(part));
  } else if (json.is_number_float()) {
    json = std::stod(fmt::format("{:.6g}", json.get<double>()));
  }
  return json;
}

}  // namespace

double Axis::t(double value) const { return log ? std::log10(value) : value; }

Axis fit_axis(const std::vector<std::pair<double, double>>& values, double size, bool log, double narrowest) {
  Axis axis;
  axis.log = log;
  axis.size = size;
  double low = 1e300, high = -1e300;
  for (const auto& [value, distance] : values) {
    low = std::min(low, axis.t(value));
    high = std::max(high, axis.t(value));
  }
  if (high - low < narrowest) {
    const double middle = (low + high) / 2;
    low = middle - narrowest / 2;
    high = middle + narrowest / 2;
  }
  const double first_low = low, first_high = high;
  for (int round = 0; round < 60; ++round) {
    const double per_pixel = (high - low) / size;
    double next_low = first_low, next_high = first_high;
    for (const auto& [value, distance] : values) {
      next_low = std::min(next_low, axis.t(value) - distance * per_pixel);
      next_high = std::max(next_high, axis.t(value) + distance * per_pixel);
    }
    low = next_low;
    high = next_high;
  }
  axis.low = log ? std::pow(10, low) : low;
  axis.high = log ? std::pow(10, high) : high;
  set_ticks(axis);
  return axis;
}

Json layer(Json data, Json mark, Json encoding) {
  return {{"data", {{"values", std::move(data)}}}, {"mark", std::move(mark)}, {"encoding", std::move(encoding)}};
}

Json pixels(double value) { return {{"value", std::round(value * 100) / 100}}; }

Json pixel_field(const char* field) {
  return {{"field", field}, {"type", "quantitative"}, {"scale", nullptr}, {"axis", nullptr}};
}

Json name_layer(Json names, const Layout& layout) {
  return layer(
      std::move(names),
      {{"type", "text"}, {"align", "center"}, {"baseline", "middle"}, {"fontSize", name_size(layout)}, {"color", ink}},
      {{"x", pixel_field("px")}, {"y", pixel_field("py")}, {"text", {{"field", "text"}}}});
}

Json axis_field(const char* field, const Axis& axis, const std::string& title, const std::string& format,
                const Layout& layout) {
  Json scale = {{"type", axis.log ? "log" : "linear"}, {"domain", {axis.low, axis.high}}, {"nice", false}};
  if (!axis.log) scale["zero"] = false;
  return {{"field", field},
          {"type", "quantitative"},
          {"scale", scale},
          {"axis",
           {{"title", wrap(title, axis.size * 1.05, name_size(layout))}, {"values", axis.ticks}, {"format", format}}}};
}

Json caption_layer(const std::vector<std::string>& sentences, const Layout& layout) {
  std::string text;
  const double size = small_size(layout) - 0.5;
  for (const std::string& line : wrap(fmt::format("{}", fmt::join(sentences, " ")), layout.width + 150, size))
    text += (text.empty() ? "" : "\n") + line;
  return layer(Json::array({Json::object()}),
               {{"type", "text"},
                {"text", text},
                {"lineBreak", "\n"},
                {"align", "left"},
                {"baseline", "top"},
                {"fontSize", size},
                {"lineHeight", 17},
                {"color", grey_ink}},
               {{"x", pixels(0)}, {"y", pixels(layout.height + 60)}});
}

Json chart_base(const Layout& layout) {
  const double names = name_size(layout), numbers = small_size(layout);
  return {{"$schema", "https://vega.github.io/schema/vega-lite/v6.json"},
          {"background", "white"},
          {"config",
           {{"font", font},
            {"view", {{"stroke", line_grey}, {"strokeOpacity", 0.45}}},
            {"title",
             {{"anchor", "start"},
              {"frame", "group"},
              {"fontSize", title_size(layout)},
              {"fontWeight", 600},
              {"color", ink},
              {"subtitleFontSize", numbers},
              {"subtitleColor", grey_ink},
              {"subtitlePadding", 6},
              {"subtitleLineHeight", numbers + 4},
              {"offset", 14}}},
            {"axis",
             {{"gridColor", line_grey},
              {"gridOpacity", 0.18},
              {"domain", false},
              {"tickColor", line_grey},
              {"labelColor", grey_ink},
              {"titleColor", ink},
              {"labelFontSize", numbers},
              {"titleFontSize", names},
              {"titleFontWeight", "normal"},
              {"titlePadding", 10},
              {"labelOverlap", false}}},
            {"legend",
             {{"titleFontSize", numbers},
              {"titleFontWeight", 600},
              {"labelFontSize", numbers},
              {"labelColor", grey_ink},
              {"titleColor", ink},
              {"rowPadding", 4},
              {"labelLimit", 200},
              {"titleLimit", 220},
              {"layout",
               {{"right", {{"direction", "vertical"}, {"margin", 22}}},
                {"bottom", {{"direction", "vertical"}, {"anchor", "start"}, {"margin", 12}}}}}}}}}};
}

Json chart_spec(const std::string& title, const std::string& subtitle, const Layout& layout, Json layers) {
  const double room = layout.narrow ? layout.width : layout.width + 150;
  return {
      {"description", title + ". " + subtitle},
      {"title",
       {{"text", wrap(title, room, title_size(layout) + 1)}, {"subtitle", wrap(subtitle, room, small_size(layout))}}},
      {"width", layout.width},
      {"height", layout.height},
      {"padding", layout.narrow ? 2 : 14},
      {"layer", rounded(std::move(layers))}};
}

Json complete_spec(const Json& own, const Layout& layout) {
  Json spec = chart_base(layout);
  spec.update(own);
  return spec;
}

}  // namespace lra::report
