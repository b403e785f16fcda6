// A CUDA runtime for tests: the real semantics where our code depends on them, and faults on demand.
// Streams are queues whose items run in any legal order: drawn from a seed whenever somebody calls or waits, or with a
// thread per stream, so that the thread sanitizer sees what is not ordered. Events: a wait takes the newest record at
// the call, and is none if there is no record. Device memory has bounds, is garbage at first and must not be used once
// freed. A copy that spans or leaves a registration is invalid. Streams, events and threads belong to a device.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "core/cuda/runtime.h"
#include "device_suite.h"

namespace penstock {

struct FakeCudaOptions {
  uint64_t seed = 1;
  bool threaded = false;
  int device_count = 2;
  uint64_t memory_bytes = 64 << 20;
  CudaProperties properties = {.name = "Fake GPU", .memory_bytes = 64 << 20, .major = 9, .minor = 0};
  int driver_version = 13000;
  CudaStatus count_status = CudaStatus::kSuccess;
  CudaStatus open_status = CudaStatus::kSuccess;  // of set_device()
};

class FakeCudaRuntime final : public CudaRuntime {
 public:
  explicit FakeCudaRuntime(const FakeCudaOptions& options = {});
  ~FakeCudaRuntime() override;

  // Faults. `n` counts from 1, the next call of the kind; each happens once.
  void fail_call(int n, CudaStatus status) { fail_at_ = calls_ + n, fail_status_ = status; }
  void lose_device_at_call(int n) { lose_at_ = calls_ + n; }
  void lose_device();
  void refuse_allocation(int n) { refuse_allocation_at_ = allocations_made_ + n; }
  void refuse_registration(int n) { refuse_registration_at_ = registrations_made_ + n; }

  // What a kernel launch would be: `work` runs when the stream gets there.
  CudaStatus enqueue(RawStream* stream, std::function<void()> work);
  // Keeps the stream from passing this point until opened.
  std::unique_ptr<LaneGate> hold(RawStream* stream);
  void open(const std::shared_ptr<bool>& gate);

  struct Counts {
    int calls = 0;
    int copies = 0;
    int pageable_copies = 0;
    uint64_t longest_copy_bytes = 0;
    int registrations = 0;  // ever
    int current_device_changes = 0;
    int event_synchronizations = 0;  // begun
  };
  Counts counts() const;
  // "" if everything made was released in time, no error was left uncleared; else what is wrong.
  std::string leaks() const;
  std::vector<std::span<const std::byte>> registrations() const;  // now, ascending

  CudaStatus get_device_count(int* count) override;
  CudaStatus get_properties(int device, CudaProperties* properties) override;
  CudaStatus get_driver_version(int* version) override;
  CudaStatus get_runtime_version(int* version) override;
  CudaStatus get_device(int* device) override;
  CudaStatus set_device(int device) override;
  CudaStatus get_memory(uint64_t* free_bytes, uint64_t* total_bytes) override;
  CudaStatus allocate(void** memory, uint64_t bytes) override;
  CudaStatus free(void* memory) override;
  CudaStatus fill_async(void* to, int value, uint64_t bytes, RawStream* stream) override;
  CudaStatus copy_async(void* to, const void* from, uint64_t bytes, CopyDirection direction,
                        RawStream* stream) override;
  CudaStatus register_host(void* memory, uint64_t bytes) override;
  CudaStatus unregister_host(void* memory) override;
  CudaStatus create_stream(RawStream** stream) override;
  CudaStatus destroy_stream(RawStream* stream) override;
  CudaStatus synchronize_stream(RawStream* stream) override;
  CudaStatus create_event(EventUse use, RawEvent** event) override;
  CudaStatus destroy_event(RawEvent* event) override;
  CudaStatus record_event(RawEvent* event, RawStream* stream) override;
  CudaStatus wait_event(RawStream* stream, RawEvent* event) override;
  CudaStatus synchronize_event(RawEvent* event) override;
  CudaStatus elapsed_ms(float* milliseconds, RawEvent* begin, RawEvent* end) override;
  CudaStatus take_last_error() override;
  std::string error_name(CudaStatus status) override;
  std::string error_text(CudaStatus status) override;

 private:
  struct Stream;
  struct Event;
  struct Item;
  struct Allocation;
  using Lock = std::unique_lock<std::mutex>;

  CudaStatus begin_call(Lock& lock, bool releases = false);
  CudaStatus failed(CudaStatus status);
  int current_device() const;
  Stream* find(RawStream* stream);
  std::shared_ptr<Event> find(RawEvent* event);
  CudaStatus push(RawStream* stream, Item item, Lock& lock);
  bool is_device_memory(const void* memory, uint64_t bytes) const;
  enum class HostMemory { kPinned, kPageable, kInvalid };
  HostMemory host_memory(const void* memory, uint64_t bytes) const;
  bool is_legal(void* to, const void* from, uint64_t bytes, CopyDirection direction) const;
  bool step_random(Lock& lock);
  void run_head(Stream& stream, Lock& lock);
  void stream_loop(Stream& stream);
  void wait_until_quiet(Lock& lock);
  void wait_for(const std::function<bool()>& done, Lock& lock);
  void stop(Stream& stream, Lock& lock);

  const FakeCudaOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::mt19937_64 random_;
  std::map<RawStream*, std::unique_ptr<Stream>> streams_;
  std::map<RawEvent*, std::shared_ptr<Event>> events_;
  std::vector<std::unique_ptr<Allocation>> allocations_;  // freed ones stay, so that a late use is seen
  std::map<const std::byte*, uint64_t> registered_;
  std::map<std::thread::id, int> current_;
  std::map<std::thread::id, CudaStatus> last_errors_;
  CudaStatus sticky_ = CudaStatus::kSuccess;
  Counts counts_;
  int calls_ = 0, fail_at_ = 0, lose_at_ = 0;
  CudaStatus fail_status_ = CudaStatus::kSuccess;
  int allocations_made_ = 0, refuse_allocation_at_ = 0;
  int registrations_made_ = 0, refuse_registration_at_ = 0;
  int busy_ends_ = 0;  // streams that ended while queued work used memory
  uint64_t allocated_bytes_ = 0;
};

}  // namespace penstock
