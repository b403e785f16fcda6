// What this machine is and what it allows, read and not measured: processor, cores, memory and its limits, huge pages.
// Not a judge: app/doctor.h says what of it costs speed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/probe/host_ram.h"
#include "app/probe/processor.h"
#include "app/run_device.h"
#include "core/system_limits.h"
#include "core/system_memory.h"
#include "core/topology.h"
#include "optim/instruction_set.h"

namespace penstock {

struct MachineFacts {
  Processor processor;
  Topology topology;  // what the process may use
  InstructionSet instruction_set = InstructionSet::kBaseline;
  bool fast_bf16 = false;  // products of this processor
  std::string governor;    // empty: the system does not tell
  int node_count = 1;      // of the machine with cores and memory, whatever the process is bound to
  HostRam ram;
  HostMemory free_memory;
  std::vector<GroupLimit> group_limits;
  SystemLimits limits;
  HugePages huge_pages = HugePages::kUnknown;
  bool is_wsl = false;
  std::string card;              // empty: the device is emulated
  std::optional<int> card_node;  // its NUMA node, where the system tells

  uint64_t cache_bytes() const;  // of all the last-level caches of these cores
};

// The files are read below `root`; cores, limits and features are this process's own.
MachineFacts read_machine_facts(const RunDevice& device, const std::filesystem::path& root = "/");

std::string_view huge_pages_name(HugePages mode);
nlohmann::json to_json(const MachineFacts& facts);

}  // namespace penstock
