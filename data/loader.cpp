#include "data/loader.h"

#include "core/thread_start.h"

namespace penstock {

Loader::Loader(std::function<StepBatch()> source)
    : source_(std::move(source)), thread_(start_thread("loader", [this] { produce(); })) {}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

StepBatch Loader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ready_ || error_; });
  if (!ready_) std::rethrow_exception(error_);
  StepBatch step = std::move(*ready_);
  ready_.reset();
  lock.unlock();
  changed_.notify_all();
  return step;
}

void Loader::produce() {
  try {
    while (true) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return !ready_ || stopping_; });
        if (stopping_) return;
      }
      StepBatch step = source_();
      {
        const std::lock_guard lock(mutex_);
        ready_ = std::move(step);
      }
      changed_.notify_all();
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

}  // namespace penstock
