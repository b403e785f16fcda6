// What this process may compute on: physical cores, NUMA nodes and caches, as far as the system tells.
// Not a scheduler: it says what is there; core_plan.h decides who runs where.
// Never throws and is never empty: where hwloc cannot see anything (empty sysfs, odd containers) there is one node and
// one core per CPU of the affinity mask.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

// One physical core, restricted to the CPUs (hardware threads) that the process may use.
struct PhysicalCore {
  std::vector<int> cpus;  // the system's CPU numbers, ascending, never empty
  int node = 0;           // index into Topology::nodes
};

struct NumaNode {
  int os_index = 0;           // as numactl and sysfs count
  uint64_t memory_bytes = 0;  // 0: unknown
};

struct CacheLevel {
  int level = 0;          // 1 (data), 2, 3
  uint64_t bytes = 0;     // of one such cache
  int cores_sharing = 1;  // physical cores per cache
};

struct Topology {
  std::vector<PhysicalCore> cores;  // nodes in ascending order, cores of a node together
  std::vector<NumaNode> nodes;
  std::vector<CacheLevel> caches;
  int package_count = 1;
  std::string source;  // "hwloc", or why not: "affinity mask (hwloc: ...)"

  int core_count() const { return static_cast<int>(cores.size()); }
  int cpu_count() const;
  bool has_smt() const { return cpu_count() > core_count(); }
};

// This machine, as the process's affinity and cpuset allow.
Topology read_topology();

// hwloc's synthetic description, e.g. "pack:2 numa:4 core:8 pu:2", restricted to `allowed_cpus` if there are any.
// For tests and for planning other machines. Throws Error(kBadInput) where hwloc refuses the description.
Topology synthetic_topology(const std::string& description, const std::vector<int>& allowed_cpus = {});

}  // namespace penstock
