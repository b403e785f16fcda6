#include "model/cuda/emulated_block.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <new>
#include <semaphore>
#include <span>
#include <string>
#include <thread>

#include "core/poison.h"
#include "core/thread_start.h"

namespace penstock {

namespace {

constexpr int kMostThreads = 1024;
constexpr int kTeams = 2;  // blocks that run at a time

// Counts arrivals for ever: the `round`th meeting of `members` threads, from 1, is over at the product's arrival.
// Sleeps in the kernel by itself, because std::atomic's wait orders more memory than is asked for.
class Rendezvous {
 public:
  void meet(uint32_t members, uint32_t round, std::memory_order arrival, std::memory_order departure) {
    const uint32_t target = members * round;
    if (arrived_.fetch_add(1, arrival) + 1 == target) {
      futex(FUTEX_WAKE_PRIVATE, INT_MAX);
      return;
    }
    for (;;) {
      const uint32_t seen = arrived_.load(departure);
      if (static_cast<int32_t>(seen - target) >= 0) return;
      futex(FUTEX_WAIT_PRIVATE, static_cast<int>(seen));  // returns at once if somebody else has arrived
    }
  }

 private:
  void futex(int operation, int value) { syscall(SYS_futex, &arrived_, operation, value, nullptr, nullptr, 0); }

  static_assert(sizeof(std::atomic<uint32_t>) == sizeof(int));
  std::atomic<uint32_t> arrived_ = 0;
};

// A cell holds a value and the exchange it belongs to. Cells alternate: one is written again only after all lanes have
// met since it was read.
struct WarpExchange {
  Rendezvous rendezvous;
  std::atomic<uint64_t> cells[2][kWarpLanes] = {};
};

// Exactly the bytes that were asked for, so that the address sanitizer sees one too many.
class SharedBytes {
 public:
  explicit SharedBytes(int64_t bytes)
      : bytes_(static_cast<size_t>(bytes)),
        data_(static_cast<std::byte*>(::operator new (bytes_, std::align_val_t{kAlignment}))) {}
  ~SharedBytes() { ::operator delete (data_, std::align_val_t{kAlignment}); }
  SharedBytes(const SharedBytes&) = delete;
  SharedBytes& operator=(const SharedBytes&) = delete;

  std::span<std::byte> span() const { return {data_, bytes_}; }

 private:
  static constexpr size_t kAlignment = 16;
  size_t bytes_;
  std::byte* data_;
};

}  // namespace

// Threads that run every kTeams'th block of a launch, one at a time.
class EmulatedTeam {
 public:
  EmulatedTeam(int index, int threads) : index_(index), members_(static_cast<size_t>(threads)) {
    for (int thread = 0; thread < threads; ++thread) {
      members_[static_cast<size_t>(thread)].thread =
          start_thread("kernel-" + std::to_string(thread), [this, thread] { serve(thread); });
    }
  }
  ~EmulatedTeam() {
    launch_ = nullptr;
    for (Member& member : members_) member.start.release();
    for (Member& member : members_) member.thread.join();
  }

  void start(const LaunchShape& shape, const std::function<void(EmulatedBlock&)>& kernel) {
    if (index_ >= shape.blocks) return;
    launch_ = std::make_unique<Launch>(shape, kernel);
    for (Member& member : used()) member.start.release();
  }
  void wait() {
    if (launch_ == nullptr) return;
    for (Member& member : used()) member.done.acquire();
    launch_ = nullptr;
  }

  // All threads of the block, at its barriers (`ends` false) and at its end.
  void meet(EmulatedBlock& block, bool ends) {
    const uint32_t round = ++block.rounds_;
    std::atomic<bool>& first_thread_ends = launch_->first_thread_ends[round % 2];
    if (block.thread_ == 0) first_thread_ends.store(ends, std::memory_order_relaxed);
    launch_->rendezvous.meet(static_cast<uint32_t>(block.threads_), round, std::memory_order_acq_rel,
                             std::memory_order_acquire);
    CHECK_EQ(first_thread_ends.load(std::memory_order_relaxed), ends);  // else a barrier was not met by all
  }

