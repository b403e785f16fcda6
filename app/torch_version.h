// Refuses to start with another LibTorch than the one this program was compiled against.
// Private ATen operators change their signatures in every release; the dynamic loader does not notice.
#pragma once

#include <cstdint>

namespace penstock {

/// Compares the version in LibTorch's headers with the one compiled into the loaded library. The first thing main()
/// does. Throws Error(kDevice).
void check_torch_version();

/// The same for two versions as TORCH_ABI_VERSION packs them: major, minor and patch in the three highest bytes.
void check_torch_version(uint64_t compiled, uint64_t loaded);

}  // namespace penstock
