#include "model/temporary_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <cstddef>
#include <new>

#include "core/bytes.h"
#include "core/error.h"

namespace penstock {

namespace {

thread_local TemporaryObserver* current_observer = nullptr;

// In front of every block, as wide as the alignment LibTorch promises.
struct alignas(64) BlockHeader {
  TemporaryObserver* observer;
  int64_t bytes;
};

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, c10::Device(c10::DeviceType::CPU)};
    TemporaryObserver* observer = current_observer;
    const auto charged = static_cast<int64_t>(bytes);
    void* memory = c10::GetDefaultCPUAllocator()->raw_allocate(bytes + sizeof(BlockHeader));
    if (observer != nullptr && !observer->charge(charged)) {
      c10::GetDefaultCPUAllocator()->raw_deallocate(memory);
      throw Error(ExitCode::kDoesNotFit, "a temporary of " + format_bytes(bytes) +
                                             " does not fit device.memory_gb; raise it or lower "
                                             "training.per_device_train_batch_size");
    }
    BlockHeader* header = new (memory) BlockHeader{observer, charged};
    void* data = header + 1;
    return {data, data, &free_block, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

 private:
  static void free_block(void* data) {
    if (data == nullptr) return;
    BlockHeader* header = static_cast<BlockHeader*>(data) - 1;
    if (header->observer != nullptr) header->observer->charge(-header->bytes);
    c10::GetDefaultCPUAllocator()->raw_deallocate(header);
  }
};

}  // namespace

void install_counting_allocator() {
  static CountingAllocator allocator;
  [[maybe_unused]] static const bool installed = [] {
    c10::SetCPUAllocator(&allocator, /*priority=*/1);
    return true;
  }();
}

TemporaryObservation::TemporaryObservation(TemporaryObserver& observer) : outer_(current_observer) {
  current_observer = &observer;
}

TemporaryObservation::~TemporaryObservation() { current_observer = outer_; }

}  // namespace penstock
