#include "core/core_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"

namespace penstock {
namespace {

// Index into topology.nodes; nullopt: no node is preferred.
std::optional<int> find_node(const Topology& topology, int os_index) {
  for (size_t i = 0; i < topology.nodes.size(); ++i) {
    if (topology.nodes[i].os_index == os_index) return static_cast<int>(i);
  }
  return std::nullopt;
}

std::optional<int> choose_node(const Topology& topology, const CoreRequest& request) {
  if (request.numa) {
    if (const std::optional<int> node = find_node(topology, *request.numa)) return node;
    std::vector<int> known;
    for (const NumaNode& node : topology.nodes) known.push_back(node.os_index);
    throw Error(ExitCode::kBadInput,
                fmt::format("memory.numa: {} is no NUMA node with cores that this process may use; "
                            "there {} {}; give one of these, or auto",
                            *request.numa, known.size() == 1 ? "is" : "are", fmt::join(known, ", ")));
  }
  if (request.computes_on_host || topology.nodes.size() < 2 || !request.device_node) return std::nullopt;
  const std::optional<int> node = find_node(topology, *request.device_node);
  if (!node) return std::nullopt;
  const uint64_t node_bytes = topology.nodes[static_cast<size_t>(*node)].memory_bytes;
  return node_bytes > 0 && request.memory_bytes > node_bytes ? std::nullopt : node;
}

int automatic_threads(const CoreRequest& request, int cores) {
  const bool leaves_one = !request.computes_on_host && cores > 2;
  const int most = leaves_one ? cores - 1 : cores;
  return request.knee ? std::clamp(*request.knee, 1, most) : most;
}

}  // namespace

CorePlan plan_cores(const Topology& topology, const CoreRequest& request) {
  const std::optional<int> node = choose_node(topology, request);
  std::vector<const PhysicalCore*> near, far;
  for (const PhysicalCore& core : topology.cores) (!node || core.node == *node ? near : far).push_back(&core);
  CorePlan plan;
  plan.optimizer_threads = request.threads.value_or(automatic_threads(request, static_cast<int>(near.size())));
  if (node) plan.memory_node = topology.nodes[static_cast<size_t>(*node)].os_index;
  near.insert(near.end(), far.begin(), far.end());
  const auto threads = static_cast<size_t>(plan.optimizer_threads);
  if (request.computes_on_host || threads < 2 || threads > near.size()) return plan;
  for (size_t thread = 0; thread < threads; ++thread) plan.cpus.push_back(near[thread]->cpus);
  return plan;
}

}  // namespace penstock
