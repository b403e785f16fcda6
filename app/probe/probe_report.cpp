#include "app/probe/probe_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "core/bytes.h"

namespace penstock {
namespace {

constexpr size_t kColumns = 100;
constexpr size_t kNameColumns = 10;

// Lines "name      text"; what is too long goes on below, broken between words.
class Screen {
 public:
  void add(std::string_view name, std::string_view text) {
    std::string line = fmt::format("{:<{}}", name, kNameColumns);
    size_t used = line.size();
    while (!text.empty()) {
      const size_t end = std::min(text.find(' '), text.size());
      if (used > kNameColumns && used + 1 + end > kColumns) {
        lines_.push_back(std::move(line));
        line.assign(kNameColumns, ' ');
        used = kNameColumns;
      }
      if (used > kNameColumns) line += ' ';
      line += text.substr(0, end);
      used = line.size();
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    lines_.push_back(std::move(line));
  }
  std::string text() const { return fmt::format("{}", fmt::join(lines_, "\n")); }

 private:
  std::vector<std::string> lines_;
};

std::string limit_text(uint64_t bytes) { return bytes == UINT64_MAX ? "unlimited" : format_bytes(bytes); }

std::string counted(int count, const char* what) { return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s"); }

void add_machine(Screen& screen, const MachineFacts& facts) {
  const Topology& topology = facts.topology;
  screen.add("machine", facts.processor.model);
  screen.add("cores", fmt::format("{}, {}, {}, {}; bf16 products: {}{}", counted(topology.core_count(), "core"),
                                  counted(topology.cpu_count(), "CPU"), counted(topology.package_count, "package"),
                                  instruction_set_name(facts.instruction_set), facts.fast_bf16 ? "yes" : "no",
                                  facts.governor.empty() ? "" : "; governor " + facts.governor));
  std::vector<std::string> caches, nodes;
  for (const CacheLevel& cache : topology.caches) {
    caches.push_back(
        fmt::format("L{} {} for {}", cache.level, format_bytes(cache.bytes), counted(cache.cores_sharing, "core")));
  }
  for (size_t i = 0; i < topology.nodes.size(); ++i) {
    const auto cores = std::count_if(topology.cores.begin(), topology.cores.end(),
                                     [&](const PhysicalCore& core) { return core.node == static_cast<int>(i); });
    nodes.push_back(fmt::format("{}: {}, {}", topology.nodes[i].os_index, counted(static_cast<int>(cores), "core"),
                                format_bytes(topology.nodes[i].memory_bytes)));
  }
  screen.add("caches", caches.empty() ? "unknown" : fmt::format("{}", fmt::join(caches, ", ")));
  screen.add("nodes", fmt::format("{}", fmt::join(nodes, "; ")));
}

void add_memory(Screen& screen, const MachineFacts& facts) {
  screen.add("memory", fmt::format("{} of RAM, {} free ({}); huge pages: {}", format_bytes(facts.ram.total_bytes),
                                   limit_text(facts.free_memory.available_bytes), facts.free_memory.source,
                                   huge_pages_name(facts.huge_pages)));
  constexpr size_t kMostShown = 6;  // systems nest deeper than anybody reads
  for (size_t i = 0; i < std::min(facts.group_limits.size(), kMostShown); ++i) {
    const GroupLimit& limit = facts.group_limits[i];
    screen.add(i == 0 ? "groups" : "", fmt::format("{}: {}, {} free", limit.path, format_bytes(limit.limit_bytes),
                                                   format_bytes(limit.available_bytes)));
  }
  const std::string groups = facts.group_limits.empty() ? "no control group sets a limit; " : "";
  screen.add("limits", fmt::format("{}memlock {}", groups, limit_text(facts.limits.memlock_bytes)));
}

void add_rates(Screen& screen, const MachineProfile& profile) {
  const StreamRates& stream = profile.stream;
  screen.add("stream", fmt::format("in place over {}{}; knee: {}", format_bytes(stream.bytes),
                                   stream.beyond_caches ? "" : " (caches flatter it: free memory is short)",
                                   counted(stream.knee, "thread")));
  std::vector<std::string> rates;
  for (const ThreadRate& rate : stream.in_place) rates.push_back(fmt::format("{}:{:.1f}", rate.threads, rate.gbps));
  screen.add("", fmt::format("GB/s by threads: {}", fmt::join(rates, " ")));
  screen.add("copy", fmt::format("{:.1f} GB/s", stream.copy_gbps));
  const FirstTouchTimes& touch = profile.first_touch;
  screen.add("touch", fmt::format("s/GiB with huge pages {:.3f} by one thread, {:.3f} by {}; without {:.3f}, {:.3f}",
                                  touch.one_thread_huge, touch.all_threads_huge, touch.threads, touch.one_thread_small,
                                  touch.all_threads_small));
  if (profile.pinning) {
    const PinTimes& pinning = *profile.pinning;
    screen.add("pinning", pinning.problem.empty() ? fmt::format("{:.3f} s/GiB", pinning.seconds_per_gib)
                                                  : "not measured: " + pinning.problem);
  }
}

void add_device(Screen& screen, const MachineFacts& facts, const MachineProfile& profile) {
  const bool on_host = profile.identity.device == "host";
  const std::string node = facts.card_node ? fmt::format(", on NUMA node {}", *facts.card_node) : "";
  screen.add("device", (on_host ? "emulated on the host" : profile.identity.device) + node);
  std::vector<std::string> products;
  for (const GemmRate& rate : profile.gemm) {
    products.push_back(
        fmt::format("{} {:.3g} TFLOP/s ({} x {})", dtype_name(rate.dtype), rate.tflops, rate.size, rate.size));
  }
  screen.add("products", fmt::format("{}", fmt::join(products, ", ")));
  screen.add("link", fmt::format("{:.1f} GB/s to the device, {:.1f} back, {:.1f} both at once; {:.1f} us a copy",
                                 profile.link.h2d_gbps, profile.link.d2h_gbps, profile.link.both_gbps,
                                 profile.link.latency_us));
}

void add_disk(Screen& screen, const MachineProfile& profile) {
  const DiskRates& disk = profile.disk;
  if (disk.is_measured()) {
    screen.add("disk",
               fmt::format("{:.2f} GB/s written, {:.2f} read, {} ({}, {} free)", disk.write_gbps, disk.read_gbps,
                           disk.direct_io ? "O_DIRECT" : "no O_DIRECT", disk.folder, format_bytes(disk.free_bytes)));
  } else {
    screen.add("disk", "not measured: " + disk.problem);
  }
  screen.add("io_uring", profile.async_io.available ? "available" : "not available: " + profile.async_io.problem);
}

}  // namespace

std::string format_probe(const MachineFacts& facts, const MachineProfile& profile) {
  Screen screen;
  add_machine(screen, facts);
  add_memory(screen, facts);
  add_rates(screen, profile);
  add_device(screen, facts, profile);
  add_disk(screen, profile);
  screen.add("probe", fmt::format("{}, {:.1f} s", profile.measured_at, profile.probe_seconds));
  return screen.text();
}

}  // namespace penstock
