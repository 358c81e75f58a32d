#include "ops/fourier_mix.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/fft_fft.h>
#include <ATen/ops/fft_rfft.h>
#include <ATen/ops/real.h>
#include <torch/csrc/autograd/custom_function.h>

namespace lra::ops {
namespace {

at::Tensor transform(const at::Tensor& x, at::IntArrayRef lengths, std::int64_t length) {
  // FFTs have no bfloat16 kernels.
  const at::Tensor input = x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
  const std::int64_t width = input.size(1);
  const std::int64_t half = width / 2 + 1;
  const std::int64_t mirrored = width - half;  // features half .. width-1 follow from 1 .. mirrored, since the input is real
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
      if (n > 1) out.narrow(1, half, mirrored).narrow(0, 1, n - 1).copy_(source.narrow(0, length - n + 1, n - 1).flip(0));
    }
    offset += n;
  }
  return mixed.to(x.scalar_type());
}

// The matrix of this map is symmetric (so is its part for the first n places), hence it is its own derivative and nothing is kept.
struct FourierMix : torch::autograd::Function<FourierMix> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, std::vector<std::int64_t> lengths, std::int64_t length) {
    context->saved_data["lengths"] = lengths;
    context->saved_data["length"] = length;
    return transform(x, lengths, length);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context, torch::autograd::tensor_list gradients) {
    return {transform(gradients[0], context->saved_data["lengths"].toIntVector(), context->saved_data["length"].toInt()), {}, {}};
  }
};

}  // namespace

at::Tensor fourier_mix(const at::Tensor& x, at::IntArrayRef lengths, std::int64_t length) { return FourierMix::apply(x, lengths.vec(), length); }

}  // namespace lra::ops
