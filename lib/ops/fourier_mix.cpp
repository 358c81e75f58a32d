#include "ops/fourier_mix.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/fft_fft.h>
#include <ATen/ops/fft_rfft.h>
#include <ATen/ops/real.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <map>
#include <memory>
#include <mutex>
#include <numbers>
#include <numeric>
#include <utility>
#include <vector>

#include "ops/cpu/kernels.h"
#include "ops/on_threads.h"

namespace lra::ops {
namespace {

// Prime factors, two twos as a four; empty if one is larger than the largest radix.
std::vector<std::int64_t> radices_of(std::int64_t n) {
  std::vector<std::int64_t> radices;
  for (std::int64_t radix : {4, 2}) {
    for (; n % radix == 0; n /= radix) radices.push_back(radix);
  }
  for (std::int64_t radix = 3; n > 1; radix += 2) {
    if (radix > cpu::max_radix) return {};
    for (; n % radix == 0; n /= radix) radices.push_back(radix);
  }
  return radices;
}

// exp(-2πi t / n)
std::complex<double> root(std::int64_t t, std::int64_t n) {
  return std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(t % n) / static_cast<double>(n));
}

// A plan and its tables.
template <class T>
struct Plan {
  cpu::FourierPlan<T> view;
  std::vector<std::int64_t> radices;
  std::vector<std::complex<T>> roots, chirp, filter;

  explicit Plan(std::int64_t n) : radices(radices_of(n)) {
    view.n = view.size = n;
    if (radices.empty() && n > 1) {
      view.size = (2 * n + 63) / 64 * 64;  // the radix 4 is the fastest
      while (radices_of(view.size).empty() || radices_of(view.size).back() > 5) view.size += 64;
      radices = radices_of(view.size);
      const at::Tensor conjugates = at::zeros({view.size}, at::kComplexDouble);
      auto* conjugate = static_cast<std::complex<double>*>(conjugates.mutable_data_ptr());
      for (std::int64_t t = 0; t < n; ++t) {
        const std::complex<double> value = root(t * t, 2 * n);
        chirp.emplace_back(value);
        conjugate[t] = conjugate[t == 0 ? 0 : view.size - t] = std::conj(value);
      }
      const at::Tensor transformed = at::fft_fft(conjugates, std::nullopt, -1, "forward");
      const auto* values = static_cast<const std::complex<double>*>(transformed.const_data_ptr());
      for (std::int64_t t = 0; t < view.size; ++t) filter.emplace_back(values[t]);
      view.chirp = reinterpret_cast<const T*>(chirp.data());
      view.filter = reinterpret_cast<const T*>(filter.data());
    }
    for (std::int64_t t = 0; t < view.size; ++t) roots.emplace_back(root(t, view.size));
    view.roots = reinterpret_cast<const T*>(roots.data());
    view.radices = radices.data();
    view.num_radices = static_cast<std::int64_t>(radices.size());
  }
};

// Made once for each length.
template <class T>
const cpu::FourierPlan<T>& plan_of(std::int64_t n) {
  static std::mutex mutex;
  static std::map<std::int64_t, std::unique_ptr<const Plan<T>>> plans;
  const std::lock_guard lock(mutex);
  auto& plan = plans[n];
  if (plan == nullptr) plan = std::make_unique<const Plan<T>>(n);
  return plan->view;
}

// Features first, half of their spectrum into the places of the result; then places, in place.
template <class T>
at::Tensor kernel_transform(const at::Tensor& x, at::IntArrayRef lengths, std::int64_t length) {
  const std::int64_t tokens = x.size(0), d = x.size(1);
  const cpu::FourierPlan<T>&over_features = plan_of<T>(d), &over_places = plan_of<T>(length);
  const at::Tensor mixed = at::empty({tokens, d}, x.options());
  const T* const in = x.const_data_ptr<T>();
  T* const out = mixed.mutable_data_ptr<T>();
  std::vector<std::int64_t> offsets(lengths.size(), 0);
  std::exclusive_scan(lengths.begin(), lengths.end(), offsets.begin(), std::int64_t{0});
  // The kernel transforms two rows as one complex number, so that each rounds the other: both must be of one sequence.
  constexpr std::int64_t rows = 64;
  std::vector<std::pair<std::int64_t, std::int64_t>> pieces;  // first row, how many
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    for (std::int64_t row = 0; row < lengths[s]; row += rows)
      pieces.emplace_back(offsets[s] + row, std::min(rows, lengths[s] - row));
  }
  on_threads<T>(static_cast<std::int64_t>(pieces.size()), cpu::fourier_scratch(over_features.size),
                [&](std::int64_t task, T* scratch) {
                  const auto [first, count] = pieces[static_cast<std::size_t>(task)];
                  cpu::kernels().fourier_rows(over_features, count, in + first * d, out + first * d, scratch);
                });
  const std::int64_t lanes = cpu::kernels().vector_bytes / static_cast<std::int64_t>(sizeof(T)),
                     groups = ((d + 1) / 2 + lanes - 1) / lanes;
  on_threads<T>(static_cast<std::int64_t>(lengths.size()) * groups, cpu::fourier_scratch(over_places.size),
                [&](std::int64_t task, T* scratch) {
                  const auto sequence = static_cast<std::size_t>(task / groups);
                  cpu::kernels().fourier_columns(over_places, lengths[sequence], d, task % groups,
                                                 out + offsets[sequence] * d, scratch);
                });
  return mixed;
}

