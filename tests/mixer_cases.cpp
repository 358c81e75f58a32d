#include "mixer_cases.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/stack.h>
#include <torch/library.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace lra::testing {

Json resolved_options(const std::string& mixer, const Json& options) {
  LayeredJson source;
  source.merge(options, "test");
  return mixer_registry().at(mixer).resolve(source, "");
}

std::vector<std::string> mixer_names() {
  const char* const chosen = std::getenv("LRA_TEST_MIXER");
  if (chosen == nullptr) return mixer_registry().names();
  mixer_registry().at(chosen);  // or an error
  return {chosen};
}

std::vector<MixerCase> mixer_cases() {
  std::vector<MixerCase> cases;
  for (const auto& name : mixer_names()) {
    const Json test = read_json(std::string(LRA_SOURCE_DIR) + "/configs/mixers/" + name + ".json").at("test");
    const std::int64_t block = test.value("block", std::int64_t{1});
    std::set<std::string> zero_gradients;
    const Json reasons = test.value("zero_gradient", Json::object());
    for (const auto& item : reasons.items()) zero_gradients.insert(item.key());
    cases.push_back({name, resolved_options(name, test.at("options")), block, zero_gradients});
    for (const auto& variant : test.value("variants", Json::array()))
      cases.push_back({name, resolved_options(name, variant), block, zero_gradients});
  }
  return cases;
}

MixerSpec small_spec() {
  const bool fused = std::getenv("LRA_TEST_REFERENCE") == nullptr;
  return {.d_model = 8,
          .d_qkv = 8,
          .num_heads = 2,
          .max_length = 48,
          .attention_dropout = 0.0,
          .bias = true,
          .layout = "auto",
          .fused = fused,
          .seed = 5};
}

at::Tensor random_input(std::int64_t tokens, std::int64_t d_model, std::uint64_t seed) {
  return at::randn({tokens, d_model}, at::make_generator<at::CPUGeneratorImpl>(seed), at::kDouble);
}

std::shared_ptr<Mixer> make_mixer(const MixerCase& mixer_case, const MixerSpec& spec) {
  auto mixer = mixer_registry().at(mixer_case.mixer).make(spec, mixer_case.options);
  mixer->to(at::kDouble);
  mixer->eval();
  const at::NoGradGuard guard;
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(std::uint64_t{11});
  for (auto& parameter : mixer->parameters())
    parameter.copy_(at::randn(parameter.sizes(), generator, at::kDouble) * 0.4);
  return mixer;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes() || !a.isfinite().all().item<bool>() || !b.isfinite().all().item<bool>()) {
    return std::numeric_limits<double>::infinity();
  }
  return a.numel() == 0 ? 0.0 : (a - b).abs().max().item<double>();
}

MixerCase mixer_case(const std::string& mixer, const Json& options) {
  return {mixer, resolved_options(mixer, options), 1};
}

at::Tensor parameter(const Mixer& mixer, const std::string& name) { return mixer.named_parameters()[name]; }

void set(const Mixer& mixer, const std::string& name, const at::Tensor& value) {
  const at::NoGradGuard guard;
  parameter(mixer, name).copy_(value);
}

void copy_parameters(const Mixer& from, const Mixer& to) {
  const auto sources = from.named_parameters();
  for (const auto& item : to.named_parameters()) {
    if (const at::Tensor* source = sources.find(item.key())) set(to, item.key(), *source);
  }
}

void values_of_one(const Mixer& mixer) {
  const at::NoGradGuard guard;
  std::int64_t done = 0;
  for (const auto& item : mixer.named_parameters()) {
    const auto dot = item.key().rfind('.');
    if (dot == std::string::npos) continue;
    const auto start = item.key().rfind('.', dot - 1);
    const std::string module = item.key().substr(start == std::string::npos ? 0 : start + 1,
                                                 dot - (start == std::string::npos ? 0 : start + 1));
    const bool weight = item.key().substr(dot) == ".weight";
    if (module.rfind("value", 0) == 0) item.value().fill_(weight ? 0 : 1);
    if (module != "output") continue;
    item.value().zero_();
    if (!weight) continue;
    item.value().narrow(0, done, item.value().size(1)).copy_(at::eye(item.value().size(1)));
    done += item.value().size(1);
  }
}

at::Tensor forward(Mixer& mixer, const at::Tensor& x, SequenceLayout layout) {
  layout.set_token_ids((x.detach().select(1, 0) + 3).clamp(0, 5).to(at::kLong));
  return mixer.forward(x, layout);
}

at::Tensor alone(Mixer& mixer, const at::Tensor& x) { return forward(mixer, x, SequenceLayout({x.size(0)})); }

double softmax_weight(const double* q, const double* k, std::int64_t d) {
  double dot = 0;
  for (std::int64_t f = 0; f < d; ++f) dot += q[f] * k[f];
  return std::exp(dot / std::sqrt(static_cast<double>(d)));
}

namespace {

// One key of the dispatcher is reserved for tests like this one: a fallback under it sees every operator call with its
// arguments and results.
constexpr c10::DispatchKey observed = c10::DispatchKey::TESTING_ONLY_GenericMode;

double counted_flops = 0;
double largest_values = 0;

double product(const at::Tensor& a, const at::Tensor& b) { return 2.0 * static_cast<double>(a.numel() * b.size(-1)); }

void observe(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const std::string& name = op.schema().name();
  const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
  if (name == "aten::mm" || name == "aten::bmm") {
    counted_flops += product(arguments[0].toTensor(), arguments[1].toTensor());
  } else if (name == "aten::addmm" || name == "aten::baddbmm") {
    counted_flops += product(arguments[1].toTensor(), arguments[2].toTensor());
  } else if (name == "aten::_scaled_dot_product_flash_attention_for_cpu") {
    counted_flops += 2 * product(arguments[0].toTensor(),
                                 arguments[1].toTensor().transpose(-2, -1));  // Q Kᵀ and, as much again, weights V
  }
  op.redispatchBoxed(keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, observed), stack);
  for (const auto& result : torch::jit::last(*stack, op.schema().returns().size())) {
    if (!result.isTensor() || !result.toTensor().defined()) continue;
    // What an expanded view stands for is not there; what lies in storage is.
    const at::Tensor& tensor = result.toTensor();
    largest_values = std::max(
        largest_values, static_cast<double>(tensor.storage().nbytes()) / static_cast<double>(tensor.element_size()));
  }
}

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericMode, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&observe>());
}

}  // namespace

OperatorObserver::OperatorObserver() : guard_(observed) {
  counted_flops = 0;
  largest_values = 0;
}
double OperatorObserver::flops() const { return counted_flops; }
double OperatorObserver::largest_tensor() const { return largest_values; }

}  // namespace lra::testing
