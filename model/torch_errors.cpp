#include "model/torch_errors.h"

#include <c10/util/Exception.h>

#include <string>

#include "core/error.h"

namespace penstock {

namespace {

// LibTorch appends advice and a stack; users need the first line.
std::string first_line(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

}  // namespace

void with_torch_errors(c10::function_ref<void()> work) {
  try {
    work();
  } catch (const c10::OutOfMemoryError& error) {
    throw Error(ExitCode::kDoesNotFit, "LibTorch's temporaries exceed their part of the device's memory (" +
                                           first_line(error) +
                                           "); lower training.per_device_train_batch_size or dataset.max_seq_len");
  } catch (const c10::AcceleratorError& error) {
    throw Error(ExitCode::kDevice, "the device failed: " + first_line(error));
  } catch (const c10::Error& error) {
    throw Error(ExitCode::kDevice, "LibTorch refused an operation on the device: " + first_line(error));
  }
}

}  // namespace penstock
