#include "train/profile.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>
#include <ATen/record_function.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>

namespace lra {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Call : at::ObserverContext {
  Call* caller = nullptr;
  bool backward = false, works = false;  // works: an operator that it called moves bytes
  double flops = 0, bytes = 0, seconds_of_others = 0;
  std::vector<const void*> arguments;  // their storages
  Clock::time_point start;
};

thread_local Call* current_call = nullptr;

std::mutex mutex;  // guards what follows
std::map<std::pair<std::string, bool>, OperatorTime> recorded;

double bytes_of(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.has_storage()) return 0;
  // An expanded view stands for more than there is.
  return std::min(static_cast<double>(tensor.numel()) * static_cast<double>(tensor.element_size()),
                  static_cast<double>(tensor.storage().nbytes()));
}

template <class Work>
void for_tensors(c10::ArrayRef<const c10::IValue> values, Work work) {
  for (const auto& value : values) {
    if (value.isTensor()) {
      work(value.toTensor());
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) work(tensor);
    }
  }
}

double product(const c10::IValue& a, const c10::IValue& b) {
  return 2.0 * static_cast<double>(a.toTensor().numel()) * static_cast<double>(b.toTensor().size(-1));
}

double flops_of(const std::string& name, c10::ArrayRef<const c10::IValue> in) {
  if (name == "aten::mm" || name == "aten::bmm") return product(in[0], in[1]);
  if (name == "aten::addmm" || name == "aten::addmm_" || name == "aten::baddbmm") return product(in[1], in[2]);
  // Q Kᵀ and weights V; backward the weights again, and four products for the gradients.
  const auto attention = [&](const c10::IValue& q, const c10::IValue& k) {
    return 2.0 * static_cast<double>(q.toTensor().numel()) * static_cast<double>(k.toTensor().size(-2));
  };
  if (name == "aten::_scaled_dot_product_flash_attention_for_cpu") return 2 * attention(in[0], in[1]);
  if (name == "aten::_scaled_dot_product_flash_attention_for_cpu_backward") return 5 * attention(in[1], in[2]);
  if (name.starts_with("lra::") && !in.empty() && in.back().isDouble()) return in.back().toDouble();
  return 0;
}

bool makes_memory(const std::string& name) {
  return name.starts_with("aten::empty") || name == "aten::resize_" || name == "aten::set_";
}

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
  auto call = std::make_unique<Call>();
  call->caller = current_call;
  call->backward =
      function.scope() == at::RecordScope::BACKWARD_FUNCTION || (current_call != nullptr && current_call->backward);
  call->flops = flops_of(function.name(), function.inputs());
  for_tensors(function.inputs(), [&](const at::Tensor& tensor) {
    call->bytes += bytes_of(tensor);
    if (tensor.defined() && tensor.has_storage()) call->arguments.push_back(tensor.storage().unsafeGetStorageImpl());
  });
  current_call = call.get();
  call->start = Clock::now();
  return call;
}

void end(const at::RecordFunction& function, at::ObserverContext* context) {
  auto* call = static_cast<Call*>(context);
  const double seconds = seconds_since(call->start);
  current_call = call->caller;
  const std::string name = function.name();
  bool view = true;  // every result lies where an argument lies
  const auto& results = function.outputs();
  for_tensors(c10::ArrayRef<const c10::IValue>(results.data(), results.size()), [&](const at::Tensor& tensor) {
    call->bytes += bytes_of(tensor);
    view = view && tensor.defined() && tensor.has_storage() &&
           std::find(call->arguments.begin(), call->arguments.end(), tensor.storage().unsafeGetStorageImpl()) !=
               call->arguments.end();
  });
  const bool in_place = name.ends_with('_') || name.starts_with("lra::");
  if ((call->works && call->flops == 0) || makes_memory(name) || (view && !in_place) ||
      function.scope() == at::RecordScope::BACKWARD_FUNCTION)
    call->bytes = 0;
  if (call->caller != nullptr) {
    call->caller->seconds_of_others += seconds;
    call->caller->works = call->caller->works || call->works || call->bytes > 0;
  }
  const std::lock_guard lock(mutex);
  OperatorTime& sum = recorded[{name, call->backward}];
  ++sum.calls;
  sum.seconds += seconds - call->seconds_of_others;
  sum.flops += call->flops;
  sum.bytes += call->bytes;
}

/// The shortest of some calls, in seconds.
template <class Work>
double shortest(double budget, Work work) {
  work();
  double best = 1e30;
  const auto start = Clock::now();
  do {
    const auto call_start = Clock::now();
    work();
    best = std::min(best, seconds_since(call_start));
  } while (seconds_since(start) < budget);
  return best;
}

double gemm_rate(at::ScalarType type) {
  double best = 0;
  for (const auto& [m, k, n] : std::vector<std::array<std::int64_t, 3>>{
           {512, 512, 512}, {1024, 1024, 1024}, {8192, 64, 64}, {8192, 128, 512}}) {
    const at::Tensor a = at::rand({m, k}).to(type), b = at::rand({k, n}).to(type);
    best = std::max(best, 2.0 * static_cast<double>(m * k * n) /
                              shortest(0.1, [&, &left = a, &right = b] { at::mm(left, right); }));
  }
  return best;
}

}  // namespace

