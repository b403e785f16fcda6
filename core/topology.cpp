#include "core/topology.h"

#include <fmt/format.h>
#include <hwloc.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "core/error.h"

namespace penstock {
namespace {

struct TopologyFree {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using OwnedTopology = std::unique_ptr<hwloc_topology, TopologyFree>;

struct BitmapFree {
  void operator()(hwloc_bitmap_t bitmap) const { hwloc_bitmap_free(bitmap); }
};
using OwnedBitmap = std::unique_ptr<hwloc_bitmap_s, BitmapFree>;

constexpr hwloc_obj_type_t kDataCaches[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE};

// Of a topology that is not loaded yet: nothing is looked up that we do not read. Null where hwloc refuses.
OwnedTopology new_topology(unsigned long flags) {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return nullptr;
  OwnedTopology topology(raw);
  hwloc_topology_set_flags(raw, flags | HWLOC_TOPOLOGY_FLAG_NO_DISTANCES | HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS |
                                    HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS);
  hwloc_topology_set_all_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE);
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
  // Nodes below a package hang on groups: without them they would all be the package's.
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_GROUP, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
  for (const hwloc_obj_type_t cache : kDataCaches) {
    hwloc_topology_set_type_filter(raw, cache, HWLOC_TYPE_FILTER_KEEP_ALL);
  }
  return topology;
}

std::vector<hwloc_obj_t> objects(hwloc_topology_t topology, hwloc_obj_type_t type) {
  std::vector<hwloc_obj_t> found;
  for (hwloc_obj_t object = nullptr; (object = hwloc_get_next_obj_by_type(topology, type, object)) != nullptr;) {
    found.push_back(object);
  }
  return found;
}

std::vector<int> members(hwloc_const_bitmap_t bitmap) {
  std::vector<int> indices;
  if (bitmap == nullptr || hwloc_bitmap_weight(bitmap) < 0) return indices;  // absent, or without end
  for (int i = -1; (i = hwloc_bitmap_next(bitmap, i)) != -1;) indices.push_back(i);
  return indices;
}

// Nodes that a core is near to. Of several (DRAM and HBM beside each other) a core's is the first the system counts;
// nodes without cores (a GPU's or an expander's memory) are not offered.
void add_cores(hwloc_topology_t topology, Topology& result) {
  std::vector<hwloc_obj_t> cores = objects(topology, HWLOC_OBJ_CORE);
  if (cores.empty()) cores = objects(topology, HWLOC_OBJ_PU);
  std::map<int, std::vector<PhysicalCore>> by_node;
  for (const hwloc_obj_t core : cores) {
    std::vector<int> cpus = members(core->cpuset);
    const std::vector<int> near = members(core->nodeset);
    if (!cpus.empty()) by_node[near.empty() ? 0 : near.front()].push_back({.cpus = std::move(cpus)});
  }
  for (auto& [os_index, node_cores] : by_node) {
    const hwloc_obj_t node = hwloc_get_numanode_obj_by_os_index(topology, static_cast<unsigned>(os_index));
    for (PhysicalCore& core : node_cores) {
      core.node = static_cast<int>(result.nodes.size());
      result.cores.push_back(std::move(core));
    }
    result.nodes.push_back({os_index, node == nullptr ? 0 : node->attr->numanode.local_memory});
  }
}

void add_caches(hwloc_topology_t topology, Topology& result) {
  const hwloc_obj_type_t core_type =
      hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
  for (int level = 1; level <= 3; ++level) {
    CacheLevel found{.level = level};
    for (const hwloc_obj_t cache : objects(topology, kDataCaches[level - 1])) {
      const int cores = hwloc_get_nbobjs_inside_cpuset_by_type(topology, cache->cpuset, core_type);
      found.bytes = std::max<uint64_t>(found.bytes, cache->attr->cache.size);
      found.cores_sharing = std::max(found.cores_sharing, cores);
    }
    if (found.bytes > 0) result.caches.push_back(found);
  }
}

// Empty where hwloc shows no CPU.
Topology read_loaded(hwloc_topology_t topology) {
  Topology result{.package_count = std::max(1, hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PACKAGE)),
                  .source = "hwloc"};
  add_cores(topology, result);
  add_caches(topology, result);
  return result;
}

// CPUs of the calling thread's affinity mask, which no cpuset exceeds; empty where the system does not tell.
std::vector<int> affinity_cpus() {
  for (int most = 1024; most <= (1 << 20); most *= 4) {
    const size_t bytes = CPU_ALLOC_SIZE(most);
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(most), [](cpu_set_t* raw) { CPU_FREE(raw); });
    if (set == nullptr) return {};
    if (sched_getaffinity(0, bytes, set.get()) != 0) {
      if (errno == EINVAL) continue;  // the kernel's mask is larger
      return {};
    }
    std::vector<int> cpus;
    for (int cpu = 0; cpu < most; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, set.get())) cpus.push_back(cpu);
    }
    return cpus;
  }
  return {};
}

