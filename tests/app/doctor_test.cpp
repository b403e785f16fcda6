// Every finding of the doctor on a machine made for it, and a clean machine.
#include "app/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/bytes.h"
#include "probe_profile.h"

namespace penstock {
namespace {

using testing::HasSubstr;

DoctorFacts clean() {
  return {.machine = made_up_facts(),
          .online_cpus = 4,
          .profile = made_up_profile(),
          .output_dir = "runs",
          .free_disk_bytes = 100 * kGiB};
}

DoctorFacts clean_with_card() {
  DoctorFacts facts = clean();
  facts.machine.card = "Fast Card";
  facts.machine.card_node = 0;
  return facts;
}

std::vector<Finding> problems(const DoctorFacts& facts) {
  std::vector<Finding> found = examine(facts);
  std::erase_if(found, [](const Finding& finding) { return finding.severity == Severity::kGood; });
  return found;
}

void expect_only(const DoctorFacts& facts, const std::string& name, Severity severity, const std::string& part) {
  const std::vector<Finding> found = problems(facts);
  ASSERT_EQ(found.size(), 1u) << format_findings(found);
  EXPECT_EQ(found[0].name, name);
  EXPECT_EQ(found[0].severity, severity);
  EXPECT_THAT(found[0].what, HasSubstr(part));
  EXPECT_NE(found[0].remedy, "");
}

TEST(Doctor, ACleanMachineHasNothingToImprove) {
  for (const DoctorFacts& facts : {clean(), clean_with_card()}) {
    EXPECT_TRUE(problems(facts).empty()) << format_findings(problems(facts));
    EXPECT_THAT(format_findings(examine(facts)), testing::StartsWith("nothing to improve\ngood   "));
  }
}

TEST(Doctor, HugePages) {
  DoctorFacts facts = clean();
  facts.machine.huge_pages = HugePages::kNever;
  expect_only(facts, "huge_pages", Severity::kSlow, "are off");
  facts.wants_huge_pages = false;
  expect_only(facts, "huge_pages", Severity::kSlow, "are off");  // what the configuration says is in vain
  for (const HugePages mode : {HugePages::kAlways, HugePages::kMadvise, HugePages::kUnknown}) {
    facts.machine.huge_pages = mode;
    expect_only(facts, "huge_pages", Severity::kSlow, "memory.huge_pages is false");
  }
  facts.wants_huge_pages = true;
  for (const HugePages mode : {HugePages::kAlways, HugePages::kUnknown}) {
    facts.machine.huge_pages = mode;
    EXPECT_TRUE(problems(facts).empty());
  }
}

TEST(Doctor, ControlGroupBelowTheRam) {
  DoctorFacts facts = clean();
  facts.machine.group_limits = {{"/large", 64 * kGiB, kGiB}, {"/small", 16 * kGiB, kGiB}, {"/mid", 20 * kGiB, kGiB}};
  expect_only(facts, "control_group", Severity::kSlow, "16.0 GiB of 32.0 GiB of RAM (/small)");
  facts.machine.group_limits = {{"/nearly", 31 * kGiB, kGiB}};
  EXPECT_TRUE(problems(facts).empty());
}

TEST(Doctor, Swap) {
  DoctorFacts facts = clean();
  facts.machine.ram.swapped_bytes = 2 * kGiB;
  expect_only(facts, "swap", Severity::kSevere, "2.00 GiB");
  facts.machine.ram.swapped_bytes = kGiB;  // some always is
  EXPECT_TRUE(problems(facts).empty());
}

TEST(Doctor, FewerThreadsThanTheKnee) {
  DoctorFacts facts = clean();
  facts.optimizer_threads = 1;
  expect_only(facts, "optimizer_threads", Severity::kSlow, "optimizer.threads is 1, the memory's rate of 50.0 GB/s");
  facts.optimizer_threads = 2;
  EXPECT_TRUE(problems(facts).empty());
  facts.profile->stream.knee = 1;
  facts.optimizer_threads = 1;
  EXPECT_TRUE(problems(facts).empty());
}

TEST(Doctor, Affinity) {
  DoctorFacts facts = clean();
  facts.online_cpus = 16;
  expect_only(facts, "affinity", Severity::kSlow, "4 of 16 CPUs");
}

TEST(Doctor, BoundToFewerNodes) {
  DoctorFacts facts = clean();
  facts.machine.node_count = 2;
  expect_only(facts, "numa_nodes", Severity::kSlow, "nodes 0 of 2");
}

TEST(Doctor, TheCardIsOnAnotherNode) {
  DoctorFacts facts = clean_with_card();
  facts.machine.card_node = 1;
  expect_only(facts, "card_node", Severity::kSlow, "the card is on NUMA node 1, this process only runs on 0");
  facts.machine.topology.nodes.push_back({.os_index = 1, .memory_bytes = kGiB});
  EXPECT_TRUE(problems(facts).empty());
  facts.memory_node = 0;
  expect_only(facts, "card_node", Severity::kSlow, "memory.numa is 0, the card is on node 1");
  facts.memory_node = 1;
  EXPECT_TRUE(problems(facts).empty());
  facts.machine.card_node.reset();
  EXPECT_TRUE(problems(facts).empty());
}

TEST(Doctor, Wsl) {
  DoctorFacts facts = clean();
  facts.machine.is_wsl = true;
  expect_only(facts, "wsl", Severity::kMinor, "WSL2");
  facts = clean_with_card();
  facts.machine.is_wsl = true;
  expect_only(facts, "wsl", Severity::kSlow, "staged");
}

TEST(Doctor, MemlockMattersToACard) {
  DoctorFacts facts = clean_with_card();
  facts.machine.limits.memlock_bytes = 8 * kMiB;
  expect_only(facts, "memlock", Severity::kMinor, "memlock is 8.00 MiB");
  facts.machine.card = "";
  EXPECT_TRUE(problems(facts).empty());
}

TEST(Doctor, Governor) {
  DoctorFacts facts = clean();
  facts.machine.governor = "powersave";
  expect_only(facts, "governor", Severity::kMinor, "powersave");
  facts.machine.governor = "";
  EXPECT_TRUE(problems(facts).empty());
}

TEST(Doctor, InstructionSet) {
  DoctorFacts facts = clean();
  facts.machine.instruction_set = InstructionSet::kAvx2;
  expect_only(facts, "instruction_set", Severity::kMinor, "no AVX-512");
  facts.machine.instruction_set = InstructionSet::kBaseline;
  expect_only(facts, "instruction_set", Severity::kSlow, "neither AVX2 nor AVX-512");
}

TEST(Doctor, BFloat16MattersToTheHost) {
  DoctorFacts facts = clean();
  facts.machine.fast_bf16 = false;
  expect_only(facts, "bf16", Severity::kMinor, "float32");
  facts = clean_with_card();
  facts.machine.fast_bf16 = false;
  EXPECT_TRUE(problems(facts).empty());
}

TEST(Doctor, Probe) {
  DoctorFacts facts = clean();
  facts.profile->quick = true;
  expect_only(facts, "probe", Severity::kMinor, "--quick");
  facts.profile.reset();
  expect_only(facts, "probe", Severity::kMinor, "not been measured");
  facts.optimizer_threads = 1;  // too few for what? nobody has measured
  expect_only(facts, "probe", Severity::kMinor, "not been measured");
}

TEST(Doctor, Disk) {
  DoctorFacts facts = clean();
  facts.free_disk_bytes = kGiB - 1;
  expect_only(facts, "disk", Severity::kSevere, "less than 1.00 GiB free under runs");
  facts.checkpoint_bytes = 1;
  expect_only(facts, "disk", Severity::kSevere, "less than 1.00 GiB free under runs");
  facts.free_disk_bytes = 100 * kGiB;
  facts.checkpoint_bytes = 51 * kGiB;
  expect_only(facts, "disk", Severity::kSevere, "100 GiB free under runs, two checkpoints need 102 GiB");
  facts.free_disk_bytes.reset();
  EXPECT_TRUE(problems(facts).empty());
}

TEST(Doctor, WorstComesFirst) {
  DoctorFacts facts = clean();
  facts.profile.reset();                                      // minor
  facts.machine.is_wsl = true;                                // minor without a card
  facts.machine.instruction_set = InstructionSet::kBaseline;  // slow
  facts.machine.huge_pages = HugePages::kNever;               // slow
  facts.machine.ram.swapped_bytes = 10 * kGiB;                // severe
  std::vector<std::string> names;
  for (const Finding& finding : problems(facts)) names.push_back(finding.name);
  EXPECT_THAT(names, testing::ElementsAre("swap", "huge_pages", "instruction_set", "wsl", "probe"));
  const std::string text = format_findings(examine(facts));
  EXPECT_THAT(text, testing::StartsWith("severe 10.0 GiB of the machine's memory is in swap"));
  EXPECT_THAT(text,
              HasSubstr("\nslow   transparent huge pages are off: memory is slow to touch and to walk. Remedy: "));
  EXPECT_THAT(text, HasSubstr("\ngood   100 GiB free under runs; "));
}

TEST(Doctor, AsJson) {
  DoctorFacts facts = clean();
  facts.machine.huge_pages = HugePages::kNever;
  const nlohmann::json json = to_json(examine(facts));
  ASSERT_EQ(json["findings"].size(), 1u);
  EXPECT_EQ(json["findings"][0]["name"], "huge_pages");
  EXPECT_EQ(json["findings"][0]["severity"], "slow");
  EXPECT_THAT(json["findings"][0]["remedy"].get<std::string>(), HasSubstr("madvise"));
  EXPECT_GT(json["good"].size(), 5u);
}

}  // namespace
}  // namespace penstock
