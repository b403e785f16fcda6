// One behaviour suite for every implementation of Device. An implementation instantiates DeviceSuite with how to make
// one and how to hold a lane; the tests see nothing else.
// Order is forced with gates, never with time.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/bytes.h"
#include "core/device.h"

namespace penstock {

// Keeps a lane busy from the moment its work is queued until open() or the gate's end.
class LaneGate {
 public:
  virtual ~LaneGate() = default;
  virtual void open() = 0;
};

struct DeviceUnderTest {
  std::string name;
  std::function<std::unique_ptr<Device>(uint64_t budget_bytes)> make_device;
  std::function<std::unique_ptr<LaneGate>(Device& device, LaneKind lane)> hold_lane;
  std::function<void()> require = [] {};          // skips the test where there is nothing to test on
  std::function<void()> check_after_end = [] {};  // once the device and all it made have ended
};

class DeviceSuite : public testing::TestWithParam<DeviceUnderTest> {
 protected:
  static constexpr uint64_t kBudgetBytes = 1 << 20;

  void SetUp() override;
  void TearDown() override;

  std::unique_ptr<LaneGate> hold(LaneKind lane) { return GetParam().hold_lane(*device_, lane); }

  // Device memory of kBytes.
  std::span<std::byte> allocate() { return device_->allocate("test", kBytes); }
  // Announced host memory of kBytes, all `value`, that lives as long as the test.
  std::span<std::byte> host(uint8_t value);
  // The value of every byte, read through the offload lane after everything queued; -1 if bytes differ.
  int read_back(std::span<const std::byte> device_memory);
  // Work on a lane of its own until other lanes had every chance to run ahead of what they must wait for.
  void give_time(LaneKind idle_lane);

  static constexpr size_t kBytes = 4096 + 7;
  Arena host_memory_{"host memory of a test", 4 * kMiB};  // outlives the device's queues
  std::unique_ptr<Device> device_;
  std::unique_ptr<HostRegistration> registration_;

 private:
  static constexpr uint64_t kTransferBytes = 2 * kMiB;
  std::array<std::span<std::byte>, 2> unused_;  // of host_memory_, by region
  size_t next_region_ = 0;
};

}  // namespace penstock
