#pragma once

#include <c10/core/impl/LocalDispatchKeySet.h>

namespace lra {

/// While one of these lives, tensors that this thread makes are on LibTorch's device "meta": they have shapes and
/// types, but no memory, and what is computed of them costs nothing. So a model's sizes can be known before it is made.
class MetaDevice {
 public:
  MetaDevice();

 private:
  c10::impl::IncludeDispatchKeyGuard guard_;
};

}  // namespace lra
