// The half of FakeCudaRuntime that is about memory, copies and events.
#include <algorithm>
#include <cstring>
#include <utility>

#include "core/bytes.h"
#include "core/trace.h"
#include "fake_cuda_runtime.h"
#include "fake_cuda_state.h"

namespace penstock {
namespace {

const std::byte* bytes_of(const void* memory) { return static_cast<const std::byte*>(memory); }

bool overlap(const std::byte* a, uint64_t a_bytes, const std::byte* b, uint64_t b_bytes) {
  return a < b + b_bytes && b < a + a_bytes;
}

}  // namespace

CudaStatus FakeCudaRuntime::get_memory(uint64_t* free_bytes, uint64_t* total_bytes) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  *free_bytes = options_.memory_bytes - allocated_bytes_;
  *total_bytes = options_.memory_bytes;
  return CudaStatus::kSuccess;
}

CudaStatus FakeCudaRuntime::allocate(void** memory, uint64_t bytes) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  const bool is_refused = ++allocations_made_ == refuse_allocation_at_;
  if (is_refused || bytes > options_.memory_bytes - allocated_bytes_) return failed(CudaStatus::kMemoryAllocation);
  auto made = std::make_unique<Allocation>();
  made->storage.assign(bytes + 8192, std::byte{0xA5});
  // On the border that CUDA promises, and on no greater one.
  made->begin = reinterpret_cast<std::byte*>(align_up(reinterpret_cast<uint64_t>(made->storage.data()), 4096)) + 256;
  made->bytes = bytes;
  allocated_bytes_ += bytes;
  *memory = made->begin;
  allocations_.push_back(std::move(made));
  return CudaStatus::kSuccess;
}

CudaStatus FakeCudaRuntime::free(void* memory) {
  Lock lock(mutex_);
  const CudaStatus status = begin_call(lock, true);
  for (const std::unique_ptr<Allocation>& made : allocations_) {
    if (made->begin != memory || made->is_freed) continue;
    made->is_freed = true;
    allocated_bytes_ -= made->bytes;
    return status;
  }
  return failed(CudaStatus::kInvalidValue);
}

bool FakeCudaRuntime::is_device_memory(const void* memory, uint64_t bytes) const {
  return std::ranges::any_of(allocations_, [&](const auto& made) {
    return !made->is_freed && memory >= made->begin && bytes_of(memory) + bytes <= made->begin + made->bytes;
  });
}

FakeCudaRuntime::HostMemory FakeCudaRuntime::host_memory(const void* memory, uint64_t bytes) const {
  const std::byte* begin = bytes_of(memory);
  for (const auto& made : allocations_) {
    if (overlap(begin, bytes, made->begin, made->bytes)) return HostMemory::kInvalid;
  }
  for (const auto& [piece, piece_bytes] : registered_) {
    if (!overlap(begin, bytes, piece, piece_bytes)) continue;
    const bool is_inside = begin >= piece && begin + bytes <= piece + piece_bytes;
    return is_inside ? HostMemory::kPinned : HostMemory::kInvalid;
  }
  return HostMemory::kPageable;
}

bool FakeCudaRuntime::is_legal(void* to, const void* from, uint64_t bytes, CopyDirection direction) const {
  const bool to_host = direction == CopyDirection::kDeviceToHost, from_host = direction == CopyDirection::kHostToDevice;
  const bool to_legal = to_host ? host_memory(to, bytes) != HostMemory::kInvalid : is_device_memory(to, bytes);
  const bool from_legal = from_host ? host_memory(from, bytes) != HostMemory::kInvalid : is_device_memory(from, bytes);
  return bytes > 0 && to_legal && from_legal;
}

CudaStatus FakeCudaRuntime::fill_async(void* to, int value, uint64_t bytes, RawStream* stream) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  if (bytes == 0 || !is_device_memory(to, bytes)) return failed(CudaStatus::kInvalidValue);
  return push(
      stream,
      {.is_legal = [=, this] { return is_device_memory(to, bytes); }, .work = [=] { std::memset(to, value, bytes); }},
      lock);
}

