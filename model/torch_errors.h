// LibTorch's exceptions as ours, with one line each.
#pragma once

#include <c10/util/FunctionRef.h>

namespace penstock {

// Calls `work`. What LibTorch throws out of it becomes Error(kDoesNotFit) where memory ran out, else Error(kDevice).
void with_torch_errors(c10::function_ref<void()> work);

}  // namespace penstock
