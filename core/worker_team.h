// A fixed team of threads for work on host memory (optimizer, norms, gathers). No OpenMP, no work stealing.
// The caller is member 0; results may not depend on the number of members: callers split work into fixed blocks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace penstock {

struct WorkerTeamOptions {
  int thread_count = 1;  // the caller included
  // Per member the CPUs it may run on, or empty: the system decides. Those of member 0 are left to it and stay free:
  // the caller may be any thread, and what it starts would inherit a binding.
  std::vector<std::vector<int>> cpus = {};
  std::function<void(const std::string&)> notice = {};  // gets one line if the system refuses bindings
};

class WorkerTeam {
 public:
  // `thread_count` >= 1 counts the caller. Workers CHECK that they inherited the creating thread's FTZ/DAZ. Throws
  // Error(kDoesNotFit) when the system refuses a thread.
  explicit WorkerTeam(int thread_count);
  // Also binds the workers before it returns. CHECKs one entry of `cpus` per member, if there are any.
  explicit WorkerTeam(const WorkerTeamOptions& options);
  ~WorkerTeam();
  WorkerTeam(const WorkerTeam&) = delete;
  WorkerTeam& operator=(const WorkerTeam&) = delete;

  int thread_count() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls work(block) once for every block in [0, block_count), on all members, and returns when all are done.
  // Member i takes a contiguous range of blocks. The first exception of any member is rethrown here. One caller at a
  // time; not reentrant.
  void run(int64_t block_count, const std::function<void(int64_t block)>& work);

 private:
  void bind_workers(const WorkerTeamOptions& options);
  void worker_loop(int member);
  void run_range(int member);
  bool start_pending(uint64_t seen_generation) const;
  void stop() noexcept;

  std::vector<std::thread> threads_;
  const std::function<void(int64_t)>* work_ = nullptr;  // written only while no worker runs
  int64_t block_count_ = 0;

  // Both sides look at the atomics for a few microseconds and then sleep on the condition variables.
  std::atomic<uint64_t> generation_ = 0;  // counts the calls of run()
  std::atomic<int> running_ = 0;          // workers that have not finished this generation
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable finished_;
  std::exception_ptr first_error_;
};

}  // namespace penstock
