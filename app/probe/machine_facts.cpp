#include "app/probe/machine_facts.h"

#include <algorithm>
#include <bitset>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/cuda/wsl.h"
#include "model/host_maths.h"

namespace penstock {
namespace {

using nlohmann::json;

using NodeSet = std::bitset<1024>;  // as many as the kernel may be built for

// "0-1,4". Empty where the kernel does not tell.
NodeSet listed_nodes(const std::filesystem::path& path) {
  std::ifstream file(path);
  NodeSet nodes;
  for (std::string part; std::getline(file, part, ',');) {
    const char* const end = part.data() + part.size();
    size_t first = 0;
    const auto begin = std::from_chars(part.data(), end, first);
    if (begin.ec != std::errc()) return {};
    size_t last = first;
    if (begin.ptr != end && *begin.ptr == '-') std::from_chars(begin.ptr + 1, end, last);
    for (size_t node = first; node <= last && node < nodes.size(); ++node) nodes.set(node);
  }
  return nodes;
}

// Memory without cores (CXL, a card's own) is no node that a process could run on, and Topology leaves it out too.
int read_node_count(const std::filesystem::path& root) {
  const std::filesystem::path folder = root / "sys/devices/system/node";
  const NodeSet nodes = listed_nodes(folder / "has_cpu") & listed_nodes(folder / "has_memory");
  return std::max(1, static_cast<int>(nodes.count()));
}

// A limit that is not set is null.
json limit_json(uint64_t bytes) { return bytes == UINT64_MAX ? json(nullptr) : json(bytes); }

json topology_json(const Topology& topology, int node_count) {
  json nodes = json::array(), caches = json::array();
  for (size_t i = 0; i < topology.nodes.size(); ++i) {
    const auto on_node = [&](const PhysicalCore& core) { return core.node == static_cast<int>(i); };
    nodes.push_back({{"node", topology.nodes[i].os_index},
                     {"memory_bytes", topology.nodes[i].memory_bytes},
                     {"cores", std::count_if(topology.cores.begin(), topology.cores.end(), on_node)}});
  }
  for (const CacheLevel& cache : topology.caches) {
    caches.push_back({{"level", cache.level}, {"bytes", cache.bytes}, {"cores", cache.cores_sharing}});
  }
  return {{"cores", topology.core_count()},     {"cpus", topology.cpu_count()},
          {"packages", topology.package_count}, {"nodes", nodes},
          {"machine_nodes", node_count},        {"caches", caches},
          {"source", topology.source}};
}

json memory_json(const MachineFacts& facts) {
  json groups = json::array();
  for (const GroupLimit& limit : facts.group_limits) {
    groups.push_back(
        {{"path", limit.path}, {"limit_bytes", limit.limit_bytes}, {"available_bytes", limit.available_bytes}});
  }
  return {{"ram_bytes", facts.ram.total_bytes},
          {"swapped_bytes", facts.ram.swapped_bytes},
          {"available_bytes", limit_json(facts.free_memory.available_bytes)},
          {"bound_by", facts.free_memory.source},
          {"group_limits", groups},
          {"memlock_bytes", limit_json(facts.limits.memlock_bytes)},
          {"address_space_bytes", limit_json(facts.limits.address_space_bytes)},
          {"data_bytes", limit_json(facts.limits.data_bytes)},
          {"huge_pages", huge_pages_name(facts.huge_pages)}};
}

}  // namespace

uint64_t MachineFacts::cache_bytes() const {
  uint64_t bytes = 0;
  for (const CacheLevel& cache : topology.caches) {  // ascending levels: the last one counts
    const int sharing = std::max(1, cache.cores_sharing);
    bytes = cache.bytes * static_cast<uint64_t>((topology.core_count() + sharing - 1) / sharing);
  }
  return bytes;
}

MachineFacts read_machine_facts(const RunDevice& device, const std::filesystem::path& root) {
  return {.processor = read_processor(root),
          .topology = read_topology(),
          .instruction_set = best_instruction_set(),
          .fast_bf16 = cpu_has_fast_bf16(),
          .governor = read_governor(root),
          .node_count = read_node_count(root),
          .ram = read_host_ram(root),
          .free_memory = read_host_memory(root),
          .group_limits = read_group_limits(root),
          .limits = read_system_limits(),
          .huge_pages = read_huge_pages(root),
          .is_wsl = is_wsl(root),
          .card = device.card ? device.card->properties.name : "",
          .card_node = device.card ? read_device_node(device.card->properties.pci_address, root) : std::nullopt};
}

std::string_view huge_pages_name(HugePages mode) {
  constexpr std::string_view kNames[] = {"always", "madvise", "never", "unknown"};
  return kNames[static_cast<int>(mode)];
}

json to_json(const MachineFacts& facts) {
  return {{"processor",
           {{"model", facts.processor.model},
            {"features", facts.processor.features},
            {"instruction_set", instruction_set_name(facts.instruction_set)},
            {"fast_bf16", facts.fast_bf16},
            {"governor", facts.governor}}},
          {"topology", topology_json(facts.topology, facts.node_count)},
          {"memory", memory_json(facts)},
          {"wsl", facts.is_wsl},
          {"card", facts.card},
          {"card_node", facts.card_node ? json(*facts.card_node) : json(nullptr)}};
}

}  // namespace penstock
