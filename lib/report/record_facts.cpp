#include "report/record_facts.h"

#include <fmt/format.h>

#include "report/labels.h"

namespace lra::report {
namespace {

/// The settings with the options of mixer and task as keys of their own: "mixer_options.features".
std::map<std::string, std::string> flat_settings(const Result& result) {
  std::map<std::string, std::string> flat;
  for (const auto& [key, value] : result.settings.items()) {
    if (!value.is_object())
      flat[key] = text_at(result.settings, key.c_str());
    else
      for (const auto& [option, one] : value.items()) flat[key + "." + option] = text_at(value, option.c_str());
  }
  return flat;
}

}  // namespace

std::optional<std::int64_t> integer_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<std::int64_t>();
}

std::map<std::string, std::set<std::string>> differing_keys(const std::vector<const Result*>& results) {
  std::map<std::string, std::set<std::string>> values;
  std::map<std::string, std::size_t> present;
  std::set<std::string> done;  // settings
  for (const Result* result : results) {
    if (!done.insert(result->signature).second) continue;
    for (const auto& [key, value] : flat_settings(*result)) {
      values[key].insert(shorten(value, 60));
      ++present[key];
    }
  }
  std::erase_if(values,
                [&](const auto& item) { return item.second.size() == 1 && present.at(item.first) == done.size(); });
  for (const std::string& key : bookkeeping_keys()) values.erase(key);
  return values;
}

std::map<std::string, std::string> labels_of(const std::vector<const Result*>& results) {
  std::map<std::string, std::vector<const Result*>> by_variant;
  std::map<std::string, std::set<std::string>> variants_named;  // display name -> variants
  for (const Result* result : results) {
    by_variant[result->variant].push_back(result);
    variants_named[result->display_name].insert(result->variant);
  }
  std::map<std::string, std::string> labels;  // variant + signature -> label
  for (const auto& [variant, members] : by_variant) {
    const auto differing = differing_keys(members);
    for (const Result* result : members) {
      std::string& label = labels[variant + result->signature];
      if (!label.empty()) continue;
      const bool named = !result->display_name.empty() &&
                         (variant == result->mixer || variants_named[result->display_name].size() == 1);
      label = named ? result->display_name : variant;
      std::string details;
      const auto settings = flat_settings(*result);
      for (const auto& [key, values] : differing) {
        const auto value = settings.find(key);
        details += fmt::format("{}{}={}", details.empty() ? "" : ", ", key.substr(key.find('.') + 1),
                               value == settings.end() ? "none" : shorten(value->second, 60));
      }
      if (!details.empty()) label += " (" + details + ")";
    }
  }
  return labels;
}

std::string number_list(const std::vector<const Result*>& results, const char* key) {
  std::set<std::int64_t> values;
  for (const Result* result : results) {
    if (const auto value = integer_at(result->config, key)) values.insert(*value);
  }
  if (values.empty()) return "?";
  return values.size() == 1 ? fmt::format("{}", *values.begin())
                            : fmt::format("{} to {}", *values.begin(), *values.rbegin());
}

std::string sizes_of(const Result& result) {
  const auto size = [&](const char* key) { return shorten(text_at(result.config, key), 20); };
  const auto layers = size("num_layers"), width = size("d_model"), heads = size("num_heads");
  if (layers.empty()) return "sizes unknown";
  return fmt::format("{} layer{}, width {}, {} head{}", layers, layers == "1" ? "" : "s", width, heads,
                     heads == "1" ? "" : "s");
}

Json model_sizes(const Result& result) {
  return {text_at(result.settings, "num_layers"), text_at(result.settings, "d_model"),
          text_at(result.settings, "num_heads")};
}

std::string training_of(const Result& result) {
  return Json{result.task, text_at(result.settings, "seq_len"), text_at(result.settings, "limit"),
              text_at(result.settings, "batch_size"), data_identity(result)}
      .dump();
}

bool is_dirty(const Result& result) { return text_at(result.build, "dirty") == "true"; }

std::string build_of(const Result& result) {
  std::string text =
      "revision " + text_at(result.build, "revision").substr(0, 10) + (is_dirty(result) ? " with changes" : "");
  if (const std::string libtorch = text_at(result.build, "libtorch"); !libtorch.empty())
    text += ", LibTorch " + libtorch;
  if (const std::string type = text_at(result.build, "build_type"); !type.empty() && type != "Release")
    text += ", " + type;
  return text;
}

std::string machine_of(const Result& result) {
  const std::string name = text_at(result.host, "name"), cpu = text_at(result.host, "cpu"),
                    device = text_at(result.host, "device");
  const std::string& computes = device.empty() || device == "cpu" ? cpu : device;
  return (name.empty() ? "unnamed host" : name) + (computes.empty() ? "" : ", " + computes);
}

std::string describe_host(const Result& result) {
  const std::string device = text_at(result.host, "device"), threads = text_at(result.host, "threads");
  if (threads.empty() || !(device.empty() || device == "cpu")) return machine_of(result);
  return fmt::format("{}, {} thread{}", machine_of(result), threads, threads == "1" ? "" : "s");
}

std::string model_of(const Result& result) {
  std::string model;
  for (const char* key : {"mixer_options", "num_layers", "d_model", "d_qkv", "d_ff", "num_heads"})
    model += text_at(result.settings, key) + " ";
  return model;
}

}  // namespace lra::report
