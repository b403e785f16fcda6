#include "app/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/bytes.h"

namespace penstock {
namespace {

using Result = std::optional<Finding>;

Finding good(const char* name, std::string what) { return {Severity::kGood, name, std::move(what), ""}; }

std::string nodes_text(const Topology& topology) {
  std::string text;
  for (const NumaNode& node : topology.nodes) text += fmt::format("{}{}", text.empty() ? "" : ", ", node.os_index);
  return text;
}

bool has_card(const DoctorFacts& facts) { return !facts.machine.card.empty(); }

// Without 2 MiB pages the first touch takes several times as long, and the optimizer misses the TLB on every page.
Result huge_pages(const DoctorFacts& facts) {
  const HugePages mode = facts.machine.huge_pages;
  if (mode == HugePages::kNever) {
    return Finding{Severity::kSlow, "huge_pages", "transparent huge pages are off: memory is slow to touch and to walk",
                   "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"};
  }
  if (!facts.wants_huge_pages) {
    return Finding{Severity::kSlow, "huge_pages", "memory.huge_pages is false: memory is slow to touch and to walk",
                   "leave memory.huge_pages at true"};
  }
  if (mode == HugePages::kUnknown) return std::nullopt;
  return good("huge_pages", fmt::format("huge pages are given ({})", huge_pages_name(mode)));
}

// The kernel counts control groups in pages; a limit near the RAM's size is not meant as one.
Result control_group(const DoctorFacts& facts) {
  constexpr double kNearlyAll = 0.95;
  const GroupLimit* smallest = nullptr;
  for (const GroupLimit& limit : facts.machine.group_limits) {
    if (smallest == nullptr || limit.limit_bytes < smallest->limit_bytes) smallest = &limit;
  }
  const uint64_t ram = facts.machine.ram.total_bytes;
  if (ram == 0) return std::nullopt;
  if (smallest == nullptr || static_cast<double>(smallest->limit_bytes) >= kNearlyAll * static_cast<double>(ram)) {
    return good("control_group", fmt::format("all {} of RAM may be used", format_bytes(ram)));
  }
  return Finding{Severity::kSlow, "control_group",
                 fmt::format("a control group allows {} of {} of RAM ({})", format_bytes(smallest->limit_bytes),
                             format_bytes(ram), smallest->path),
                 "raise it: docker --memory, systemd MemoryMax=, Slurm --mem"};
}

Result swap(const DoctorFacts& facts) {
  const HostRam& ram = facts.machine.ram;
  if (ram.total_bytes == 0) return std::nullopt;
  if (ram.swapped_bytes < ram.total_bytes / 20) return good("swap", "the machine does not swap");
  return Finding{Severity::kSevere, "swap",
                 fmt::format("{} of the machine's memory is in swap: state that follows it there stops a run",
                             format_bytes(ram.swapped_bytes)),
                 "end other programs, then sudo swapoff -a"};
}

Result optimizer_threads(const DoctorFacts& facts) {
  if (!facts.profile) return std::nullopt;
  const StreamRates& stream = facts.profile->stream;
  if (!facts.optimizer_threads || *facts.optimizer_threads >= stream.knee) {
    return good("optimizer_threads",
                fmt::format("the memory is saturated by {} of {} cores", stream.knee, stream.in_place.back().threads));
  }
  return Finding{Severity::kSlow, "optimizer_threads",
                 fmt::format("optimizer.threads is {}, the memory's rate of {:.1f} GB/s needs {}",
                             *facts.optimizer_threads, stream.best_gbps, stream.knee),
                 "leave optimizer.threads at auto"};
}

Result affinity(const DoctorFacts& facts) {
  const int usable = facts.machine.topology.cpu_count();
  if (usable >= facts.online_cpus) return good("affinity", fmt::format("all {} CPUs may be used", usable));
  return Finding{Severity::kSlow, "affinity",
                 fmt::format("this process may use {} of {} CPUs", usable, facts.online_cpus),
                 "start it without taskset, or widen the container's cpuset"};
}

Result numa_nodes(const DoctorFacts& facts) {
  const Topology& topology = facts.machine.topology;
  const auto usable = static_cast<int>(topology.nodes.size());
  if (usable >= facts.machine.node_count) return std::nullopt;
  return Finding{
      Severity::kSlow, "numa_nodes",
      fmt::format("this process runs on the NUMA nodes {} of {}", nodes_text(topology), facts.machine.node_count),
      "start it without numactl --cpunodebind, or widen the container's cpuset"};
}

// Copies to a card on another socket cross the link between the sockets.
Result card_node(const DoctorFacts& facts) {
  if (!has_card(facts) || !facts.machine.card_node) return std::nullopt;
  const std::vector<NumaNode>& nodes = facts.machine.topology.nodes;
  const int node = *facts.machine.card_node;
  const bool is_usable =
      std::any_of(nodes.begin(), nodes.end(), [&](const NumaNode& usable) { return usable.os_index == node; });
  if (!is_usable) {
    return Finding{Severity::kSlow, "card_node",
                   fmt::format("the card is on NUMA node {}, this process only runs on {}", node,
                               nodes_text(facts.machine.topology)),
                   fmt::format("start it with numactl --cpunodebind={} --preferred={}", node, node)};
  }
  if (facts.memory_node && *facts.memory_node != node) {
    return Finding{Severity::kSlow, "card_node",
                   fmt::format("memory.numa is {}, the card is on node {}", *facts.memory_node, node),
                   "leave memory.numa at auto"};
  }
  return good("card_node", fmt::format("the card's NUMA node {} can be used", node));
}

Result wsl(const DoctorFacts& facts) {
  if (!facts.machine.is_wsl) return std::nullopt;
  return Finding{has_card(facts) ? Severity::kSlow : Severity::kMinor, "wsl",
                 "WSL2 gives away a part of the RAM, and pins little of it: copies to a card are staged",
                 "run Linux itself, or raise memory= in .wslconfig"};
}

// The driver's pins are charged to the limit on some systems, and so are buffers registered for input and output.
Result memlock(const DoctorFacts& facts) {
  if (!has_card(facts)) return std::nullopt;
  const uint64_t limit = facts.machine.limits.memlock_bytes;
  const uint64_t ram = facts.machine.ram.total_bytes;
  if (limit >= ram) return good("memlock", "memlock does not limit pinning");
  return Finding{Severity::kMinor, "memlock",
                 fmt::format("memlock is {}: systems that charge pinned memory to it refuse more", format_bytes(limit)),
                 "ulimit -l unlimited (limits.conf; docker --ulimit memlock=-1)"};
}

Result governor(const DoctorFacts& facts) {
  const std::string& name = facts.machine.governor;
  if (name.empty()) return std::nullopt;
  if (name == "performance") return good("governor", "the governor is performance");
  return Finding{Severity::kMinor, "governor",
                 fmt::format("the processor's power governor is {}: clocks rise late and cores sleep deep", name),
                 "sudo cpupower frequency-set -g performance"};
}

Result instruction_set(const DoctorFacts& facts) {
  const InstructionSet set = facts.machine.instruction_set;
  if (set == InstructionSet::kAvx512) return good("instruction_set", "AVX-512");
  const bool is_baseline = set == InstructionSet::kBaseline;
  return Finding{is_baseline ? Severity::kSlow : Severity::kMinor, "instruction_set",
                 is_baseline ? "the processor has neither AVX2 nor AVX-512: the optimizer computes slower than memory"
                             : "no AVX-512: compact and compact8 gain less over exact",
                 "where RAM allows, optimizer.state_format: exact"};
}

// On a card nobody multiplies on the host.
Result bf16(const DoctorFacts& facts) {
  if (has_card(facts)) return std::nullopt;
  if (facts.machine.fast_bf16) return good("bf16", "fast bf16 products");
  return Finding{Severity::kMinor, "bf16", "no fast bf16 products on this processor: the host computes in float32",
                 "a processor with AVX512_BF16 or AMX, or a card"};
}

Result probe(const DoctorFacts& facts) {
  if (!facts.profile) {
    return Finding{Severity::kMinor, "probe", "this machine has not been measured: plan predicts no times",
                   "penstock probe (half a minute, once)"};
  }
  if (facts.profile->quick) {
    return Finding{Severity::kMinor, "probe", "this machine has been measured with --quick only", "penstock probe"};
  }
  return good("probe", fmt::format("measured on {}", facts.profile->measured_at.substr(0, 10)));
}

// A new checkpoint is complete before an old one goes: there is room for one more at least, or saving fails.
Result disk(const DoctorFacts& facts) {
  constexpr uint64_t kLeast = kGiB;
  if (!facts.free_disk_bytes) return std::nullopt;
  const uint64_t free = *facts.free_disk_bytes;
  const uint64_t two_checkpoints = 2 * facts.checkpoint_bytes;
  const std::string place = fmt::format("{} free under {}", format_bytes(free), facts.output_dir);
  if (free >= std::max(kLeast, two_checkpoints)) return good("disk", place);
  return Finding{Severity::kSevere, "disk",
                 free < two_checkpoints
                     ? fmt::format("{}, two checkpoints need {}", place, format_bytes(two_checkpoints))
                     : fmt::format("less than {} free under {}", format_bytes(kLeast), facts.output_dir),
                 "free some, or set training.output_dir to another disk"};
}

}  // namespace

std::vector<Finding> examine(const DoctorFacts& facts) {
  // Among equals in this order: what costs most in our measurements comes first.
  constexpr Result (*kChecks[])(const DoctorFacts&) = {
      disk,       swap, control_group,   card_node, affinity, numa_nodes, optimizer_threads,
      huge_pages, wsl,  instruction_set, bf16,      governor, memlock,    probe};
  std::vector<Finding> findings;
  for (const auto check : kChecks) {
    if (Result result = check(facts)) findings.push_back(std::move(*result));
  }
  std::stable_sort(findings.begin(), findings.end(),
                   [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
  return findings;
}

std::string format_findings(const std::vector<Finding>& findings) {
  std::string text, well;
  for (const Finding& finding : findings) {
    if (finding.severity == Severity::kGood) {
      well += fmt::format("{}{}", well.empty() ? "" : "; ", finding.what);
    } else {
      text += fmt::format("{:<6} {}. Remedy: {}\n", severity_name(finding.severity), finding.what, finding.remedy);
    }
  }
  if (text.empty()) text = "nothing to improve\n";
  return text + "good   " + (well.empty() ? "-" : well);
}

nlohmann::json to_json(const std::vector<Finding>& findings) {
  nlohmann::json list = nlohmann::json::array(), well = nlohmann::json::array();
  for (const Finding& finding : findings) {
    nlohmann::json entry = {{"name", finding.name}, {"finding", finding.what}};
    if (finding.severity == Severity::kGood) {
      well.push_back(std::move(entry));
      continue;
    }
    entry["severity"] = severity_name(finding.severity);
    entry["remedy"] = finding.remedy;
    list.push_back(std::move(entry));
  }
  return {{"findings", list}, {"good", well}};
}

}  // namespace penstock
