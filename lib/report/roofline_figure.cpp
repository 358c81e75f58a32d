#include <fmt/format.h>

#include <filesystem>
#include <map>

#include "core/error.h"
#include "core/thousands.h"
#include "report/figure_parts.h"
#include "report/find_files.h"

namespace lra::report {
namespace {

// Sums over the operators of one step, and what the machine could do at that time, per second.
struct StepProfile {
  std::string label, mixer, key;
  double flops = 0, bytes = 0, seconds = 0;
  double product_limit = 0, copy_limit = 0, fresh_limit = 0;
};

StepProfile read_profile(const std::filesystem::path& file, const Result& result) {
  const Json profile = parse_json(read_bounded(file), shown(file));
  const Json& limits = profile.at("limits");
  StepProfile step{result.display_name.empty() ? result.variant : result.display_name,
                   result.mixer,
                   result.variant,
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
    RooflineChart chart{figure.views.empty() ? "roofline" : "", "Training steps below the machine's limits", setting,
                        "Floating-point operations for each byte that operators read and write",
                        "GFLOP/s of a training step"};
    chart.products = products;
    chart.bandwidths = {{"memory", copying}, {"fresh memory", fresh}};
    std::sort(steps.begin(), steps.end(), [](const StepProfile& a, const StepProfile& b) { return a.label < b.label; });
    for (const StepProfile& step : steps) {
      chart.steps.push_back({step.label, step.mixer, step.flops / step.bytes, step.flops / step.seconds / 1e9});
      chart.steps.back().key = step.key;
    }
    chart.caption = {
        fmt::format("Limits (medians of what was measured beside the steps): {:.0f} GFLOP/s, the best rate of float32 "
                    "products; {:.0f} GB/s, the best rate of copying; {:.1f} GB/s (dashed), the rate of first writes "
                    "into fresh "
                    "memory, which limits programs that do not keep freed memory.",
                    products, copying, fresh),
        "Operations: matrix products and attention alone. Bytes: inputs and outputs of every operator."};
    figure.views.push_back(view_of({option(figure.switches[0].second, setting)}, chart, chart.name));
  }
  return figure;
}

}  // namespace lra::report
