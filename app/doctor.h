// What of this machine costs a run speed, each finding with its remedy, and what is set up well.
// Every finding is a function of DoctorFacts alone. Not a measurement: the probe's figures are used where they are.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/machine_profile.h"
#include "app/probe/machine_facts.h"

namespace penstock {

struct DoctorFacts {
  MachineFacts machine;
  int online_cpus = 1;  // of the machine, whatever the process is bound to
  std::optional<MachineProfile> profile;
  std::optional<int> optimizer_threads;  // as configured; unset: auto
  std::optional<int> memory_node;        // memory.numa, as configured
  bool wants_huge_pages = true;          // memory.huge_pages, as configured
  std::string output_dir;
  std::optional<uint64_t> free_disk_bytes;  // there
  uint64_t checkpoint_bytes = 0;            // of the configured run; 0: it saves none, or there is no configuration
};

enum class Severity : uint8_t { kGood, kMinor, kSlow, kSevere };
constexpr std::string_view severity_name(Severity severity) {
  constexpr std::string_view kNames[] = {"good", "minor", "slow", "severe"};
  return kNames[static_cast<int>(severity)];
}

struct Finding {
  Severity severity = Severity::kGood;
  std::string name;    // stable, for programs: "huge_pages"
  std::string what;    // the finding, with its values
  std::string remedy;  // what to do about it; empty: it is good
};

// Worst first, in a fixed order among equals. What does not apply or cannot be told is left out.
std::vector<Finding> examine(const DoctorFacts& facts);

// One line a finding with its remedy, then what is good; "nothing to improve" where all is.
std::string format_findings(const std::vector<Finding>& findings);
nlohmann::json to_json(const std::vector<Finding>& findings);

}  // namespace penstock