at::Tensor transform(const at::Tensor& x, at::IntArrayRef lengths, std::int64_t length, bool fused) {
  // FFTs have no bfloat16 kernels.
  const at::Tensor input = x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
  if (fused && x.is_cpu()) {
    const at::Tensor rows = input.contiguous();
    RECORD_FUNCTION("lra::fourier_mix", std::vector<c10::IValue>({rows}));
    const at::Tensor mixed = rows.scalar_type() == at::kDouble ? kernel_transform<double>(rows, lengths, length)
                                                               : kernel_transform<float>(rows, lengths, length);
    guard.setOutputs(std::vector<c10::IValue>{mixed});
    return mixed.to(x.scalar_type());
  }
  const std::int64_t width = input.size(1);
  const std::int64_t half = width / 2 + 1;
  const std::int64_t mirrored =
      width - half;  // features half .. width-1 follow from 1 .. mirrored, since the input is real
  const at::Tensor over_features = at::fft_rfft(input);
  at::Tensor mixed = at::empty_like(input);
  std::int64_t offset = 0;
  for (const std::int64_t n : lengths) {
    const at::Tensor spectrum = at::real(at::fft_fft(over_features.narrow(0, offset, n), length, 0));
    const at::Tensor out = mixed.narrow(0, offset, n);
    out.narrow(1, 0, half).copy_(spectrum.narrow(0, 0, n));
    if (mirrored > 0) {
      // Re X[t, f] = Re X[-t, -f]
      const at::Tensor source = spectrum.narrow(1, 1, mirrored).flip(1);
      out.narrow(1, half, mirrored).narrow(0, 0, 1).copy_(source.narrow(0, 0, 1));
      if (n > 1)
        out.narrow(1, half, mirrored).narrow(0, 1, n - 1).copy_(source.narrow(0, length - n + 1, n - 1).flip(0));
    }
    offset += n;
  }
  return mixed.to(x.scalar_type());
}

// The matrix of this map is symmetric (so is its part for the first n places), hence it is its own derivative and
// nothing is kept.
struct FourierMix : torch::autograd::Function<FourierMix> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            std::vector<std::int64_t> lengths, std::int64_t length, bool fused) {
    context->saved_data["lengths"] = lengths;
    context->saved_data["length"] = length;
    context->saved_data["fused"] = fused;
    return transform(x, lengths, length, fused);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list gradients) {
    auto& kept = context->saved_data;
    return {fourier_mix(gradients[0], kept["lengths"].toIntVector(), kept["length"].toInt(), kept["fused"].toBool()),
            {},
            {},
            {}};
  }
};

}  // namespace

std::int64_t fourier_scratch(std::int64_t length) {
  return cpu::fourier_scratch(length == 1 || !radices_of(length).empty() ? length : 2 * length + 128);
}

at::Tensor fourier_mix(const at::Tensor& x, at::IntArrayRef lengths, std::int64_t length, bool fused) {
  return FourierMix::apply(x, lengths.vec(), length, fused);
}

}  // namespace lra::ops