OperatorRecording::OperatorRecording()
    : handle_(at::addGlobalCallback(at::RecordFunctionCallback(&begin, &end)
                                        .needsInputs(true)
                                        .needsOutputs(true)
                                        .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}))) {}

OperatorRecording::~OperatorRecording() { at::removeCallback(handle_); }

std::vector<OperatorTime> take_recorded_operators() {
  std::vector<OperatorTime> all;
  {
    const std::lock_guard lock(mutex);
    for (const auto& [key, time] : recorded) {
      all.push_back(time);
      std::tie(all.back().name, all.back().backward) = key;
    }
    recorded.clear();
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const OperatorTime& a, const OperatorTime& b) { return a.seconds > b.seconds; });
  return all;
}

Json machine_limits() {
  const at::NoGradGuard no_grad;
  constexpr std::int64_t bytes = std::int64_t{64} << 20;
  const at::Tensor from = at::rand({bytes / 4}), to = at::rand({bytes / 4});
  const double copied = 2.0 * bytes / shortest(0.15, [&] { at::Tensor(to).copy_(from); });
  // Memory that the system has just given, without any allocator's reuse.
  const double touched = static_cast<double>(bytes) / shortest(0.15, [&] {
                           void* const fresh =
                               ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                           TORCH_CHECK(fresh != MAP_FAILED, "no memory to measure with");
                           ::madvise(fresh, bytes, MADV_HUGEPAGE);
                           at::from_blob(fresh, {bytes / 4}).zero_();
                           ::munmap(fresh, bytes);
                         });
  return {{"float32_flops", gemm_rate(at::kFloat)},
          {"bf16_flops", gemm_rate(at::kBFloat16)},
          {"copy_bytes", copied},
          {"first_touch_bytes", touched}};
}

Json profile_json(const std::vector<OperatorTime>& operators, std::int64_t steps, double seconds, const Json& limits) {
  const auto count = static_cast<double>(steps);
  Json rows = Json::array();
  double rest = seconds;
  for (const auto& one : operators) {
    rest -= one.seconds;
    Json row = {{"name", one.name},
                {"backward", one.backward},
                {"calls", static_cast<double>(one.calls) / count},
                {"seconds", one.seconds / count},
                {"share", one.seconds / seconds},
                {"flops", one.flops / count},
                {"bytes", one.bytes / count}};
    if (one.flops > 0) row["flops_per_second"] = one.flops / one.seconds;
    if (one.bytes > 0) row["bytes_per_second"] = one.bytes / one.seconds;
    rows.push_back(row);
  }
  rows.push_back({{"name", "outside operators"},
                  {"backward", false},
                  {"calls", 0},
                  {"seconds", rest / count},
                  {"share", rest / seconds},
                  {"flops", 0},
                  {"bytes", 0}});
  return {{"steps", steps}, {"seconds_per_step", seconds / count}, {"limits", limits}, {"operators", rows}};
}

std::string profile_table(const Json& profile) {
  const auto number = [](const Json& json, const char* key) { return json.at(key).get<double>(); };
  const Json& limits = profile.at("limits");
  std::string text = fmt::format(
      "{:.2f} ms a step while recorded; this machine: {:.0f} GFLOP/s float32, {:.0f} bfloat16, copies {:.1f} GB/s, "
      "first writes {:.1f} GB/s\n",
      1e3 * number(profile, "seconds_per_step"), number(limits, "float32_flops") / 1e9,
      number(limits, "bf16_flops") / 1e9, number(limits, "copy_bytes") / 1e9,
      number(limits, "first_touch_bytes") / 1e9);
  text += fmt::format("{:<52} {:<8} {:>8} {:>9} {:>7} {:>9} {:>7}\n", "operator", "pass", "calls", "ms", "share %",
                      "GFLOP/s", "GB/s");
  double small = 0;
  for (const Json& row : profile.at("operators")) {
    if (number(row, "share") < 0.005) {
      small += number(row, "seconds");
      continue;
    }
    const auto rate = [&](const char* key) {
      return row.contains(key) ? fmt::format("{:.1f}", number(row, key) / 1e9) : std::string("-");
    };
    text += fmt::format(
        "{:<52} {:<8} {:>8.6g} {:>9.3f} {:>7.1f} {:>9} {:>7}\n", row.at("name").get<std::string>().substr(0, 52),
        row.at("backward").get<bool>() ? "backward" : "forward", number(row, "calls"), 1e3 * number(row, "seconds"),
        100 * number(row, "share"), rate("flops_per_second"), rate("bytes_per_second"));
  }
  return text + fmt::format("{:<52} {:<8} {:>8} {:>9.3f} {:>7.1f}\n", "others, below 0.5 % each", "", "", 1e3 * small,
                            100 * small / number(profile, "seconds_per_step"));
}

}  // namespace lra
