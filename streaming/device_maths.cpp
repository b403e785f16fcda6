#include "streaming/device_maths.h"

#include "core/check.h"
#include "core/cuda/cuda_device.h"
#include "core/host_device.h"
#include "model/cuda_maths.h"
#include "model/cuda_memory.h"
#include "model/host_maths.h"

namespace penstock {
namespace {

// LibTorch's temporaries count against the emulated device's budget; a real device has its own allocator.
class DeviceTemporaries final : public TemporaryObserver {
 public:
  explicit DeviceTemporaries(HostDevice& device) : device_(device) {}
  bool charge(int64_t bytes) override { return device_.charge_temporary(bytes); }

 private:
  HostDevice& device_;
};

}  // namespace

std::unique_ptr<Maths> make_maths(Device& device, const RunPlan& plan) {
  if (auto* cuda = dynamic_cast<CudaDevice*>(&device)) {
    return make_cuda_maths(cuda->stream(LaneKind::kCompute), cuda->index(), plan.decoder.temporary,
                           {.deterministic = plan.shape.deterministic});
  }
  auto* host_device = dynamic_cast<HostDevice*>(&device);
  CHECK(host_device != nullptr);
  install_counting_allocator();
  return std::make_unique<HostMaths>(plan.shape.compute_threads, std::make_unique<DeviceTemporaries>(*host_device));
}

void report_temporaries(Device& device) {
  auto* cuda = dynamic_cast<CudaDevice*>(&device);
  if (cuda == nullptr) return;  // the emulated device counts them itself
  cuda->report_temporaries([index = cuda->index()] {
    const CudaTemporaryUse use = cuda_temporary_use(index);
    return TemporaryUse{use.reserved_bytes, use.reserved_peak_bytes};
  });
}

}  // namespace penstock
