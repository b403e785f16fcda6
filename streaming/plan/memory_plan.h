// The bytes a run needs on the host and on the device, by class, before anything is allocated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "streaming/plan/schedule.h"

namespace penstock {

struct MemoryClass {
  std::string name;  // "wire weights", "optimizer state", "gradients", "activations", ...
  uint64_t bytes = 0;
};

// Throws Error(kDoesNotFit) where a sum leaves 64 bits, instead of wrapping.
struct MemoryPlan {
  std::vector<MemoryClass> host;
  std::vector<MemoryClass> device;
  uint64_t parameter_count = 0;

  uint64_t host_bytes() const;
  uint64_t device_bytes() const;
  uint64_t all_bytes() const;  // host and device
};

// Sums the table by class; throws as MemoryPlan does. `temporary_bytes` is LibTorch's peak on the compute lane,
// `data_bytes` the loader's.
MemoryPlan plan_memory(const BufferTable& buffers, uint64_t parameter_count, uint64_t temporary_bytes,
                       uint64_t data_bytes);

// The byte table as text: class, bytes, bytes per parameter, totals.
std::string format_memory_plan(const MemoryPlan& plan);

struct MemoryLimits {
  uint64_t host_bytes = UINT64_MAX;
  uint64_t device_bytes = UINT64_MAX;
  std::string host_source = {};  // what sets host_bytes, for the message
};

// One remedy that would help: `setting` as the user would write it, e.g. "memory.prefetch_depth=1".
struct Remedy {
  std::string setting;
  MemoryPlan plan;
};

// Throws Error(kDoesNotFit) with one line that names what does not fit, by how much, and those remedies that would fit
// (or that none of them does); the byte table follows on further lines.
void require_fit(const MemoryPlan& plan, const MemoryLimits& limits, const std::vector<Remedy>& remedies);

}  // namespace penstock
