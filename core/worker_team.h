// A fixed team of threads for work on host memory (optimizer, norms, gathers). No OpenMP, no work stealing.
// The caller is member 0; results may not depend on the number of members: callers split work into fixed blocks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace penstock {

class WorkerTeam {
 public:
  // `thread_count` >= 1 counts the caller. Workers assert that FTZ/DAZ is set when the creating thread has it set.
  explicit WorkerTeam(int thread_count);
  ~WorkerTeam();
  WorkerTeam(const WorkerTeam&) = delete;
  WorkerTeam& operator=(const WorkerTeam&) = delete;

  int thread_count() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls work(block) once for every block in [0, block_count), on all members, and returns when all are done.
  // Member i takes a contiguous range of blocks. The first exception of any member is rethrown here. One caller at a
  // time; not reentrant.
  void run(int64_t block_count, const std::function<void(int64_t block)>& work);

 private:
  void worker_loop(int member);
  void run_range(int member);

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable finished_;
  const std::function<void(int64_t)>* work_ = nullptr;
  int64_t block_count_ = 0;
  uint64_t generation_ = 0;
  int running_ = 0;
  bool stopping_ = false;
  std::exception_ptr first_error_;
};

}  // namespace penstock
