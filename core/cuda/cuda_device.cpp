#include "core/cuda/cuda_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/cuda/error_text.h"
#include "core/error.h"
#include "core/host_regions.h"

namespace penstock {
namespace {

// The contract's border; cudaMalloc promises 256 bytes.
constexpr uint64_t kAllocationBorder = 4096;

CudaDeviceInfo require_device(CudaRuntime& runtime, int index) {
  const CudaDeviceChoice choice = choose_cuda_device(runtime, index);
  if (!choice.info) throw Error(ExitCode::kDevice, choice.problem);
  return *choice.info;
}

uint64_t usable_bytes(const CudaDeviceInfo& info, const CudaDeviceOptions& options) {
  const uint64_t reserved = std::min(options.reserve_bytes, info.free_bytes);
  return std::min(options.budget_bytes, info.free_bytes - reserved);
}

template <typename OfCuda, typename OfDevice>
OfCuda& ours(OfDevice& event) {
  auto* cuda_event = dynamic_cast<OfCuda*>(&event);
  CHECK(cuda_event != nullptr);  // an event of another device
  return *cuda_event;
}

}  // namespace

CudaDevice::CudaDevice(CudaRuntime& runtime, const CudaDeviceOptions& options)
    : options_(options),
      context_(std::make_shared<CudaContext>(runtime, options.index)),
      info_(require_device(runtime, options.index)),
      budget_(usable_bytes(info_, options)) {
  CHECK_GT(options.copy_piece_bytes, 0u);
  pin_report_.mode = options.pin;
  context_->enter();
  lanes_ = std::make_shared<CudaLanes>(context_);
}

CudaDevice::~CudaDevice() {
  context_->failure().close();  // copy-outs that have not begun are skipped
  staged_.reset();
  lanes_->drain_to_release();
}

std::string CudaDevice::description() const {
  const CudaProperties& gpu = info_.properties;
  std::string text =
      fmt::format("GPU {}: {}, {}, compute capability {}.{}, driver for CUDA {}.{}, budget {}", index(), gpu.name,
                  format_bytes(info_.total_bytes), gpu.major, gpu.minor, info_.driver_version / 1000,
                  info_.driver_version % 1000 / 10, format_bytes(budget_.use().budget_bytes));
  text += fmt::format(", host memory pinned: {}", pin_mode_name(pin_report_.mode));
  if (pin_report_.bytes > 0) {
    text += fmt::format(" ({} at {:.2f} s/GiB)", format_bytes(pin_report_.bytes), pin_report_.seconds_per_gib());
  }
  return text;
}

std::span<std::byte> CudaDevice::allocate(std::string_view name, uint64_t bytes) {
  CHECK(!sealed_);
  open();
  const MemoryUse use = memory_use();
  const uint64_t used_bytes = use.arena_bytes + use.temporary_bytes;
  const bool has_room = used_bytes <= use.budget_bytes && bytes <= use.budget_bytes - used_bytes;
  if (!has_room || !budget_.take_arena(bytes)) throw arena_refusal(name, bytes, use);
  void* memory = nullptr;
  // At most a page more than the budget counts.
  const CudaStatus status = context_->runtime().allocate(&memory, bytes + kAllocationBorder);
  if (status == CudaStatus::kMemoryAllocation) {
    context_->runtime().take_last_error();
    budget_.give_back_arena(bytes);
    throw cuda_error(context_->runtime(), status, fmt::format("allocating {} for '{}'", format_bytes(bytes), name));
  }
  context_->check(status, fmt::format("allocating {} for '{}'", format_bytes(bytes), name));
  owned_memory_.emplace_back(context_, memory);
  auto* begin = reinterpret_cast<std::byte*>(align_up(reinterpret_cast<uint64_t>(memory), kAllocationBorder));
  const std::span<std::byte> aligned(begin, bytes);
  memory_.push_back(aligned);
  fill(LaneKind::kCompute, aligned, std::byte{0});
  lanes_->drain(LaneKind::kCompute);
  return aligned;
}

MemoryUse CudaDevice::memory_use() const {
  MemoryUse use = budget_.use();
  if (temporary_use_) {
    const TemporaryUse temporaries = temporary_use_();
    use.temporary_bytes = temporaries.bytes;
    use.temporary_peak_bytes = temporaries.peak_bytes;
  }
  return use;
}

std::unique_ptr<HostRegistration> CudaDevice::register_host(std::span<const HostRegion> regions) {
  CHECK(!sealed_);
  check_host_regions(regions);
  open();
  std::vector<std::span<std::byte>> pieces;
  PinAttempt attempt{};
  if (pin_report_.mode != PinMode::kStaged) {
    pieces = cut_into_pieces(regions, pin_report_.mode == PinMode::kTransfers, options_.pin_piece_bytes);
    const auto begin = std::chrono::steady_clock::now();
    attempt = pin_pieces(context_, pieces);
    pin_report_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  if (attempt.refusal != CudaStatus::kSuccess) {
    pin_report_.mode = PinMode::kStaged;
    uint64_t wanted_bytes = 0;
    for (const std::span<std::byte> piece : pieces) wanted_bytes += piece.size();
    if (options_.notice) {
      options_.notice(
          fmt::format("the system pins only {} of {} of host memory ({}): copies go through a small pinned "
                      "ring, as with memory.pin: staged",
                      format_bytes(attempt.pinned_bytes), format_bytes(wanted_bytes),
                      context_->runtime().error_text(attempt.refusal)));
    }
    pieces.clear();
  } else {
    pin_report_.bytes += attempt.pinned_bytes;
    pin_report_.pieces += static_cast<int>(pieces.size());
  }
  if (pin_report_.mode == PinMode::kStaged) staged_link();  // now, not under the first step
  return std::make_unique<CudaHostRegistration>(lanes_, pinned_, std::move(pieces), std::move(attempt.pinned));
}

std::unique_ptr<Event> CudaDevice::create_event() {
  open();
  return std::make_unique<CudaEvent>(context_);
}

std::unique_ptr<TimingEvent> CudaDevice::create_timing_event() {
  open();
  std::lock_guard lock(lazy_mutex_);
  if (clock_ == nullptr) clock_ = std::make_unique<CudaClock>(context_, options_.clock_origin_life_ns);
  return std::make_unique<CudaTimingEvent>(context_);
}

// Calls copy_part(offset, bytes, is_pinned) for parts that one copy may cover.
template <typename Copy>
void CudaDevice::copy_in_parts(std::span<const std::byte> host, const Copy& copy_part) {
  for (uint64_t offset = 0; offset < host.size();) {
    const PinnedPieces::Part part = pinned_->first_part(host.subspan(offset));
    const uint64_t bytes = part.is_pinned ? std::min(part.bytes, options_.copy_piece_bytes) : part.bytes;
    copy_part(offset, bytes, part.is_pinned);
    offset += bytes;
  }
}

void CudaDevice::copy(LaneKind lane, std::span<std::byte> to, std::span<const std::byte> from) {
  CHECK_EQ(to.size(), from.size());
  RawStream* stream = open_lane(lane);
  if (to.empty()) return;
  CHECK_EQ(is_on_device(to), lane != LaneKind::kOffload);
  CHECK_EQ(is_on_device(from), lane != LaneKind::kFetch);
  CudaRuntime& runtime = context_->runtime();
  if (lane == LaneKind::kCompute) {
    context_->check(runtime.copy_async(to.data(), from.data(), to.size(), CopyDirection::kDeviceToDevice, stream),
                    "copying within the GPU");
    return;
  }
  std::atomic<uint64_t>& copy_outs = copy_outs_[static_cast<size_t>(lane)];
  if (lane == LaneKind::kFetch) {
    copy_in_parts(from, [&](uint64_t offset, uint64_t bytes, bool is_pinned) {
      if (!is_pinned) {
        // The memory is read now: what the lane has waited for must be there, not only in the ring.
        if (copy_outs > 0) staged_link().wait_copied_out(copy_outs);
        staged_link().fetch(to.subspan(offset, bytes), from.subspan(offset, bytes));
        return;
      }
      context_->check(
          runtime.copy_async(to.data() + offset, from.data() + offset, bytes, CopyDirection::kHostToDevice, stream),
          "copying to the GPU");
    });
    return;
  }
  copy_in_parts(to, [&](uint64_t offset, uint64_t bytes, bool is_pinned) {
    if (!is_pinned) {
      copy_outs = staged_link().offload(to.subspan(offset, bytes), from.subspan(offset, bytes));
      return;
    }
    context_->check(
        runtime.copy_async(to.data() + offset, from.data() + offset, bytes, CopyDirection::kDeviceToHost, stream),
        "copying from the GPU");
  });
}

void CudaDevice::fill(LaneKind lane, std::span<std::byte> to, std::byte value) {
  RawStream* stream = open_lane(lane);
  if (to.empty()) return;
  CHECK(is_on_device(to));
  context_->check(context_->runtime().fill_async(to.data(), std::to_integer<int>(value), to.size(), stream),
                  "filling GPU memory");
}

void CudaDevice::launch(LaneKind lane, std::function<void()> work) {
  open_lane(lane);
  try {
    work();
  } catch (...) {
    context_->check_alive("computing");  // LibTorch's exceptions do not say whether it was the device
    context_->failure().set(std::current_exception());
    throw;
  }
  const CudaStatus status = context_->runtime().take_last_error();
  // "Not yet" to somebody's question, and no failure.
  if (status != CudaStatus::kNotReady) context_->check(status, "starting a kernel");
}

void CudaDevice::record(LaneKind lane, Event& event) {
  RawStream* stream = open_lane(lane);
  auto& cuda_event = ours<CudaEvent>(event);
  cuda_event.set_copy_outs(copy_outs_[static_cast<size_t>(lane)]);
  context_->check(context_->runtime().record_event(cuda_event.raw(), stream), "recording an event");
}

void CudaDevice::record(LaneKind lane, TimingEvent& event) {
  RawStream* stream = open_lane(lane);
  auto& timing_event = ours<CudaTimingEvent>(event);
  timing_event.set_origin(clock_->origin());
  context_->check(context_->runtime().record_event(timing_event.owned().raw(), stream), "recording a timing event");
}

void CudaDevice::wait(LaneKind lane, const Event& event) {
  RawStream* stream = open_lane(lane);
  const auto& cuda_event = ours<const CudaEvent>(event);
  std::atomic<uint64_t>& copy_outs = copy_outs_[static_cast<size_t>(lane)];  // written by this lane's thread only
  copy_outs = std::max<uint64_t>(copy_outs, cuda_event.copy_outs());
  context_->check(context_->runtime().wait_event(stream, cuda_event.raw()), "queueing a wait");
}

void CudaDevice::synchronize(const Event& event) {
  open();
  const auto& cuda_event = ours<const CudaEvent>(event);
  const uint64_t copy_outs = cuda_event.copy_outs();
  context_->check(context_->runtime().synchronize_event(cuda_event.raw()), "waiting for an event");
  if (copy_outs > 0) staged_link().wait_copied_out(copy_outs);
  context_->failure().throw_if_set();
}

int64_t CudaDevice::time_ns(const TimingEvent& event) {
  open();
  const auto& timing_event = ours<const CudaTimingEvent>(event);
  const std::shared_ptr<const ClockOrigin> origin = timing_event.origin();
  CHECK(origin != nullptr);  // never recorded
  context_->check(context_->runtime().synchronize_event(timing_event.owned().raw()), "waiting for a timing event");
  const int64_t time_ns = event_time_ns(*origin, timing_event.owned());
  clock_->renew();  // here and not in record(), which is called inside a step
  return time_ns;
}

void CudaDevice::synchronize_all() {
  open();
  for (int lane = 0; lane < kDeviceLaneCount; ++lane) lanes_->drain(static_cast<LaneKind>(lane));
  const uint64_t copy_outs = copy_outs_[static_cast<size_t>(LaneKind::kOffload)];
  if (copy_outs > 0) staged_link().wait_copied_out(copy_outs);
  context_->failure().throw_if_set();
}

RawStream* CudaDevice::open_lane(LaneKind lane) {
  CHECK_LT(static_cast<int>(lane), kDeviceLaneCount);
  open();
  return lanes_->stream(lane);
}

void CudaDevice::open() {
  context_->failure().throw_if_set();
  context_->enter();
}

bool CudaDevice::is_on_device(std::span<const std::byte> bytes) const {
  return std::ranges::any_of(memory_, [&](std::span<std::byte> memory) {
    return bytes.data() >= memory.data() && bytes.data() + bytes.size() <= memory.data() + memory.size();
  });
}

StagedLink& CudaDevice::staged_link() {
  std::lock_guard lock(lazy_mutex_);
  if (staged_ == nullptr) staged_ = std::make_unique<StagedLink>(context_, lanes_, options_.staging);
  return *staged_;
}

}  // namespace penstock