CudaStatus FakeCudaRuntime::copy_async(void* to, const void* from, uint64_t bytes, CopyDirection direction,
                                       RawStream* stream) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  if (!is_legal(to, from, bytes, direction)) return failed(CudaStatus::kInvalidValue);
  ++counts_.copies;
  counts_.longest_copy_bytes = std::max(counts_.longest_copy_bytes, bytes);
  HostMemory kind = HostMemory::kInvalid;
  const void* on_host = direction == CopyDirection::kHostToDevice ? from : to;
  if (direction != CopyDirection::kDeviceToDevice) kind = host_memory(on_host, bytes);
  if (kind == HostMemory::kPageable) ++counts_.pageable_copies;
  const auto is_still_legal = [=, this] {
    const bool is_as_it_was = kind == HostMemory::kInvalid || host_memory(on_host, bytes) == kind;
    return is_as_it_was && is_legal(to, from, bytes, direction);
  };
  return push(stream, {.is_legal = is_still_legal, .work = [=] { std::memcpy(to, from, bytes); }}, lock);
}

CudaStatus FakeCudaRuntime::register_host(void* memory, uint64_t bytes) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  ++registrations_made_;
  if (registrations_made_ == refuse_registration_at_) return failed(CudaStatus::kMemoryAllocation);
  // Whole pages are pinned, and no page twice.
  const uint64_t begin = reinterpret_cast<uint64_t>(memory);
  const uint64_t first_page = begin / 4096 * 4096, end_page = align_up(begin + bytes, 4096);
  for (const auto& [piece, piece_bytes] : registered_) {
    const uint64_t other = reinterpret_cast<uint64_t>(piece);
    if (first_page < align_up(other + piece_bytes, 4096) && other / 4096 * 4096 < end_page) {
      return failed(CudaStatus::kHostMemoryAlreadyRegistered);
    }
  }
  registered_[bytes_of(memory)] = bytes;
  ++counts_.registrations;
  return CudaStatus::kSuccess;
}

CudaStatus FakeCudaRuntime::unregister_host(void* memory) {
  Lock lock(mutex_);
  const CudaStatus status = begin_call(lock, true);
  return registered_.erase(bytes_of(memory)) == 1 ? status : failed(CudaStatus::kHostMemoryNotRegistered);
}

CudaStatus FakeCudaRuntime::create_event(EventUse use, RawEvent** event) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  auto made = std::make_shared<Event>(Event{.use = use, .device = current_device()});
  *event = reinterpret_cast<RawEvent*>(made.get());
  events_[*event] = std::move(made);
  return CudaStatus::kSuccess;
}

CudaStatus FakeCudaRuntime::destroy_event(RawEvent* event) {
  Lock lock(mutex_);
  const CudaStatus status = begin_call(lock, true);
  return events_.erase(event) == 1 ? status : failed(CudaStatus::kInvalidResourceHandle);
}

CudaStatus FakeCudaRuntime::record_event(RawEvent* raw, RawStream* stream) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  const std::shared_ptr<Event> event = find(raw);
  if (event == nullptr || find(stream) == nullptr) return failed(CudaStatus::kInvalidResourceHandle);
  const uint64_t record = ++event->newest;
  event->open.insert(record);
  return push(stream,
              {.on_done =
                   [event, record] {
                     event->open.erase(record);
                     if (record <= event->timed) return;
                     event->timed = record;
                     event->time_ns = TraceRecorder::now_ns();
                   }},
              lock);
}

CudaStatus FakeCudaRuntime::wait_event(RawStream* stream, RawEvent* raw) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  const std::shared_ptr<Event> event = find(raw);
  if (event == nullptr) return failed(CudaStatus::kInvalidResourceHandle);
  const uint64_t record = event->newest;  // 0, no record: no wait
  return push(stream, {.is_ready = [event, record] { return !event->open.contains(record); }}, lock);
}

CudaStatus FakeCudaRuntime::synchronize_event(RawEvent* raw) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  const std::shared_ptr<Event> event = find(raw);
  if (event == nullptr) return failed(CudaStatus::kInvalidResourceHandle);
  const uint64_t record = event->newest;
  ++counts_.event_synchronizations;
  wait_for([&] { return !event->open.contains(record); }, lock);
  return sticky_ == CudaStatus::kSuccess ? CudaStatus::kSuccess : failed(sticky_);
}

CudaStatus FakeCudaRuntime::elapsed_ms(float* milliseconds, RawEvent* begin, RawEvent* end) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  const std::shared_ptr<Event> events[] = {find(begin), find(end)};
  for (const std::shared_ptr<Event>& event : events) {
    if (event == nullptr || event->use == EventUse::kOrder || event->newest == 0) {
      return failed(CudaStatus::kInvalidResourceHandle);
    }
    if (!event->open.empty()) return failed(CudaStatus::kNotReady);
  }
  *milliseconds = static_cast<float>(static_cast<double>(events[1]->time_ns - events[0]->time_ns) * 1e-6);
  return CudaStatus::kSuccess;
}

}  // namespace penstock
