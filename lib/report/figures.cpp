#include "report/figure_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <tuple>

#include "core/error.h"
#include "core/thousands.h"
#include "report/collect.h"
#include "report/find_files.h"
#include "report/labels.h"

namespace lra::report {
namespace {

/// The condition; of equal ones, with a number.
std::vector<std::string> names_of(const std::vector<GrowthSet>& sets) {
  std::vector<std::string> names;
  for (const GrowthSet& set : sets) {
    names.push_back(set.condition);
    if (const auto equal = std::count(names.begin(), names.end(), set.condition); equal > 1)
      names.back() += fmt::format(" ({})", equal);
  }
  return names;
}

}  // namespace

Figure bubble_figure(const std::vector<ScoreGroup>& scores, const std::vector<SpeedGroup>& speeds,
                     std::int64_t length) {
  // Beyond these, a page would take many megabytes: other rankings have one view.
  constexpr std::size_t rankings_in_full = 24;
  Figure figure{"bubbles",
                {{"Ranking", {}},
                 {"Length", {}},
                 {"Speed axis", {"logarithmic", "linear"}},
                 {"Memory", {"tensors", "whole process (CPU)"}}},
                {}};
  struct Ranking {
    const ScoreGroup* group;
    std::vector<const SpeedGroup*> measured;  // the one to show first is the first
    std::tuple<bool, bool, std::ptrdiff_t> weight;
  };
  std::vector<Ranking> rankings;
  for (const ScoreGroup& group : scores) {
    auto measured = speeds_for(group, speeds);
    const bool has_length =
        length == 0 || std::stable_partition(measured.begin(), measured.end(), [&](const SpeedGroup* speed) {
                         return speed->length == length;
                       }) != measured.begin();
    const SpeedGroup* speed = has_length && !measured.empty() ? measured.front() : nullptr;
    const auto drawn =
        speed == nullptr ? 0 : std::count_if(group.rows.begin(), group.rows.end(), [&](const ScoreRow& row) {
          return row.test && speed_of(row, *speed) != nullptr;
        });
    if (measured.empty()) measured.push_back(nullptr);
    rankings.push_back({&group, measured, {group.is_average(), speed != nullptr && speed->source == "bench", drawn}});
  }
  // What has the most to show comes first, but for averages, which sum all up.
  std::stable_sort(rankings.begin(), rankings.end(),
                   [](const Ranking& a, const Ranking& b) { return a.weight > b.weight; });
  for (std::size_t i = 0; i < rankings.size(); ++i) {
    const ScoreGroup& group = *rankings[i].group;
    const auto& measured = rankings[i].measured;
    const std::size_t ranking = option(figure.switches[0].second, group.name);
    for (const SpeedGroup* speed : measured) {
      const std::string name = speed == nullptr           ? "not measured"
                               : speed->source == "bench" ? with_commas(speed->length) + " tokens"
                                                          : "as in training";
      const std::size_t at = option(figure.switches[1].second, name);
      for (const Memory memory : {Memory::tensors, Memory::process}) {
        Chart chart = runs_chart(group, speed, memory);
        if (chart.bubbles.empty() && (speed != measured.front() || memory == Memory::process)) continue;
        double low = 1e300, high = 0;
        for (const Bubble& bubble : chart.bubbles) {
          low = std::min(low, bubble.x);
          high = std::max(high, bubble.x);
        }
        const bool log = high > 8 * low;
        for (const bool other : {false, true}) {
          const bool default_view = speed == measured.front() && memory == Memory::tensors && !other;
          if (!default_view && (i >= rankings_in_full || chart.bubbles.empty())) continue;
          chart.log_x = other ? !log : log;
          figure.views.push_back(view_of({ranking, at, *chart.log_x ? 0u : 1u, memory == Memory::tensors ? 0u : 1u},
                                         chart, default_view ? chart.name : ""));
        }
      }
    }
  }
  return figure;
}

Figure curves_figure(const std::vector<ScoreGroup>& scores) {
  Figure figure{"curves", {{"Task", {}}, {"Quantity", {}}}, {}};
  const std::tuple<const char*, const char*, const char*> quantities[] = {
      {"validation accuracy", "valid", "Validation accuracy (%)"},
      {"training accuracy", "train", "Training accuracy (%)"},
      {"training loss", "train", "Training loss"}};
  for (const ScoreGroup& group : scores) {
    std::vector<std::vector<CurvePoint>> points(group.rows.size());  // of all runs of a row
    for (std::size_t i = 0; i < group.rows.size(); ++i) {
      for (const Result* record : group.rows[i].records) {
        const auto curve = read_curve(record->file.parent_path());
        points[i].insert(points[i].end(), curve.begin(), curve.end());
      }
    }
    for (const auto& [quantity, split, title] : quantities) {
      const bool loss = quantity == std::string("training loss");
      LineChart chart{"curves_" + group.slug, group.task_name + ": learning curves", group.condition, "Training steps",
                      title};
      std::size_t most = 0;
      for (std::size_t i = 0; i < group.rows.size(); ++i) {
        const ScoreRow& row = group.rows[i];
        std::map<std::int64_t, std::pair<double, double>> sums;  // step -> sum, count
        for (const CurvePoint& point : points[i]) {
          const double value = loss ? point.loss : point.accuracy;
          if (point.split != split || !std::isfinite(value)) continue;
          sums[point.step].first += value;
          sums[point.step].second += 1;
        }
        Line line{row.label + (row.status == "ok" ? "" : fmt::format(" ({})", row.status)), row.mixer, {}, row.variant};
        for (const auto& [step, sum] : sums)
          line.points.emplace_back(static_cast<double>(step), sum.first / sum.second);
        most = std::max(most, line.points.size());
        if (!line.points.empty())
          chart.lines.push_back(line);
        else if (!row.records.empty())
          chart.not_drawn.emplace_back(row.label, "no metrics.jsonl");
      }
      if (most < 2) continue;  // a single evaluation is no curve
      std::stable_sort(chart.lines.begin(), chart.lines.end(),
                       [](const Line& a, const Line& b) { return a.points.back().second > b.points.back().second; });
      if (!loss) chart.levels = group.reference_levels;
      for (auto& [name, value] : chart.levels) {
        std::replace(name.begin(), name.end(), '_', ' ');
        name = fmt::format("· {} {:.1f}", name, value);
      }
      chart.narrowest_y = loss ? 0.1 : 4;
      chart.low_is_good = loss;
      chart.caption = {"Means over seeds. Training values are those of the batches since the evaluation before."};
      const bool first = quantity == std::string("validation accuracy");
      figure.views.push_back(
          view_of({option(figure.switches[0].second, group.name), option(figure.switches[1].second, quantity)}, chart,
                  first ? chart.name : ""));
    }
  }
  return figure;
}

Figure growth_figure(const std::vector<GrowthSet>& sets) {
  Figure figure{"growth", {{"Measured", {}}, {"Quantity", {}}}, {}};
  const auto names = names_of(sets);
  for (std::size_t i = 0; i < sets.size(); ++i) {
    const GrowthSet& set = sets[i];
    const std::tuple<const char*, const char*, const char*, std::optional<double> GrowthPoint::*, double> quantities[] =
        {{"time", "time of a training step", "Seconds per training step", &GrowthPoint::seconds, 1},
         {"memory", "memory", "Peak tensor memory (MB)", &GrowthPoint::bytes, 1e6},
         {"share", "the mixer's share of the step", "The mixer's share of a training step (%)", &GrowthPoint::share,
          0.01}};
    for (const auto& [name, quantity, title, member, unit] : quantities) {
      const std::string ending = i == 0 ? "" : fmt::format("_{}", i + 1);
      LineChart chart{fmt::format("growth_{}{}", name, ending), fmt::format("Against the length: {}", quantity),
                      set.condition, "Tokens in a sequence", title};
      const bool share = name == std::string("share");
      chart.log_x = true;
      chart.low_is_good = true;
      chart.log_y = !share;
      for (const GrowthRow& row : set.rows) {
        Line line{row.label, row.mixer, {}, row.variant};
        for (const GrowthPoint& point : row.points) {
          if (point.length >= 256 && point.*member && (share || *(point.*member) > 0))
            line.points.emplace_back(static_cast<double>(point.length), *(point.*member) / unit);
          if (point.status != "ok")
            chart.not_drawn.emplace_back(fmt::format("{} at {}", row.label, point.length), point.status);
        }
        if (share && row.mixer == "none") continue;
        if (!line.points.empty()) chart.lines.push_back(line);
      }
      if (chart.lines.empty()) continue;
      chart.caption = set.warnings;
      if (share)
        chart.caption.push_back(
            "1 - time of the model without mixing / time. What is left, embedding, projections, feed-forward and "
            "optimiser, is nearly the same for every mechanism: where the share is small, no mixer makes training "
            "faster.");
      figure.views.push_back(
          view_of({option(figure.switches[0].second, names[i]), option(figure.switches[1].second, quantity)}, chart,
                  chart.name));
    }
  }
  return figure;
}

Figure paper_figure(const Json& published) {
  Figure figure{"paper", {{"Length", {}}, {"Speed axis", {"linear", "logarithmic"}}}, {}};
  for (const char* length : {"4K", "3K", "2K", "1K"}) {
    for (const bool log : {false, true}) {
      Chart chart = paper_chart(published, length);
      chart.log_x = log;
      figure.views.push_back(view_of({option(figure.switches[0].second, length), log ? 1u : 0u}, chart,
                                     length == std::string("4K") && !log ? chart.name : ""));
    }
  }
  return figure;
}

}  // namespace lra::report
