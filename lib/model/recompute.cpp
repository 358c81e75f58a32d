#include "model/recompute.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <vector>

namespace lra {
namespace {

using Work = std::function<ops::SumAndNorm(const ops::SumAndNorm& in)>;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// States of the default generators of the CPU and of the device.
struct Generators {
  explicit Generators(at::Device device_) : device(device_) {
    states.push_back(at::globalContext().defaultGenerator(at::kCPU).get_state());
    if (!device.is_cpu()) states.push_back(at::globalContext().defaultGenerator(device).get_state());
  }
  void restore() const {
    at::Generator cpu = at::globalContext().defaultGenerator(at::kCPU);
    cpu.set_state(states[0]);
    if (device.is_cpu()) return;
    at::Generator other = at::globalContext().defaultGenerator(device);
    other.set_state(states[1]);
  }
  at::Device device;
  std::vector<at::Tensor> states;
};

/// While one of these lives, the default generators are what they were before; then they are what they are now.
class OtherGenerators {
 public:
  explicit OtherGenerators(const Generators& others) : now_(others.device) { others.restore(); }
  OtherGenerators(const OtherGenerators&) = delete;
  OtherGenerators& operator=(const OtherGenerators&) = delete;
  ~OtherGenerators() {
    try {
      now_.restore();
    } catch (...) {  // another exception may be under way
    }
  }

 private:
  const Generators now_;
};

/// The same for autocast.
class OtherAutocast {
 public:
  OtherAutocast(at::DeviceType device, bool enabled, at::ScalarType type)
      : device_(device),
        enabled_(at::autocast::is_autocast_enabled(device)),
        type_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::set_autocast_dtype(device, type);
    at::autocast::set_autocast_enabled(device, enabled);
  }
  OtherAutocast(const OtherAutocast&) = delete;
  OtherAutocast& operator=(const OtherAutocast&) = delete;
  ~OtherAutocast() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, enabled_);
    at::autocast::set_autocast_dtype(device_, type_);
  }

 private:
  const at::DeviceType device_;
  const bool enabled_;
  const at::ScalarType type_;
};

/// What the second call needs beside its inputs.
struct Call : torch::CustomClassHolder {
  Call(Work function_, at::Device device)
      : function(std::move(function_)),
        generators(device),
        autocast(at::autocast::is_autocast_enabled(device.type())),
        autocast_type(at::autocast::get_autocast_dtype(device.type())) {}
  const Work function;
  const Generators generators;
  const bool autocast;
  const at::ScalarType autocast_type;
};

struct Recompute : torch::autograd::Function<Recompute> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& sum, const at::Tensor& norm,
                             const Work& function) {
    context->save_for_backward({sum, norm});
    context->saved_data["call"] = c10::IValue::make_capsule(c10::make_intrusive<Call>(function, sum.device()));
    context->set_materialize_grads(false);
    const ops::SumAndNorm out = function({sum, norm});
    at::autocast::clear_cache();  // copies of weights that were made here have no derivative
    return {out.sum, out.norm};
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const c10::intrusive_ptr<Call> call =
        c10::static_intrusive_pointer_cast<Call>(context->saved_data["call"].toCapsule());
    const ops::SumAndNorm in{saved[0].detach().requires_grad_(true), saved[1].detach().requires_grad_(true)};
    ops::SumAndNorm out;
    {
      const at::AutoGradMode with_gradients(true);
      const OtherGenerators generators(call->generators);
      const OtherAutocast autocast(saved[0].device().type(), call->autocast, call->autocast_type);
      // Views, since autocast would keep one copy of a leaf and add up its gradients in bfloat16.
      out = call->function({in.sum.view(in.sum.sizes()), in.norm.view(in.norm.sizes())});
    }
    tensor_list outputs, output_gradients;
    for (const auto& [output, gradient] : {std::pair(out.sum, gradients[0]), std::pair(out.norm, gradients[1])}) {
      if (!gradient.defined()) continue;
      outputs.push_back(output);
      output_gradients.push_back(gradient);
    }
    torch::autograd::backward(outputs, output_gradients);
    return {in.sum.grad(), in.norm.grad(), {}};
  }
};

}  // namespace

ops::SumAndNorm recomputed(const std::function<ops::SumAndNorm(const ops::SumAndNorm& in)>& function,
                           const ops::SumAndNorm& in) {
  const tensor_list out = Recompute::apply(in.sum, in.norm, function);
  return {out[0], out[1]};
}

}  // namespace lra
