#include "fake_cuda_device.h"

#include <utility>

#include "core/error.h"

namespace penstock {

FakeCudaDevice::FakeCudaDevice(const FakeCudaOptions& fake, const CudaDeviceOptions& options)
    : runtime_(std::make_unique<FakeCudaRuntime>(fake)) {
  CudaDeviceOptions on_fake = options;
  on_fake.reserve_bytes = 0;
  device_ = std::make_unique<CudaDevice>(*runtime_, on_fake);
}

void FakeCudaDevice::launch(LaneKind lane, std::function<void()> work) {
  device_->launch(lane, [&] {
    const CudaStatus status = runtime_->enqueue(static_cast<RawStream*>(device_->stream(lane)), std::move(work));
    if (status != CudaStatus::kSuccess) throw Error(ExitCode::kDevice, runtime_->error_text(status));
  });
}

}  // namespace penstock
