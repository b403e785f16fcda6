// How long may one copy be, and what does the link do? A copy of p bytes takes c + p/R: R is the link's rate, c a fixed
// cost. Cutting a load into pieces of p loses the share c/(c + p/R): at 25 GB/s and 4 us 9% with 1 MiB, 0.3% with
// 32 MiB. Whoever shares the copy engine then waits for the piece under way, p/R: 1.3 ms with 32 MiB, 11 with 256.
// Columns, by piece:
//   fetch, offload   1 GiB in such pieces, and its share of the best size: the shortest piece at 99% is long enough
//   both             at once, over the best fetch plus the best offload: 100% is full duplex
//   issue            how long the host thread was busy with the fetch: it must stay well below the fetch itself
// and of an urgent fetch of 1 MiB, called right after 1 GiB of other copies, the time from the call to its end:
//   behind offload   over the same fetch alone: 1x is an engine of its own for each direction
//   behind fetch     from a stream of its own, over one piece and itself: far above 1x pieces do not let it in
//   same lane        behind a fetch in its own lane: first in, first out, so about the whole GiB
// Then what pinning costs, and the rate of staged mode (3 bytes moved in host memory per byte copied).
// Sizes and directions take turns; medians. No arguments, about a minute, 2 GiB of the card and 2 GiB of RAM.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <iterator>

#include "bench_run.h"
#include "core/arena.h"
#include "core/cuda/cuda_device.h"
#include "core/cuda/linked_runtime.h"
#include "core/float_mode.h"
#include "core/trace.h"
#include "core/worker_team.h"

namespace penstock {
namespace {

constexpr uint64_t kPieces[] = {kMiB, 4 * kMiB, 16 * kMiB, 32 * kMiB, 64 * kMiB, 128 * kMiB, 256 * kMiB};
constexpr uint64_t kLoadBytes = kGiB;  // 40 ms at 25 GB/s: what is fixed hides
constexpr uint64_t kUrgentBytes = kMiB, kSmallBytes = 4 * kKiB, kTouchBytes = 2 * kMiB;
constexpr int kSmallCopies = 256, kRounds = 9, kPinRounds = 3;

double gbps(uint64_t bytes, int64_t ns) { return static_cast<double>(bytes) / static_cast<double>(ns); }

std::span<std::byte> touched(std::span<std::byte> memory) {
  WorkerTeam team(core_count());
  team.run(static_cast<int64_t>(memory.size() / kTouchBytes),
           [&](int64_t block) { std::memset(&memory[static_cast<uint64_t>(block) * kTouchBytes], 1, kTouchBytes); });
  return memory;
}

// One direction between two memories of one size.
struct Way {
  LaneKind lane;
  std::span<std::byte> host;
  std::span<std::byte> device;
  std::unique_ptr<TimingEvent> begin;
  std::unique_ptr<TimingEvent> end;
};
using Ways = std::vector<const Way*>;

// A device and `bytes` each way. The host's are touched, and pinned as `pin` says.
struct Link {
  Link(CudaRuntime& runtime, PinMode pin, uint64_t bytes)
      : arena("link bench", 2 * bytes),
        host(touched(arena.allocate(2 * bytes))),
        // Not cut by the device but here, so that the sizes take turns on one device.
        device(runtime, {.copy_piece_bytes = kLoadBytes, .pin = pin}),
        registration(device.register_host(std::array{HostRegion{host, HostUse::kTransfers}})),
        memory(device.allocate("link bench", 2 * bytes)),
        fetch{LaneKind::kFetch, host.first(bytes), memory.first(bytes), time_mark(), time_mark()},
        offload{LaneKind::kOffload, host.last(bytes), memory.last(bytes), time_mark(), time_mark()} {}

  std::unique_ptr<TimingEvent> time_mark() { return device.create_timing_event(); }
  bool is_pinned() const { return device.pin_report().mode != PinMode::kStaged; }