  uint32_t exchange(EmulatedBlock& block, uint32_t bits, int source) {
    const uint32_t round = ++block.exchanges_;
    WarpExchange& warp = launch_->warps[static_cast<size_t>(block.thread_ / kWarpLanes)];
    auto& cells = warp.cells[round % 2];
    cells[block.lane()].store(uint64_t{round} << 32 | bits, std::memory_order_relaxed);
    warp.rendezvous.meet(kWarpLanes, round, std::memory_order_relaxed, std::memory_order_relaxed);
    uint64_t cell = 0;
    do {
      cell = cells[source].load(std::memory_order_relaxed);
    } while (static_cast<int32_t>(static_cast<uint32_t>(cell >> 32) - round) < 0);
    CHECK_EQ(cell >> 32, round);
    return static_cast<uint32_t>(cell);
  }

  std::byte* shared_bytes() const { return launch_->shared.span().data(); }

 private:
  struct Member {
    std::binary_semaphore start{0}, done{0};
    std::thread thread;
  };
  struct Launch {
    Launch(const LaunchShape& launch_shape, const std::function<void(EmulatedBlock&)>& launch_kernel)
        : shape(launch_shape),
          kernel(launch_kernel),
          shared(launch_shape.shared_bytes),
          warps(static_cast<size_t>(launch_shape.threads / kWarpLanes)) {}

    LaunchShape shape;
    const std::function<void(EmulatedBlock&)>& kernel;
    SharedBytes shared;
    Rendezvous rendezvous;
    std::atomic<bool> first_thread_ends[2] = {};
    std::vector<WarpExchange> warps;
  };

  std::span<Member> used() { return std::span(members_).first(static_cast<size_t>(launch_->shape.threads)); }

  void serve(int thread) {
    Member& member = members_[static_cast<size_t>(thread)];
    for (;;) {
      member.start.acquire();
      if (launch_ == nullptr) return;
      run_blocks(thread);
      member.done.release();
    }
  }

  void run_blocks(int thread) {
    EmulatedBlock block(*this, thread, launch_->shape.threads);
    block.blocks_ = launch_->shape.blocks;
    for (block.block_ = index_; block.block_ < block.blocks_; block.block_ += kTeams) {
      if (launch_->shape.shared_bytes > 0) {
        if (thread == 0) std::ranges::fill(launch_->shared.span(), kPoison);
        meet(block, false);
      }
      launch_->kernel(block);
      meet(block, true);
    }
  }

  int index_;
  std::vector<Member> members_;
  std::unique_ptr<Launch> launch_;
};

void EmulatedBlock::barrier() { team_.meet(*this, false); }
std::byte* EmulatedBlock::shared_bytes() { return team_.shared_bytes(); }
uint32_t EmulatedBlock::exchange_bits(uint32_t bits, int source) { return team_.exchange(*this, bits, source); }

EmulatedLauncher::EmulatedLauncher(int threads_per_block) : threads_per_block_(threads_per_block) {
  CHECK_GE(threads_per_block, kWarpLanes);
  CHECK_LE(threads_per_block, kMostThreads);
  CHECK_EQ(threads_per_block % kWarpLanes, 0);
  for (int index = 0; index < kTeams; ++index) {
    teams_.push_back(std::make_unique<EmulatedTeam>(index, threads_per_block));
  }
}
EmulatedLauncher::~EmulatedLauncher() = default;

void EmulatedLauncher::run(const LaunchShape& shape, const std::function<void(EmulatedBlock&)>& kernel) {
  CHECK_GE(shape.blocks, 0);
  CHECK_GE(shape.threads, kWarpLanes);
  CHECK_LE(shape.threads, threads_per_block_);
  CHECK_EQ(shape.threads % kWarpLanes, 0);
  CHECK_LE(shape.shared_bytes, kMostSharedBytes);
  for (const auto& team : teams_) team->start(shape, kernel);
  for (const auto& team : teams_) team->wait();
}

}  // namespace penstock
