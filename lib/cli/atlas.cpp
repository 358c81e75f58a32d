#include "cli/atlas.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <torch/autograd.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "cli/meta_device.h"
#include "core/config_files.h"
#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "mixers/attention_mixer.h"
#include "mixers/seed.h"
#include "report/atlas.h"
#include "train/device.h"

namespace lra {
namespace {

constexpr std::int64_t width = 64, heads = 4;            // of the mixers whose matrices are drawn
constexpr std::int64_t cost_width = 64, cost_heads = 2;  // profile `small`
constexpr std::int64_t shortest = 16, longest = 16384;   // of the cost curves
constexpr std::int64_t longest_square = 4096;            // where parameters grow with n²
constexpr std::int64_t most_tokens = 512, most_layers = 64;
constexpr double negligible = 1e-12;  // against the largest: not read (weights that begin near zero are)

MixerSpec picture_spec(std::int64_t n, std::uint64_t seed) {
  return {.d_model = width,
          .d_qkv = width,
          .num_heads = heads,
          .max_length = n,
          .attention_dropout = 0,
          .bias = false,
          .layout = "auto",
          .layer = 0,
          .seed = seed};
}

SequenceLayout equal_lengths(std::int64_t count, std::int64_t n) {
  return SequenceLayout(std::vector<std::int64_t>(static_cast<std::size_t>(count), n));
}

at::Tensor normal(at::IntArrayRef sizes, std::uint64_t seed) {
  return at::randn(sizes, at::make_generator<at::CPUGeneratorImpl>(seed), at::kDouble);
}

// Whether a mixer makes weights from x and multiplies values with them, head by head: attention, or several of them
// side by side.
bool has_weights(const Mixer& mixer) {
  const auto attention = [](const torch::nn::Module* module) {
    return dynamic_cast<const AttentionMixer*>(module) != nullptr;
  };
  const auto parts = mixer.children();
  return attention(&mixer) || (!parts.empty() && std::all_of(parts.begin(), parts.end(),
                                                             [&](const auto& part) { return attention(part.get()); }));
}

// (H, n, n, d): [h, i, j] is what value `probe` (d_model) at token j alone adds to the output of token i. One sequence
// for each j, as many at once as memory allows.
at::Tensor responses(Mixer& mixer, const MixerSpec& spec, const at::Tensor& x, const at::Tensor& probe) {
  const at::NoGradGuard guard;
  const std::int64_t n = x.size(0);
  const at::Tensor nothing = mixer.mix_values(x, at::zeros_like(x), SequenceLayout({n}));  // tokens of the mixer's own
  const std::int64_t at_once = std::clamp<std::int64_t>((std::int64_t{1} << 22) / (n * n * spec.num_heads), 1, n);
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < n; first += at_once) {
    const std::int64_t count = std::min(at_once, n - first);
    const at::Tensor values =
        at::eye(n, x.options()).narrow(0, first, count).unsqueeze(-1) * probe;  // (count, n, d_model)
    const at::Tensor out =
        mixer.mix_values(x.repeat({count, 1}), values.view({count * n, -1}), equal_lengths(count, n));
    parts.push_back(out.view({count, n, -1}) - nothing);
  }
  return at::cat(parts).view({n, n, spec.num_heads, spec.d_head()}).permute({2, 1, 0, 3});
}

MixingMatrix attention_matrix(Mixer& mixer, const MixerSpec& spec, const at::Tensor& x) {
  const std::int64_t d = spec.d_head();
  MixingMatrix result;
  for (std::int64_t h = 0; h < spec.num_heads; ++h) result.labels.push_back(fmt::format("head {}", h + 1));
  // What weights do to a random value is a multiple of it; nothing else does that.
  const at::Tensor probe = normal({d}, 1);
  const at::Tensor response = responses(mixer, spec, x, probe.repeat({spec.num_heads}));
  const at::Tensor weights = at::matmul(response, probe) / probe.square().sum();
  result.kind = "weights";
  result.matrices = weights;
  const double rest = (response - weights.unsqueeze(-1) * probe).abs().max().item<double>();
  if (rest > 1e-9 * response.abs().max().item<double>()) {
    result.kind = "jacobian norm";
    at::Tensor squares = at::zeros_like(weights);
    for (std::int64_t c = 0; c < d; ++c)
      squares += responses(mixer, spec, x, at::eye(d, x.options())[c].repeat({spec.num_heads})).square().sum(-1);
    result.matrices = (squares / static_cast<double>(d)).sqrt();
  }
  return result;
}

MixingMatrix jacobian_matrix(Mixer& mixer, const at::Tensor& x) {
  const std::int64_t n = x.size(0), d = x.size(1);
  std::vector<at::Tensor> norms, diagonals;
  for (std::int64_t i = 0; i < n; ++i) {  // d copies of the sequence, one for each feature of output i
    const at::Tensor copies = x.repeat({d, 1});
    const at::Tensor values = copies.clone().requires_grad_();
    const at::Tensor out = mixer.mix_values(copies, values, equal_lengths(d, n));
    const at::Tensor one_feature = at::zeros({d, n, d}, x.options());
    one_feature.select(1, i).copy_(at::eye(d, x.options()));
    const at::Tensor block = torch::autograd::grad({out}, {values}, {one_feature.view({d * n, d})})[0].view(
        {d, n, d});  // by feature of i, token j and its feature
    norms.push_back((block.square().sum({0, 2}) / static_cast<double>(d)).sqrt());
    diagonals.push_back(block.diagonal(0, 0, 2).mean(-1));
  }
  return {"jacobian norm", {"all features", "same feature"}, at::stack({at::stack(norms), at::stack(diagonals)})};
}

// (n, n) bool: whom each token reads in any head, and itself. One random direction shows what any would.
at::Tensor read_tokens(Mixer& mixer, const MixerSpec& spec, const at::Tensor& x) {
  const std::int64_t n = x.size(0);
  const at::Tensor probe = normal({spec.d_model}, 2);
  at::Tensor size;
  if (has_weights(mixer)) {
    size = responses(mixer, spec, x, probe).norm(2, at::IntArrayRef({0, 3}));
  } else {  // n copies of the sequence, one for each output
    const at::Tensor copies = x.repeat({n, 1}), values = copies.clone().requires_grad_();
    const at::Tensor one_output = at::eye(n, x.options()).unsqueeze(-1) * probe;
    const at::Tensor out = mixer.mix_values(copies, values, equal_lengths(n, n));
    size = torch::autograd::grad({out}, {values}, {one_output.view({n * n, -1})})[0].view({n, n, -1}).norm(2, -1);
  }
  return size.gt(negligible * size.max()).logical_or(at::eye(n, at::kBool));
}

Json number(double value) { return Json::parse(fmt::format("{:.3g}", value)); }

Json rows(const at::Tensor& matrix) {
  Json json = Json::array();
  const at::Tensor values = matrix.contiguous();
  const auto cells = values.accessor<double, 2>();
  for (std::int64_t i = 0; i < matrix.size(0); ++i) {
    Json row = Json::array();
    for (std::int64_t j = 0; j < matrix.size(1); ++j) row.push_back(number(cells[i][j]));
    json.push_back(std::move(row));
  }
  return json;
}

// `picture`: options that replace the defaults.
Json resolved(const std::string& name, const Json& config, const Json& picture, const Json& overrides) {
  LayeredJson layers;
  const std::string file = (config_root() / "mixers" / (name + ".json")).string();
  layers.merge({{"mixer_options", config.value("options", Json::object())}}, file);
  layers.merge({{"mixer_options", picture}}, file);
  layers.merge(overrides, command_line_origin);
  return mixer_registry().at(name).resolve(layers, "/mixer_options");
}

MixerCost cost_at(const std::string& name, const Json& options, std::int64_t n) {
  const MixerSpec spec{.d_model = cost_width, .d_qkv = cost_width, .num_heads = cost_heads, .max_length = n};
  const MetaDevice no_memory;
  return mixer_registry().at(name).make(spec, options)->cost(n);
}

// Refuses options with which a mixer of a few tokens, in float64, is larger than a picture is worth.
void refuse_large(const std::string& name, const MixerSpec& spec, const Json& options) {
  constexpr double most_gigabytes = 0.25;
  double bytes = std::numeric_limits<double>::infinity();
  try {
    const MetaDevice no_memory;
    const auto mixer = mixer_registry().at(name).make(spec, options);
    const MixerCost cost = mixer->cost(spec.max_length);
    bytes = 8 * (cost.saved_values + cost.transient_values);
    for (const auto& tensors : {mixer->parameters(), mixer->buffers()}) {
      for (const at::Tensor& tensor : tensors) bytes += 8 * static_cast<double>(tensor.numel());
    }
  } catch (const c10::Error& error) {  // sizes beyond 64 bits
    if (std::string(error.what_without_backtrace()).find("overflow") == std::string::npos) throw;
  }
  if (bytes <= most_gigabytes * 1e9) return;
  throw Error(fmt::format("{} would take {:.3g} GB with these options, and the atlas draws mixers of at most {}: {}",
                          name, bytes / 1e9, most_gigabytes, options.dump()),
              "make them smaller");
}

/// FLOPs by length, remembered.
struct Flops {
  std::string name;
  Json options;
  std::map<std::int64_t, double> known = {};