  Arena arena;
  std::span<std::byte> host;
  CudaDevice device;
  std::unique_ptr<HostRegistration> registration;
  std::span<std::byte> memory;
  Way fetch;
  Way offload;
};

void copy_part(CudaDevice& device, const Way& way, uint64_t offset, uint64_t bytes) {
  const std::span<std::byte> host = way.host.subspan(offset, bytes);
  const std::span<std::byte> memory = way.device.subspan(offset, bytes);
  const bool is_fetch = way.lane == LaneKind::kFetch;
  device.copy(way.lane, is_fetch ? memory : host, is_fetch ? host : memory);
}

// Piece by piece in turn where there are two ways.
void copy_in_pieces(CudaDevice& device, const Ways& ways, uint64_t bytes, uint64_t piece_bytes) {
  for (uint64_t offset = 0; offset < bytes; offset += piece_bytes) {
    for (const Way* way : ways) copy_part(device, *way, offset, piece_bytes);
  }
}

struct CopyTime {
  int64_t ns;  // on the card, from the first lane's begin to the last one's end
  int64_t issue_ns;
};

CopyTime time_copies(CudaDevice& device, const Ways& ways, uint64_t bytes, uint64_t piece_bytes) {
  device.synchronize_all();
  const int64_t call_ns = TraceRecorder::now_ns();
  for (const Way* way : ways) device.record(way->lane, *way->begin);
  copy_in_pieces(device, ways, bytes, piece_bytes);
  for (const Way* way : ways) device.record(way->lane, *way->end);
  const int64_t issue_ns = TraceRecorder::now_ns() - call_ns;
  int64_t begin_ns = INT64_MAX, end_ns = INT64_MIN;
  for (const Way* way : ways) {
    begin_ns = std::min(begin_ns, device.time_ns(*way->begin));
    end_ns = std::max(end_ns, device.time_ns(*way->end));
  }
  return {.ns = end_ns - begin_ns, .issue_ns = issue_ns};
}

// Of a fetch on `urgent`, after `load` is queued on `link`: from the call to the end.
double urgent_ms(Link& urgent, Link& link, const Ways& load, uint64_t piece_bytes) {
  link.device.synchronize_all();
  urgent.device.synchronize_all();
  copy_in_pieces(link.device, load, kLoadBytes, piece_bytes);
  const int64_t call_ns = TraceRecorder::now_ns();
  copy_part(urgent.device, urgent.fetch, 0, kUrgentBytes);
  urgent.device.record(LaneKind::kFetch, *urgent.fetch.end);
  return static_cast<double>(urgent.device.time_ns(*urgent.fetch.end) - call_ns) * 1e-6;
}

struct Samples {
  std::vector<double> fetch, offload, both;                            // GB/s
  std::vector<double> issue, behind_offload, behind_fetch, same_lane;  // ms
};

void take_samples(Link& link, Link& other, uint64_t piece_bytes, Samples& samples) {
  const auto time = [&](const Ways& ways) { return time_copies(link.device, ways, kLoadBytes, piece_bytes); };
  const CopyTime fetch = time({&link.fetch});
  samples.fetch.push_back(gbps(kLoadBytes, fetch.ns));
  samples.issue.push_back(static_cast<double>(fetch.issue_ns) * 1e-6);
  samples.offload.push_back(gbps(kLoadBytes, time({&link.offload}).ns));
  samples.both.push_back(gbps(2 * kLoadBytes, time({&link.fetch, &link.offload}).ns));
  samples.behind_offload.push_back(urgent_ms(link, link, {&link.offload}, piece_bytes));
  samples.behind_fetch.push_back(urgent_ms(other, link, {&link.fetch}, piece_bytes));
  samples.same_lane.push_back(urgent_ms(link, link, {&link.fetch}, piece_bytes));
}

void print_pieces(const std::vector<Samples>& all, double alone_ms) {
  double best_fetch = 0, best_offload = 0;
  for (const Samples& samples : all) {
    best_fetch = std::max(best_fetch, median(samples.fetch));
    best_offload = std::max(best_offload, median(samples.offload));
  }
  const auto rate = [](const std::vector<double>& rates, double bound) {
    return fmt::format("{:7.2f} {:4.0f}%", median(rates), 100 * median(rates) / bound);
  };
  const auto delay = [](const std::vector<double>& ms, double bound) {
    return fmt::format("{:8.2f} {:6.2f}x", median(ms), median(ms) / bound);
  };
  fmt::print("  {:>7} {:>41} {:>7} {:>43}\n", "", "GB/s and share of the bound", "ms",
             "urgent 1 MiB: ms and times the bound");
  fmt::print("  {:>7} {:>13} {:>13} {:>13} {:>7} {:>16} {:>16} {:>9}\n", "piece", "fetch", "offload", "both", "issue",
             "behind offload", "behind fetch", "same lane");
  for (size_t i = 0; i < all.size(); ++i) {
    const Samples& samples = all[i];
    const double piece_ms = static_cast<double>(kPieces[i]) / best_fetch * 1e-6;
    fmt::print("  {:>3} MiB {} {} {} {:7.2f} {} {} {:9.2f}\n", kPieces[i] / kMiB, rate(samples.fetch, best_fetch),
               rate(samples.offload, best_offload), rate(samples.both, best_fetch + best_offload),
               median(samples.issue), delay(samples.behind_offload, alone_ms),
               delay(samples.behind_fetch, piece_ms + alone_ms), median(samples.same_lane));
  }
}

void bench_pieces(CudaRuntime& runtime) {
  Link link(runtime, PinMode::kAll, kLoadBytes);
  Link other(runtime, PinMode::kAll, kUrgentBytes);
  if (!link.is_pinned() || !other.is_pinned()) {
    return fmt::print("  pieces: not measured: the system does not pin {}\n", format_bytes(link.host.size()));
  }
  std::vector<Samples> all(std::size(kPieces));
  std::vector<double> alone_ms, small_fetch_us, small_offload_us;
  const auto small_us = [&](const Way& way) {
    const CopyTime time = time_copies(link.device, {&way}, kSmallCopies * kSmallBytes, kSmallBytes);
    return static_cast<double>(time.ns) * 1e-3 / kSmallCopies;
  };
  for (int round = -1; round < kRounds; ++round) {
    if (round == 0) all = std::vector<Samples>(std::size(kPieces));  // that was the warm-up
    for (size_t i = 0; i < all.size(); ++i) take_samples(link, other, kPieces[i], all[i]);
    alone_ms.push_back(urgent_ms(link, link, {}, kUrgentBytes));
    small_fetch_us.push_back(small_us(link.fetch));
    small_offload_us.push_back(small_us(link.offload));
  }
  fmt::print("{}, median of {} rounds\n", link.device.description(), kRounds);
  print_pieces(all, median(alone_ms));
  fmt::print("  4 KiB copies in a row: {:.2f} us a fetch, {:.2f} us an offload; an urgent 1 MiB alone: {:.3f} ms\n",
             median(small_fetch_us), median(small_offload_us), median(alone_ms));
}

void bench_pinning(CudaRuntime& runtime) {
  std::vector<double> touching[2], seconds[2];  // of a GiB: untouched, touched
  for (int round = 0; round < kPinRounds; ++round) {
    for (const bool is_touched : {false, true}) {
      Arena arena("link bench", kGiB);
      const HostRegion region{arena.allocate(kGiB), HostUse::kTransfers};
      const int64_t begin_ns = TraceRecorder::now_ns();
      if (is_touched) touched(region.bytes);
      touching[is_touched].push_back(static_cast<double>(TraceRecorder::now_ns() - begin_ns) * 1e-9);
      CudaDevice device(runtime, {});
      const auto registration = device.register_host({&region, 1});
      if (device.pin_report().mode == PinMode::kStaged) return fmt::print("  pinning: refused\n");
      seconds[is_touched].push_back(device.pin_report().seconds_per_gib());
    }
  }
  fmt::print("  pinning: {:.3f} s/GiB untouched, {:.3f} touched, after {:.3f} s/GiB of touching with {} threads\n",
             median(seconds[0]), median(seconds[1]), median(touching[1]), core_count());
}

// The host's clock: a staged offload ends on the host, after the lane's events.
double staged_gbps(CudaDevice& device, const Ways& ways) {
  WorkerTeam issuers(static_cast<int>(ways.size()));  // a staged fetch blocks its issuer
  const int64_t begin_ns = TraceRecorder::now_ns();
  issuers.run(static_cast<int64_t>(ways.size()),
              [&](int64_t i) { copy_part(device, *ways[static_cast<size_t>(i)], 0, kLoadBytes); });
  device.synchronize_all();
  return gbps(kLoadBytes * ways.size(), TraceRecorder::now_ns() - begin_ns);
}

void bench_staged(CudaRuntime& runtime) {
  Link link(runtime, PinMode::kStaged, kLoadBytes);
  const Ways cases[] = {{&link.fetch}, {&link.offload}, {&link.fetch, &link.offload}};
  std::vector<double> rates[3];
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < 3; ++i) rates[i].push_back(staged_gbps(link.device, cases[i]));
  }
  fmt::print("  staged, GB/s: fetch {:.2f}, offload {:.2f}, both {:.2f}\n", median(rates[0]), median(rates[1]),
             median(rates[2]));
}

}  // namespace
}  // namespace penstock

int main() {
  using namespace penstock;
  set_flush_denormals();  // before any other thread exists
  CudaRuntime* runtime = linked_cuda_runtime();
  CudaDeviceChoice card{.problem = "a build without CUDA"};
  if (runtime != nullptr) card = choose_cuda_device(*runtime, 0);
  if (!card.info) {
    fmt::print("the link: not measured: {}\n", card.problem);
    return 0;
  }
  bench_pieces(*runtime);
  bench_pinning(*runtime);
  bench_staged(*runtime);
  return 0;
}
