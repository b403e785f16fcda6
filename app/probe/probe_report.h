// A probe as one screen: at most 50 lines of 100 columns.
#pragma once

#include <string>

#include "app/machine_profile.h"
#include "app/probe/machine_facts.h"

namespace penstock {

std::string format_probe(const MachineFacts& facts, const MachineProfile& profile);

}  // namespace penstock
