#include "fake_cuda_runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "fake_cuda_state.h"

namespace penstock {

namespace {

class FakeGate final : public LaneGate {
 public:
  FakeGate(FakeCudaRuntime& runtime, std::shared_ptr<bool> is_open) : runtime_(runtime), is_open_(std::move(is_open)) {}
  ~FakeGate() override { open(); }
  void open() override { runtime_.open(is_open_); }

 private:
  FakeCudaRuntime& runtime_;
  std::shared_ptr<bool> is_open_;
};

}  // namespace

FakeCudaRuntime::FakeCudaRuntime(const FakeCudaOptions& options) : options_(options), random_(options.seed) {}

FakeCudaRuntime::~FakeCudaRuntime() {
  Lock lock(mutex_);
  for (auto& [raw, stream] : streams_) stop(*stream, lock);
}

CudaStatus FakeCudaRuntime::failed(CudaStatus status) {
  last_errors_[std::this_thread::get_id()] = status;
  return status;
}

// What the call returns before it does anything. Calls that release do their work nevertheless: their status may be an
// earlier, asynchronous failure's.
CudaStatus FakeCudaRuntime::begin_call(Lock& lock, bool releases) {
  ++calls_;
  ++counts_.calls;
  if (calls_ == lose_at_ && sticky_ == CudaStatus::kSuccess) {
    sticky_ = CudaStatus::kLaunchFailure;
    changed_.notify_all();
  }
  if (sticky_ != CudaStatus::kSuccess) {
    wait_until_quiet(lock);
    return failed(sticky_);
  }
  if (calls_ == fail_at_ && !releases) return failed(fail_status_);
  return CudaStatus::kSuccess;
}

// A lost device touches no memory: nobody hears of the loss while an item still does.
void FakeCudaRuntime::wait_until_quiet(Lock& lock) {
  changed_.wait(lock, [this] {
    return std::ranges::none_of(streams_, [](const auto& entry) { return entry.second->is_running; });
  });
}

void FakeCudaRuntime::lose_device() {
  Lock lock(mutex_);
  sticky_ = CudaStatus::kLaunchFailure;
  changed_.notify_all();
}

CudaStatus FakeCudaRuntime::enqueue(RawStream* stream, std::function<void()> work) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  return push(stream, {.work = std::move(work)}, lock);
}

std::unique_ptr<LaneGate> FakeCudaRuntime::hold(RawStream* stream) {
  auto is_open = std::make_shared<bool>(false);
  Lock lock(mutex_);
  push(stream, {.is_ready = [is_open] { return *is_open; }}, lock);
  return std::make_unique<FakeGate>(*this, is_open);
}

void FakeCudaRuntime::open(const std::shared_ptr<bool>& gate) {
  Lock lock(mutex_);
  *gate = true;
  changed_.notify_all();
}

FakeCudaRuntime::Counts FakeCudaRuntime::counts() const {
  Lock lock(mutex_);
  return counts_;
}

std::string FakeCudaRuntime::leaks() const {
  Lock lock(mutex_);
  const auto live = std::ranges::count_if(allocations_, [](const auto& made) { return !made->is_freed; });
  std::string text;
  if (!streams_.empty()) text += fmt::format(" {} streams", streams_.size());
  if (!events_.empty()) text += fmt::format(" {} events", events_.size());
  if (live > 0) text += fmt::format(" {} allocations", live);
  if (!registered_.empty()) text += fmt::format(" {} registrations", registered_.size());
  if (busy_ends_ > 0) text += fmt::format(" {} streams ended with work queued", busy_ends_);
  for (const auto& [thread, error] : last_errors_) {
    if (error != CudaStatus::kSuccess && sticky_ == CudaStatus::kSuccess) text += " an error that was not cleared";
  }
  return text;
}

std::vector<std::span<const std::byte>> FakeCudaRuntime::registrations() const {
  Lock lock(mutex_);
  std::vector<std::span<const std::byte>> all;
  for (const auto& [begin, bytes] : registered_) all.emplace_back(begin, bytes);
  return all;
}

int FakeCudaRuntime::current_device() const {
  const auto found = current_.find(std::this_thread::get_id());
  return found == current_.end() ? 0 : found->second;
}

FakeCudaRuntime::Stream* FakeCudaRuntime::find(RawStream* stream) {
  const auto found = streams_.find(stream);
  if (found == streams_.end() || found->second->device != current_device()) return nullptr;
  return found->second.get();
}

std::shared_ptr<FakeCudaRuntime::Event> FakeCudaRuntime::find(RawEvent* event) {
  const auto found = events_.find(event);
  if (found == events_.end() || found->second->device != current_device()) return nullptr;
  return found->second;
}

CudaStatus FakeCudaRuntime::push(RawStream* raw, Item item, Lock& lock) {
  Stream* stream = find(raw);
  if (stream == nullptr) return failed(CudaStatus::kInvalidResourceHandle);
  stream->items.push_back(std::move(item));
  changed_.notify_all();
  if (!options_.threaded) {
    for (uint64_t steps = random_() % 3; steps > 0 && step_random(lock); --steps) {
    }
  }
  return CudaStatus::kSuccess;
}

