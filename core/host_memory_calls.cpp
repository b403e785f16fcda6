#include "core/host_memory_calls.h"

#include <hwloc.h>
#include <sys/mman.h>

#include <cerrno>

namespace penstock {
namespace {

// hwloc wants a topology to translate a node's number; nothing of it but the nodes is looked up.
int prefer_node_by_hwloc(void* memory, uint64_t bytes, int node) {
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) return ENOMEM;
  hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
  hwloc_bitmap_t nodes = hwloc_bitmap_alloc();
  int error = nodes == nullptr ? ENOMEM : 0;
  if (error == 0 && hwloc_topology_load(topology) != 0) error = ENOSYS;
  if (error == 0 && hwloc_get_numanode_obj_by_os_index(topology, static_cast<unsigned>(node)) == nullptr)
    error = EINVAL;
  if (error == 0) {
    hwloc_bitmap_set(nodes, static_cast<unsigned>(node));
    // Without STRICT a full node is no reason to kill the process: its neighbours help out.
    const int result =
        hwloc_set_area_membind(topology, memory, bytes, nodes, HWLOC_MEMBIND_BIND, HWLOC_MEMBIND_BYNODESET);
    if (result != 0) error = errno;
  }
  hwloc_bitmap_free(nodes);
  hwloc_topology_destroy(topology);
  return error;
}

class SystemHostMemory final : public HostMemoryCalls {
 public:
  int map(void** memory, uint64_t bytes) override {
    *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return *memory == MAP_FAILED ? errno : 0;
  }
  int unmap(void* memory, uint64_t bytes) override { return munmap(memory, bytes) == 0 ? 0 : errno; }
  int advise(void* memory, uint64_t bytes, int advice) override {
    return madvise(memory, bytes, advice) == 0 ? 0 : errno;
  }
  int prefer_node(void* memory, uint64_t bytes, int node) override { return prefer_node_by_hwloc(memory, bytes, node); }
};

}  // namespace

HostMemoryCalls& system_host_memory() {
  static SystemHostMemory calls;
  return calls;
}

}  // namespace penstock
