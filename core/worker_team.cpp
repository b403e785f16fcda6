#include "core/worker_team.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "core/check.h"
#include "core/spin.h"
#include "core/thread_start.h"

namespace penstock {
namespace {

// 0 or an errno value.
int bind_thread(pthread_t thread, const std::vector<int>& cpus) {
  const int count = *std::ranges::max_element(cpus) + 1;
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(count), [](cpu_set_t* raw) { CPU_FREE(raw); });
  if (set == nullptr) return ENOMEM;
  const size_t bytes = CPU_ALLOC_SIZE(count);
  CPU_ZERO_S(bytes, set.get());
  for (const int cpu : cpus) CPU_SET_S(cpu, bytes, set.get());
  return pthread_setaffinity_np(thread, bytes, set.get());
}

}  // namespace

WorkerTeam::WorkerTeam(int thread_count) : WorkerTeam(WorkerTeamOptions{.thread_count = thread_count}) {}

WorkerTeam::WorkerTeam(const WorkerTeamOptions& options) {
  const int thread_count = options.thread_count;
  CHECK_GE(thread_count, 1);
  if (!options.cpus.empty()) CHECK_EQ(std::ssize(options.cpus), thread_count);
  threads_.reserve(static_cast<size_t>(thread_count - 1));
  try {
    for (int member = 1; member < thread_count; ++member) {
      threads_.push_back(start_thread("worker " + std::to_string(member), [this, member] { worker_loop(member); }));
    }
    bind_workers(options);
  } catch (...) {
    stop();
    throw;
  }
}

WorkerTeam::~WorkerTeam() { stop(); }

void WorkerTeam::run(int64_t block_count, const std::function<void(int64_t block)>& work) {
  CHECK_GE(block_count, 0);
  CHECK(work_ == nullptr);  // one caller at a time, not from inside `work`
  if (block_count == 0) return;
  work_ = &work;
  block_count_ = block_count;
  running_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
  {
    std::lock_guard lock(mutex_);  // a worker between its last look and its sleep would miss the notification
    generation_.fetch_add(1, std::memory_order_release);
  }
  start_.notify_all();

  run_range(0);
  const auto all_finished = [this] { return running_.load(std::memory_order_acquire) == 0; };
  if (!spin_until(all_finished)) {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, all_finished);
  }
  work_ = nullptr;
  if (const std::exception_ptr error = std::exchange(first_error_, nullptr)) std::rethrow_exception(error);
}

void WorkerTeam::bind_workers(const WorkerTeamOptions& options) {
  for (size_t worker = 0; worker < threads_.size() && !options.cpus.empty(); ++worker) {
    const std::vector<int>& cpus = options.cpus[worker + 1];
    if (cpus.empty()) continue;
    const int error = bind_thread(threads_[worker].native_handle(), cpus);
    if (error == 0) continue;
    // The others would be refused for the same reason.
    if (options.notice) {
      options.notice(
          fmt::format("the system refuses to bind worker {} to CPU {} ({}): the threads of the host lane may "
                      "move between cores",
                      worker + 1, cpus.front(), std::strerror(error)));
    }
    return;
  }
}

void WorkerTeam::worker_loop(int member) {
  for (uint64_t generation = 0;; ++generation) {
    const auto due = [&] { return start_pending(generation); };
    if (!spin_until(due)) {
      std::unique_lock lock(mutex_);
      start_.wait(lock, due);
    }
    if (stopping_.load(std::memory_order_acquire)) return;
    run_range(member);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      std::lock_guard lock(mutex_);
      finished_.notify_one();
    }
  }
}

bool WorkerTeam::start_pending(uint64_t seen_generation) const {
  return stopping_.load(std::memory_order_acquire) || generation_.load(std::memory_order_acquire) != seen_generation;
}

void WorkerTeam::run_range(int member) {
  // The first block_count % members ranges are one block longer.
  const int64_t members = thread_count();
  const int64_t shortest = block_count_ / members;
  const int64_t longer = block_count_ % members;
  const int64_t begin = member * shortest + std::min<int64_t>(member, longer);
  const int64_t end = begin + shortest + (member < longer ? 1 : 0);
  try {
    for (int64_t block = begin; block < end; ++block) (*work_)(block);
  } catch (...) {
    std::lock_guard lock(mutex_);
    if (!first_error_) first_error_ = std::current_exception();
  }
}

void WorkerTeam::stop() noexcept {
  {
    std::lock_guard lock(mutex_);
    stopping_.store(true, std::memory_order_release);
  }
  start_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace penstock