  double operator()(std::int64_t n) {
    const auto found = known.find(n);
    return found != known.end() ? found->second : known.emplace(n, cost_at(name, options, n).flops).first->second;
  }
};

// The length from which on `flops` is below `full`, found by halving between powers of two; 0 if it is not below at
// `last`. Where blocks are computed whole it steps up at their edges, and may be above once more just behind it.
std::int64_t crossing(Flops& flops, Flops& full, std::int64_t last) {
  const auto below = [&](std::int64_t n) { return flops(n) < full(n); };
  if (!below(last)) return 0;
  std::int64_t high = last;
  while (high > 1 && below(high / 2)) high /= 2;
  if (high == 1) return 1;
  std::int64_t low = high / 2;
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (below(middle) ? high : low) = middle;
  }
  return high;
}

Json cost_json(const std::string& name, const Json& options) {
  const MixerTraits traits = mixer_registry().at(name).traits(options);
  const std::int64_t last = traits.fixed_length && traits.quadratic_memory ? longest_square : longest;
  Flops flops{name, options};
  static Flops full{"softmax", Json::object()};
  std::set<std::int64_t> lengths;
  for (std::int64_t n = shortest; n <= last; n *= 2) lengths.insert({n, std::min(n + n / 2, last)});
  const std::int64_t from = crossing(flops, full, last);
  if (from >= shortest) lengths.insert(from);
  Json points = Json::array();
  for (const std::int64_t n : lengths) {
    const MixerCost cost = cost_at(name, options, n);
    points.push_back(
        {{"n", n}, {"flops", cost.flops}, {"masked_flops", cost.masked_flops}, {"softmax_flops", full(n)}});
  }
  return {{"points", points}, {"below_softmax_from", from == 0 ? Json() : Json(from)}};
}

