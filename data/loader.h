// Makes steps on a thread of its own, one ahead: while a step trains, the next one is made. Not a queue of any depth.
//
// Invariant: steps come out in the order the source makes them; the source runs on the loader's thread only.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "data/step_batch.h"

namespace penstock {

class Loader {
 public:
  // `source` is called until it throws, e.g. [stream]() mutable { return stream.next(); }.
  explicit Loader(std::function<StepBatch()> source);
  // Waits for the step in the making, at most one.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // Blocks until the next step is there. What the source threw comes out here, after the steps before it, and again on
  // every later call.
  StepBatch next();

 private:
  void produce();

  std::function<StepBatch()> source_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<StepBatch> ready_;
  std::exception_ptr error_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace penstock
