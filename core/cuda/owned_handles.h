// One owner for each kind of raw CUDA handle. Destructors never throw: a release that fails leaves nothing to do.
#pragma once

#include <memory>
#include <utility>

#include "core/cuda/context.h"

namespace penstock {

class OwnedStream {
 public:
  // From a thread that entered the context, as below.
  explicit OwnedStream(std::shared_ptr<CudaContext> context) : context_(std::move(context)) {
    context_->check(context_->runtime().create_stream(&stream_), "creating a stream");
  }
  ~OwnedStream() {
    if (context_ == nullptr) return;
    context_->enter_to_release();
    context_->runtime().destroy_stream(stream_);
  }
  OwnedStream(OwnedStream&& other) noexcept = default;
  OwnedStream& operator=(OwnedStream&& other) = delete;

  RawStream* raw() const { return stream_; }

 private:
  std::shared_ptr<CudaContext> context_;
  RawStream* stream_ = nullptr;
};

// May end while its records are queued.
class OwnedEvent {
 public:
  OwnedEvent(std::shared_ptr<CudaContext> context, EventUse use) : context_(std::move(context)) {
    context_->check(context_->runtime().create_event(use, &event_), "creating an event");
  }
  ~OwnedEvent() {
    if (context_ == nullptr) return;
    context_->enter_to_release();
    context_->runtime().destroy_event(event_);
  }
  OwnedEvent(OwnedEvent&& other) noexcept = default;
  OwnedEvent& operator=(OwnedEvent&& other) = delete;

  RawEvent* raw() const { return event_; }
  CudaContext& context() const { return *context_; }

 private:
  std::shared_ptr<CudaContext> context_;
  RawEvent* event_ = nullptr;
};

// Memory made by CudaRuntime::allocate(). No queued work may use it when this ends.
class OwnedDeviceMemory {
 public:
  OwnedDeviceMemory(std::shared_ptr<CudaContext> context, void* memory)
      : context_(std::move(context)), memory_(memory) {}
  ~OwnedDeviceMemory() {
    if (context_ == nullptr) return;
    context_->enter_to_release();
    context_->runtime().free(memory_);
  }
  OwnedDeviceMemory(OwnedDeviceMemory&& other) noexcept = default;
  OwnedDeviceMemory& operator=(OwnedDeviceMemory&& other) = delete;

 private:
  std::shared_ptr<CudaContext> context_;
  void* memory_;
};

// Host memory pinned by CudaRuntime::register_host(). No queued work may use it when this ends.
class PinnedMemory {
 public:
  PinnedMemory(std::shared_ptr<CudaContext> context, void* memory) : context_(std::move(context)), memory_(memory) {}
  ~PinnedMemory() {
    if (context_ == nullptr) return;
    context_->enter_to_release();
    context_->runtime().unregister_host(memory_);
  }
  PinnedMemory(PinnedMemory&& other) noexcept = default;
  PinnedMemory& operator=(PinnedMemory&& other) = delete;

 private:
  std::shared_ptr<CudaContext> context_;
  void* memory_;
};

}  // namespace penstock