at::Tensor read_input(const std::string& file, std::int64_t n) {
  const Json json = read_json(file);
  const auto refuse = [&](const std::string& place, const std::string& found, const char* hint = "") {
    throw Error(fmt::format("{}: expected a list of {} rows of {} numbers, found {}{}", file, n, width, place, found),
                hint);
  };
  const auto kind_of = [](const Json& found) {
    return found.is_array() ? fmt::format("a list of {}", found.size())
                            : fmt::format("no list ({})", found.type_name());
  };
  if (!json.is_array() || json.size() != static_cast<std::size_t>(n))
    refuse("", kind_of(json), "--n says how many rows");
  std::vector<double> values;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const Json& row = json[i];
    if (!row.is_array() || row.size() != static_cast<std::size_t>(width))
      refuse(fmt::format("in row {} ", i + 1), kind_of(row));
    for (const Json& value : row) {
      if (!value.is_number())
        refuse(fmt::format("in row {} ", i + 1), fmt::format("no number ({})", value.type_name()));
      values.push_back(value.get<double>());
    }
  }
  return at::tensor(values, at::kDouble).view({n, width});
}

}  // namespace

std::shared_ptr<Mixer> make_atlas_mixer(const std::string& name, const MixerSpec& spec, const Json& options) {
  torch::manual_seed(spec.seed);
  auto mixer = mixer_registry().at(name).make(spec, options);
  mixer->to(at::kDouble);
  mixer->eval();
  // A part of several (its names begin with the part's) has the next of the features.
  const at::NoGradGuard guard;
  const at::Tensor identity = at::eye(spec.d_model, at::kDouble);
  std::map<std::string, std::int64_t> first_feature;
  std::int64_t features = 0;
  for (auto& item : mixer->named_parameters()) {
    const auto dot = item.key().rfind('.');
    const auto module_start = dot == std::string::npos ? std::string::npos : item.key().rfind('.', dot - 1);
    const std::string part = module_start == std::string::npos ? "" : item.key().substr(0, module_start),
                      module = item.key().substr(part.empty() ? 0 : part.size() + 1);
    at::Tensor& parameter = item.value();
    const bool value = module.rfind("value", 0) == 0;
    if (!value && module.rfind("output.", 0) != 0) continue;
    if (parameter.dim() == 1) parameter.zero_();
    if (parameter.dim() != 2 || parameter.size(value ? 1 : 0) != spec.d_model) continue;
    const std::int64_t width_of_part = parameter.size(value ? 0 : 1);
    const auto [place, is_new] = first_feature.emplace(part, features);
    if (is_new) features += width_of_part;
    if (place->second + width_of_part <= spec.d_model)
      parameter.copy_(identity.narrow(value ? 0 : 1, place->second, width_of_part));
  }
  return mixer;
}

