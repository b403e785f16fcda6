// Counts what LibTorch allocates on the CPU for its own temporaries, on the threads that ask for it.
// Not an allocator of its own: blocks come from LibTorch's default allocator, with a small header that remembers who is
// charged, because a block may be freed on another thread.
#pragma once

#include <cstdint>

namespace penstock {

class TemporaryObserver {
 public:
  virtual ~TemporaryObserver() = default;
  // `bytes` are about to be allocated (> 0) or were freed (< 0). False refuses an allocation and charges nothing; the
  // op then ends with Error(kDoesNotFit). Any thread; frees are never refused.
  virtual bool charge(int64_t bytes) = 0;
};

// Puts the counting allocator in front of LibTorch's; later calls do nothing. Call before the first observation.
void install_counting_allocator();

// Charges allocations of the calling thread to `observer` while it lives. The observer must outlive every block that
// was allocated under it. Scopes nest; the innermost counts.
class TemporaryObservation {
 public:
  explicit TemporaryObservation(TemporaryObserver& observer);
  ~TemporaryObservation();
  TemporaryObservation(const TemporaryObservation&) = delete;
  TemporaryObservation& operator=(const TemporaryObservation&) = delete;

 private:
  TemporaryObserver* outer_;
};

}  // namespace penstock