// Runs one item that may run, if there is one. Seeded mode.
bool FakeCudaRuntime::step_random(Lock& lock) {
  std::vector<Stream*> runnable;
  for (auto& [raw, stream] : streams_) {
    if (!stream->items.empty() && !stream->is_running && stream->items.front().is_ready()) {
      runnable.push_back(stream.get());
    }
  }
  if (runnable.empty() || sticky_ != CudaStatus::kSuccess) return false;
  run_head(*runnable[random_() % runnable.size()], lock);
  return true;
}

void FakeCudaRuntime::run_head(Stream& stream, Lock& lock) {
  const Item item = std::move(stream.items.front());
  stream.items.pop_front();
  if (!item.is_legal()) sticky_ = CudaStatus::kIllegalAddress;
  if (sticky_ == CudaStatus::kSuccess) {
    if (item.work) {
      stream.is_running = true;
      lock.unlock();
      item.work();
      lock.lock();
      stream.is_running = false;
    }
    item.on_done();
  }
  changed_.notify_all();
}

void FakeCudaRuntime::stream_loop(Stream& stream) {
  Lock lock(mutex_);
  for (;;) {
    changed_.wait(lock,
                  [&] { return stream.is_stopping || (!stream.items.empty() && stream.items.front().is_ready()); });
    if (stream.is_stopping) return;
    run_head(stream, lock);
  }
}

void FakeCudaRuntime::wait_for(const std::function<bool()>& done, Lock& lock) {
  while (!done() && sticky_ == CudaStatus::kSuccess) {
    if (options_.threaded || !step_random(lock)) changed_.wait(lock);
  }
  if (sticky_ != CudaStatus::kSuccess) wait_until_quiet(lock);
}

void FakeCudaRuntime::stop(Stream& stream, Lock& lock) {
  stream.is_stopping = true;
  changed_.notify_all();
  if (!stream.thread.joinable()) return;
  std::thread thread = std::move(stream.thread);
  lock.unlock();
  thread.join();
  lock.lock();
}

CudaStatus FakeCudaRuntime::get_device_count(int* count) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  *count = options_.device_count;
  return options_.count_status == CudaStatus::kSuccess ? CudaStatus::kSuccess : failed(options_.count_status);
}

CudaStatus FakeCudaRuntime::get_properties(int device, CudaProperties* properties) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  if (device < 0 || device >= options_.device_count) return failed(CudaStatus::kInvalidDevice);
  *properties = options_.properties;
  return CudaStatus::kSuccess;
}

CudaStatus FakeCudaRuntime::get_driver_version(int* version) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  *version = options_.driver_version;
  return CudaStatus::kSuccess;
}

CudaStatus FakeCudaRuntime::get_runtime_version(int* version) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  *version = 13000;
  return CudaStatus::kSuccess;
}

CudaStatus FakeCudaRuntime::get_device(int* device) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  *device = current_device();
  return CudaStatus::kSuccess;
}

CudaStatus FakeCudaRuntime::set_device(int device) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  if (options_.open_status != CudaStatus::kSuccess) return failed(options_.open_status);
  if (device < 0 || device >= options_.device_count) return failed(CudaStatus::kInvalidDevice);
  current_[std::this_thread::get_id()] = device;
  ++counts_.current_device_changes;
  return CudaStatus::kSuccess;
}

CudaStatus FakeCudaRuntime::create_stream(RawStream** stream) {
  Lock lock(mutex_);
  if (const CudaStatus status = begin_call(lock); status != CudaStatus::kSuccess) return status;
  auto made = std::make_unique<Stream>(Stream{.device = current_device()});
  *stream = reinterpret_cast<RawStream*>(made.get());
  if (options_.threaded) made->thread = std::thread([this, &queue = *made] { stream_loop(queue); });
  streams_[*stream] = std::move(made);
  return CudaStatus::kSuccess;
}

CudaStatus FakeCudaRuntime::destroy_stream(RawStream* stream) {
  Lock lock(mutex_);
  const CudaStatus status = begin_call(lock, true);
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return failed(CudaStatus::kInvalidResourceHandle);
  const std::unique_ptr<Stream> ended = std::move(found->second);
  streams_.erase(found);
  const bool is_busy =
      std::ranges::any_of(ended->items, [](const Item& item) { return item.work != nullptr; }) || ended->is_running;
  if (sticky_ == CudaStatus::kSuccess && is_busy) ++busy_ends_;
  stop(*ended, lock);
  return status;
}

CudaStatus FakeCudaRuntime::synchronize_stream(RawStream* raw) {
  Lock lock(mutex_);
  const CudaStatus status = begin_call(lock, true);
  Stream* stream = find(raw);
  if (stream == nullptr) return failed(CudaStatus::kInvalidResourceHandle);
  wait_for([stream] { return stream->items.empty() && !stream->is_running; }, lock);
  return sticky_ == CudaStatus::kSuccess ? status : failed(sticky_);
}

CudaStatus FakeCudaRuntime::take_last_error() {
  Lock lock(mutex_);
  if (sticky_ != CudaStatus::kSuccess) return sticky_;
  return std::exchange(last_errors_[std::this_thread::get_id()], CudaStatus::kSuccess);
}

std::string FakeCudaRuntime::error_name(CudaStatus status) {
  return fmt::format("fakeError{}", static_cast<int>(status));
}

std::string FakeCudaRuntime::error_text(CudaStatus status) {
  return status == CudaStatus::kMemoryAllocation ? "out of memory" : "it failed";
}

}  // namespace penstock