MixingMatrix mixing_matrix(Mixer& mixer, const MixerSpec& spec, const at::Tensor& x) {
  return has_weights(mixer) ? attention_matrix(mixer, spec, x) : jacobian_matrix(mixer, x);
}

Reach reach(const std::string& name, MixerSpec spec, const Json& options, std::int64_t n) {
  const std::uint64_t seed = spec.seed;
  const bool turns = options.is_object() && options.value("by", "") == "layers";  // other layers have other patterns
  Reach result;
  at::Tensor seen = at::eye(n, at::kDouble), last;
  while (result.layers < most_layers && result.all == 0) {
    spec.layer = result.layers++;
    spec.seed = mixed_seed(seed, static_cast<std::uint64_t>(spec.layer));
    const auto mixer = make_atlas_mixer(name, spec, options);
    const at::Tensor pattern = read_tokens(*mixer, spec, normal({n, spec.d_model}, spec.seed));
    const at::Tensor next = at::mm(pattern.to(at::kDouble), seen).gt(0).to(at::kDouble);
    if (result.cls == 0 && next[0].all().item<bool>()) result.cls = result.layers;
    if (next.all().item<bool>()) result.all = result.layers;
    // The same pattern for other weights and another input: it is fixed, and once nothing is added nothing ever will
    // be.
    if (!turns && last.defined() && at::equal(pattern, last) && at::equal(next, seen)) break;
    last = pattern;
    seen = next;
  }
  return result;
}

