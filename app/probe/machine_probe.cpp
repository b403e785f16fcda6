#include "app/probe/machine_probe.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <memory>

#include "core/bytes.h"
#include "core/check.h"
#include "core/cuda/linked_runtime.h"
#include "core/host_device.h"
#include "model/cuda_maths.h"
#include "model/host_maths.h"

namespace penstock {
namespace {

// Seconds each may take: 16 in sum with two element types and the disk written and read. Warm-ups and the sample that
// is under way when time is up come on top; when the whole budget is used up, what is left takes one sample each.
struct ProbeTimes {
  double stream, first_touch, pinning, link, gemm, disk;
};
constexpr ProbeTimes kFullTimes = {.stream = 4, .first_touch = 2.5, .pinning = 1.5, .link = 2, .gemm = 1, .disk = 2};
constexpr ProbeTimes kQuickTimes = {
    .stream = 0.3, .first_touch = 0.3, .pinning = 0.3, .link = 0.3, .gemm = 0.3, .disk = 0.3};
constexpr double kWholeSeconds = 20;

struct ProbeSizes {
  ProbeTimes times;
  int rounds;
  double end_seconds;  // on the clock of now_seconds()
  uint64_t most_stream_bytes, touch_bytes, link_bytes, disk_bytes;
  int64_t matrix_size;

  double left(double seconds) const { return std::clamp(end_seconds - now_seconds(), 0.0, seconds); }
  TurnLimits turns(double seconds) const { return {.rounds = rounds, .seconds = left(seconds)}; }
};

ProbeSizes probe_sizes(const MachineFacts& facts, bool on_card, bool quick) {
  const uint64_t available = std::min(facts.free_memory.available_bytes, 256 * kGiB);
  const double end_seconds = now_seconds() + kWholeSeconds;
  if (quick) {
    return {kQuickTimes, 3, end_seconds, 256 * kMiB, std::min(64 * kMiB, available / 8), 16 * kMiB, 32 * kMiB, 1024};
  }
  return {.times = kFullTimes,
          .rounds = 9,
          .end_seconds = end_seconds,
          .most_stream_bytes = 16 * kGiB,
          .touch_bytes = std::min(512 * kMiB, available / 8),
          .link_bytes = std::min(256 * kMiB, available / 16),
          .disk_bytes = kGiB,
          .matrix_size = on_card ? 8192 : 4096};
}

// A device and its arithmetic, as a run would have them.
struct ComputeDevice {
  std::unique_ptr<Device> device;
  std::unique_ptr<Maths> maths;
  int threads = 1;  // that `maths` computes with
};

CudaDeviceOptions card_options(const MachineFacts& facts, int index) {
  // As `memory.pin: auto` (core/cuda/pin_choice.h): one refused pin spoils later ones on WSL2.
  return {.index = index, .pin = facts.is_wsl ? PinMode::kStaged : PinMode::kAll};
}

ComputeDevice open_compute_device(const MachineFacts& facts, const RunDevice& device, int index) {
  if (device.backend == Backend::kHost) {
    const int threads = facts.topology.cpu_count();  // as device.compute_threads where it is not set
    return {std::make_unique<HostDevice>(HostDeviceOptions{}), std::make_unique<HostMaths>(threads), threads};
  }
  constexpr uint64_t kTemporaryBytes = 256 * kMiB;  // cuBLAS's workspaces
  auto cuda = std::make_unique<CudaDevice>(*linked_cuda_runtime(), card_options(facts, index));
  auto maths = make_cuda_maths(cuda->stream(LaneKind::kCompute), index, kTemporaryBytes, {.deterministic = false});
  return {std::move(cuda), std::move(maths)};
}

void measure_device(ComputeDevice& opened, const ProbeSizes& sizes, const ArenaOptions& memory,
                    MachineProfile& profile) {
  Device& device = *opened.device;
  const uint64_t budget = device.memory_use().budget_bytes;
  const uint64_t link_bytes = std::min(sizes.link_bytes, budget / 16);
  profile.link = measure_link(device, link_bytes, sizes.turns(sizes.times.link), memory);
  int64_t matrix_size = sizes.matrix_size;
  const auto matrix_bytes = [&] { return 3 * sizeof(float) * static_cast<uint64_t>(matrix_size * matrix_size); };
  while (matrix_size > 256 && matrix_bytes() > budget / 4) matrix_size /= 2;
  opened.maths->start();
  GemmProbe gemm(
      device, *opened.maths,
      {.most_size = matrix_size, .sample_seconds = sizes.times.gemm / 4, .turns = sizes.turns(sizes.times.gemm)});
  for (const DType dtype : kMeasuredTypes) profile.gemm.push_back(gemm.measure(dtype));
}

StreamSizes stream_sizes(const MachineFacts& facts, const ProbeSizes& sizes, const CorePlan& cores) {
  return {.bytes = stream_bytes(facts.cache_bytes(), facts.free_memory.available_bytes, sizes.most_stream_bytes),
          .cache_bytes = facts.cache_bytes(),
          .thread_counts = stream_thread_counts(facts.topology.core_count()),
          .cpus = cores.cpus,
          .memory = {.node = cores.memory_node},
          .limits = sizes.turns(sizes.times.stream)};
}

std::string utc_now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

}  // namespace

CorePlan probe_cores(const MachineFacts& facts, const RunDevice& device) {
  return plan_cores(facts.topology, {.computes_on_host = device.backend == Backend::kHost,
                                     .threads = facts.topology.core_count(),
                                     .device_node = facts.card_node});
}

MachineProfile probe_machine(const MachineFacts& facts, const RunDevice& device, const ProbeSettings& settings) {
  const double begin = now_seconds();
  const bool on_card = device.backend == Backend::kCuda;
  const ProbeSizes sizes = probe_sizes(facts, on_card, settings.quick);
  const CorePlan cores = probe_cores(facts, device);
  const ArenaOptions memory{.node = cores.memory_node};
  const auto next = [&](const char* what) {
    if (settings.progress) settings.progress(fmt::format("measuring {}", what));
  };
  MachineProfile profile{.identity = this_machine(device), .measured_at = utc_now(), .async_io = probe_async_io()};
  next("the memory's stream rate");
  profile.stream = measure_stream(stream_sizes(facts, sizes, cores));
  next("the first touch of memory");
  profile.first_touch =
      measure_first_touch(sizes.touch_bytes, facts.topology.core_count(), sizes.turns(sizes.times.first_touch));
  if (on_card) {
    CHECK(linked_cuda_runtime() != nullptr);  // choose_device() has refused
    next("pinning");
    profile.pinning = measure_pinning(*linked_cuda_runtime(), card_options(facts, settings.device_index),
                                      sizes.touch_bytes, sizes.turns(sizes.times.pinning), memory);
  }
  next("the device's link and products");
  ComputeDevice opened = open_compute_device(facts, device, settings.device_index);
  measure_device(opened, sizes, memory, profile);
  profile.compute_threads = opened.threads;
  next("the disk");
  profile.disk = measure_disk(settings.output_dir,
                              {.most_bytes = sizes.disk_bytes, .seconds = std::max(0.2, sizes.left(sizes.times.disk))});
  profile.probe_seconds = now_seconds() - begin;
  profile.quick = settings.quick;
  return profile;
}

}  // namespace penstock
