#include "report/figures.h"

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

template <class C>
View view_of(std::vector<std::size_t> choice, const C& chart, const std::string& file = {}) {
  return {std::move(choice), draw(chart, wide_layout), draw(chart, narrow_layout), file};
}

/// The place of the option in the list, added where it is new.
std::size_t option(std::vector<std::string>& options, const std::string& name) {
  const auto found = std::find(options.begin(), options.end(), name);
  if (found != options.end()) return static_cast<std::size_t>(found - options.begin());
  options.push_back(name);
  return options.size() - 1;
}

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
        Line line{row.label + (row.status == "ok" ? "" : fmt::format(" ({})", row.status)), row.mixer, {}};
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
      chart.log_y = !share;
      for (const GrowthRow& row : set.rows) {
        Line line{row.label, row.mixer, {}};
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

namespace {

// Sums over the operators of one step, and what the machine could do at that time, per second.
struct StepProfile {
  std::string label, mixer;
  double flops = 0, bytes = 0, seconds = 0;
  double product_limit = 0, copy_limit = 0, fresh_limit = 0;
};

StepProfile read_profile(const std::filesystem::path& file, const Result& result) {
  const Json profile = parse_json(read_bounded(file), shown(file));
  const Json& limits = profile.at("limits");
  StepProfile step{result.display_name.empty() ? result.variant : result.display_name,
                   result.mixer,
                   0,
                   0,
                   profile.at("seconds_per_step"),
                   limits.at("float32_flops"),
                   limits.at("copy_bytes"),
                   limits.at("first_touch_bytes")};
  for (const Json& one : profile.at("operators")) {
    step.flops += one.at("flops").get<double>();
    step.bytes += one.at("bytes").get<double>();
  }
  if (std::min({step.flops, step.bytes, step.seconds, step.product_limit, step.copy_limit, step.fresh_limit}) <= 0)
    throw Error(shown(file) + ": a step or a machine without products, bytes or time");
  return step;
}

// A machine's limits differ between measurements: the median of all that were made, in units of 10⁹.
double median_limit(const std::vector<StepProfile>& steps, double StepProfile::* limit) {
  std::vector<double> values;
  for (const StepProfile& step : steps) values.push_back(step.*limit / 1e9);
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

Figure roofline_figure(const std::vector<Result>& results, std::vector<std::string>& broken) {
  Figure figure{"roofline", {{"Measured", {}}}, {}};
  std::map<std::string, std::vector<StepProfile>> settings;
  for (const Result& result : results) {
    const auto file = result.file.parent_path() / "profile.json";
    if (result.kind != "bench" || !std::filesystem::is_regular_file(file)) continue;
    const auto of = [&](const char* key) { return text_at(result.config, key); };
    const std::string setting =
        fmt::format("{} · {} tokens, batch {}, width {}, {} layer{} · {}", result.task,
                    with_commas(result.sequence_length.value_or(0)), of("batch_size"), of("d_model"), of("num_layers"),
                    of("num_layers") == "1" ? "" : "s", of("precision"));
    try {
      const StepProfile step = read_profile(file, result);
      settings[setting].push_back(step);
    } catch (const Json::exception& error) {
      broken.push_back(fmt::format("{}: not a profile of operators ({})", shown(file), error.what()));
    } catch (const Error& error) {
      broken.push_back(error.what());
    }
  }
  for (auto& [setting, steps] : settings) {
    const double products = median_limit(steps, &StepProfile::product_limit),
                 copying = median_limit(steps, &StepProfile::copy_limit),
                 fresh = median_limit(steps, &StepProfile::fresh_limit);
    LineChart chart{figure.views.empty() ? "roofline" : "", "Training steps below the machine's limits", setting,
                    "Floating-point operations for each byte that operators read and write",
                    "GFLOP/s of a training step"};
    chart.log_x = chart.log_y = true;
    std::sort(steps.begin(), steps.end(), [](const StepProfile& a, const StepProfile& b) { return a.label < b.label; });
    double least = 1e300, most = 0;
    for (const StepProfile& step : steps) {
      const double intensity = step.flops / step.bytes;
      least = std::min(least, intensity);
      most = std::max(most, intensity);
      chart.lines.push_back({step.label, step.mixer, {{intensity, step.flops / step.seconds / 1e9}}});
    }
    const double left = least / 2, right = most * 2;
    const auto roof = [&](const std::string& label, double bandwidth) {
      Line line{label, "", {{left, std::min(products, left * bandwidth)}}};
      if (products / bandwidth > left && products / bandwidth < right)
        line.points.emplace_back(products / bandwidth, products);
      line.points.emplace_back(right, std::min(products, right * bandwidth));
      chart.lines.push_back(line);
    };
    roof(fmt::format("limit: {:.0f} GFLOP/s, {:.0f} GB/s", products, copying), copying);
    roof(fmt::format("fresh memory: {:.1f} GB/s", fresh), fresh);
    chart.caption = {
        "Limits: the best rate of float32 products and of copying that was measured beside the steps (medians), and "
        "the rate of first writes into memory that "
        "the system has just given, which limits programs that do not keep freed memory.",
        "Operations: matrix products and attention alone; bytes: inputs and outputs of every operator."};
    figure.views.push_back(view_of({option(figure.switches[0].second, setting)}, chart, chart.name));
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
