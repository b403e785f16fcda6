// The one table of system calls that host memory needs: the system itself, or a test's stand-in that counts and fails.
// Exactly what is called, nothing else. Every function returns 0 or an errno value and throws nothing.
#pragma once

#include <cstdint>

namespace penstock {

class HostMemoryCalls {
 public:
  virtual ~HostMemoryCalls() = default;

  // Anonymous, private, readable and writable, zero.
  virtual int map(void** memory, uint64_t bytes) = 0;
  virtual int unmap(void* memory, uint64_t bytes) = 0;
  virtual int advise(void* memory, uint64_t bytes, int advice) = 0;  // madvise
  // Pages that are touched from now on come from that NUMA node (as numactl counts) while it has any.
  virtual int prefer_node(void* memory, uint64_t bytes, int node) = 0;
};

HostMemoryCalls& system_host_memory();

}  // namespace penstock
