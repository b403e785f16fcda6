// The one rule by which the optimizer's threads and the compute threads share the machine's cores.
//
//   count   `optimizer.threads` if it is given. Else the knee where a probe has measured one, and never more than one
//           per physical core of the chosen node; with a card, one core of more than two stays with the issuing
//           threads.
//   node    `memory.numa` if it is given. Else the card's, if the machine has several and the run's memory fits in it;
//           for the host device none: LibTorch's threads are on all nodes, and so are the team's first touches.
//   bound   one thread per physical core (to all its hardware threads), the chosen node's first, when the device is a
//           card and every thread gets a core of its own. On the host device nothing is bound: LibTorch's threads are
//           as many as the CPUs and free to move, and a bound worker waits behind whatever sits on its core. Measured
//           on two cores, ms per step with 1 thread, 2 unbound, 2 bound, in turns: with little else running, real
//           compute 256, 256, 256 and paced 127, 134, 129; beside busy processes 283, 285, 252 and 160, 136, 204. No
//           case for binding there, and one against it.
//
// Not a scheduler, and not LibTorch's business: `device.compute_threads` is the user's, and neither count changes the
// other, or a bit of any result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/topology.h"

namespace penstock {

struct CoreRequest {
  bool computes_on_host = true;    // the emulated device
  std::optional<int> threads;      // optimizer.threads
  std::optional<int> knee;         // threads beyond which the probe saw no more bandwidth
  std::optional<int> numa;         // memory.numa, as numactl counts
  std::optional<int> device_node;  // the card's node, where the system tells
  uint64_t memory_bytes = 0;       // what the run keeps in host memory; 0: unknown
};

struct CorePlan {
  int optimizer_threads = 1;
  std::vector<std::vector<int>> cpus;  // per thread, for WorkerTeamOptions; empty: none is bound
  std::optional<int> memory_node;      // for ArenaOptions
};

// Throws Error(kBadInput) for a `numa` that has no core this process may use.
CorePlan plan_cores(const Topology& topology, const CoreRequest& request);

}  // namespace penstock
