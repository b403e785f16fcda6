#include "app/torch_version.h"

#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <string>

#include "core/error.h"

// LibTorch's C interface (torch/csrc/inductor/aoti_torch/c/shim.h, whose other contents are slow to compile): the
// TORCH_ABI_VERSION that the library itself was built with. Every release keeps it.
extern "C" uint64_t aoti_torch_abi_version();

namespace penstock {
namespace {

std::string text_of(uint64_t version) {
  return fmt::format("{}.{}.{}", version >> 56, version >> 48 & 0xff, version >> 40 & 0xff);
}

}  // namespace

void check_torch_version(uint64_t compiled, uint64_t loaded) {
  if (compiled == loaded) return;
  throw Error(ExitCode::kDevice,
              fmt::format("this program was compiled against torch {} and torch {} was loaded: install torch=={}, or "
                          "build again with this one",
                          text_of(compiled), text_of(loaded), text_of(compiled)));
}

void check_torch_version() { check_torch_version(TORCH_ABI_VERSION, aoti_torch_abi_version()); }

}  // namespace penstock
