// Measures this machine: everything of a MachineProfile, one after the other, each within a time of its own. The times
// sum up to less than 30 s on any machine; a slow one gets fewer samples.
#pragma once

#include <functional>
#include <string>

#include "app/machine_profile.h"
#include "app/probe/machine_facts.h"
#include "core/core_plan.h"

namespace penstock {

struct ProbeSettings {
  std::string output_dir;  // where the disk is measured
  int device_index = 0;    // of a card
  bool quick = false;      // small sizes and few samples: seconds instead of half a minute, and rougher
  std::function<void(const std::string&)> progress = {};  // told what is measured next
};

// Who works and where memory is, as in a run that has all cores (core/core_plan.h).
CorePlan probe_cores(const MachineFacts& facts, const RunDevice& device);

// Throws Error(kDoesNotFit) where even the little that is needed is refused, Error(kDevice).
MachineProfile probe_machine(const MachineFacts& facts, const RunDevice& device, const ProbeSettings& settings);

}  // namespace penstock