Json atlas_entry(const std::string& name, std::int64_t n, std::int64_t seed, const at::Tensor& x, const Json& overrides,
                 const Json& variant) {
  const Json config = named_config("mixers", name);
  const Json options = resolved(
      name, config, variant.is_null() ? config.value("atlas", Json::object()) : variant.at("options"), overrides);
  const MixerSpec spec = picture_spec(n, static_cast<std::uint64_t>(seed));
  try {
    refuse_large(name, spec, options);
    MixerSpec first = spec;
    first.seed = mixed_seed(spec.seed, 0);
    const auto mixer = make_atlas_mixer(name, first, options);
    const MixingMatrix mixing = mixing_matrix(*mixer, first, x);
    if (!mixing.matrices.isfinite().all().item<bool>()) {
      throw Error(fmt::format("{}: not all numbers of its matrix are finite", name),
                  "make the numbers of --input, or the options, smaller");
    }
    const Reach layers = reach(name, spec, options, n);
    Json maps = Json::array();
    for (std::size_t i = 0; i < mixing.labels.size(); ++i)
      maps.push_back({{"label", mixing.labels[i]}, {"rows", rows(mixing.matrices[static_cast<std::int64_t>(i)])}});
    const Json no_flops = {{"points", Json::array()}, {"below_softmax_from", nullptr}};
    return {{"mixer", name},
            {"variant", variant.is_null() ? Json(name) : variant.at("variant")},
            {"display_name", variant.is_null() ? Json(config.value("display_name", name)) : variant.at("display_name")},
            {"family", config.value("family", "other")},
            {"paper", config.value("paper", Json::object())},
            {"formula", (variant.contains("formula") ? variant : config).value("formula", "")},
            {"cost", (variant.contains("cost") ? variant : config).value("cost", "")},
            {"options", options},
            {"kind", mixing.kind},
            {"reach",
             {{"layers_tried", layers.layers},
              {"all", layers.all == 0 ? Json() : Json(layers.all)},
              {"cls", layers.cls == 0 ? Json() : Json(layers.cls)}}},
            {"flops",
             variant.is_null() ? cost_json(name, resolved(name, config, Json::object(), Json::object())) : no_flops},
            {"maps", maps}};
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    throw Error(
        fmt::format("{} cannot mix {} tokens with these options: {}", name, n, message.substr(0, message.find('\n'))));
  }
}

ExitCode atlas_command(const AtlasArguments& arguments) {
  if (arguments.n < 2 || arguments.n > most_tokens)
    throw Error(fmt::format("--n: expected between 2 and {} tokens, found {}", most_tokens, arguments.n));
  if (arguments.seed < 0)
    throw Error(fmt::format("--seed: expected a number that is not negative, found {}", arguments.seed));
  const auto names = arguments.mixers.empty() ? mixer_registry().names() : arguments.mixers;
  for (const auto& name : names) mixer_registry().at(name);
  const Json overrides = parse_overrides(arguments.overrides);
  for (const auto& [key, value] : overrides.items()) {
    if (key != "mixer_options")
      throw Error(fmt::format("{}: /{}: unknown key", command_line_origin, key), "only mixer_options.KEY=VALUE");
  }
  const at::Tensor x = arguments.input.empty()
                           ? normal({arguments.n, width}, mixed_seed(static_cast<std::uint64_t>(arguments.seed), 0))
                           : read_input(arguments.input, arguments.n);

  const int threads = set_threads(1);  // the steps are small
  Json atlas = {{"schema_version", report::atlas_schema_version},
                {"n", arguments.n},
                {"seed", arguments.seed},
                {"d_model", width},
                {"num_heads", heads},
                {"threads", threads},
                {"input", arguments.input.empty() ? "normal numbers" : arguments.input},
                {"flops_model", {{"d_model", cost_width}, {"num_heads", cost_heads}}},
                {"mixers", Json::array()}};
  for (const auto& name : names) {
    say(name + "\n");
    atlas["mixers"].push_back(atlas_entry(name, arguments.n, arguments.seed, x, overrides));
    if (!overrides.empty()) continue;
    const Json config = named_config("mixers", name);
    for (const Json& variant : config.value("atlas_variants", Json::array())) {
      atlas["mixers"].push_back(atlas_entry(name, arguments.n, arguments.seed, x, overrides, variant));
    }
  }
  const std::filesystem::path out = arguments.out;
  write_file_atomically(out / "atlas.json", json_text(atlas) + "\n");
  for (const std::string& missing : report::write_atlas(report::parse_atlas(atlas, out / "atlas.json"), out))
    say("note: " + printable(missing) + "\n");
  fmt::print("{}\n", (out / "atlas.html").string());
  return exit_ok;
}

}  // namespace lra