bool restrict_to(hwloc_topology_t topology, const std::vector<int>& cpus) {
  const OwnedBitmap bitmap(hwloc_bitmap_alloc());
  if (bitmap == nullptr) return false;
  for (const int cpu : cpus) hwloc_bitmap_set(bitmap.get(), static_cast<unsigned>(cpu));
  return hwloc_topology_restrict(topology, bitmap.get(), HWLOC_RESTRICT_FLAG_REMOVE_CPULESS) == 0;
}

// hwloc's own flag for the binding fails in a process whose threads are bound differently: the mask is given instead.
std::optional<Topology> read_hwloc(unsigned long flags, const std::vector<int>& cpus, std::string& problem) {
  const OwnedTopology topology = new_topology(flags);
  if (topology == nullptr || hwloc_topology_load(topology.get()) != 0) {
    problem = "it cannot be started";
    return std::nullopt;
  }
  if (!cpus.empty() && !restrict_to(topology.get(), cpus)) {
    problem = "it sees none of the CPUs this process may use";
    return std::nullopt;
  }
  const bool sees_cores = hwloc_get_nbobjs_by_type(topology.get(), HWLOC_OBJ_CORE) > 0;
  Topology result = read_loaded(topology.get());
  if (!sees_cores || result.cores.empty()) {
    problem = "it sees no cores";
    return std::nullopt;
  }
  return result;
}

}  // namespace

int Topology::cpu_count() const {
  int count = 0;
  for (const PhysicalCore& core : cores) count += static_cast<int>(core.cpus.size());
  return count;
}

Topology read_topology() {
  std::vector<int> cpus = affinity_cpus();
  std::string problem;
  // sysfs tells it all, in a millisecond. Only where it does not, hwloc may ask every CPU itself, by moving this thread
  // onto each.
  for (const unsigned long flags : {static_cast<unsigned long>(HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING), 0ul}) {
    if (std::optional<Topology> found = read_hwloc(flags, cpus, problem)) return *std::move(found);
  }
  if (cpus.empty()) {
    for (unsigned cpu = 0; cpu < std::max(1u, std::thread::hardware_concurrency()); ++cpu) {
      cpus.push_back(static_cast<int>(cpu));
    }
  }
  Topology result{.nodes = {NumaNode{}}, .source = fmt::format("affinity mask (hwloc: {})", problem)};
  for (const int cpu : cpus) result.cores.push_back({.cpus = {cpu}});
  return result;
}

Topology synthetic_topology(const std::string& description, const std::vector<int>& allowed_cpus) {
  const OwnedTopology topology = new_topology(0);
  const auto refuse = [&](const char* what) {
    throw Error(ExitCode::kBadInput, fmt::format("topology '{}': {}", description, what));
  };
  if (topology == nullptr || hwloc_topology_set_synthetic(topology.get(), description.c_str()) != 0 ||
      hwloc_topology_load(topology.get()) != 0) {
    refuse("hwloc does not understand it; give levels such as \"pack:2 numa:4 core:8 pu:2\"");
  }
  if (!allowed_cpus.empty() && !restrict_to(topology.get(), allowed_cpus)) {
    refuse("it has none of the allowed CPUs; allow some that it has");
  }
  Topology result = read_loaded(topology.get());
  if (result.cores.empty()) refuse("it has no CPU; add a level such as \"pu:1\"");
  return result;
}

}  // namespace penstock
