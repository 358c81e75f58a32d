#include "cli/meta_device.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

namespace lra {
namespace {

// The dispatcher's key for making modules whose tensors come later: a fallback under it sees every operator call first.
constexpr c10::DispatchKey key = c10::DispatchKey::DeferredInit;

void call_on_meta(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard guard(key);
  const auto& arguments = operation.schema().arguments();
  const std::size_t first = stack->size() - arguments.size();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto& type = arguments[i].type();
    const auto optional = type->cast<c10::OptionalType>();
    const auto kind = (optional ? optional->getElementType() : type)->kind();
    if (kind == c10::TypeKind::DeviceObjType) (*stack)[first + i] = at::Device(at::kMeta);
    if (kind == c10::TypeKind::GeneratorType) (*stack)[first + i] = c10::IValue();  // there are no numbers to draw
  }
  operation.callBoxed(stack);
}

TORCH_LIBRARY_IMPL(_, DeferredInit, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&call_on_meta>());
}

}  // namespace

MetaDevice::MetaDevice() : guard_(key) {}

}  // namespace lra
