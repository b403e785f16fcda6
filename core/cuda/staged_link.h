// Copies between the device and host memory that is not pinned, through two pinned rings.
// A fetch is in the ring when fetch() returns; it blocks while the ring is full of earlier fetches. An offload is only
// queued: a thread of ours carries it from the ring to the user's memory once the stream has brought it there. So the
// stream's events end at the ring, and whoever reads the memory on the host also asks wait_copied_out().
// Costs two crossings of host memory more than a pinned copy: 3 bytes moved in DRAM per byte instead of 1.
// Never hangs: after an error of the device every wait ends and nothing more is copied.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <thread>

#include "core/cuda/lanes.h"
#include "core/cuda/staging_ring.h"
#include "core/worker_team.h"

namespace penstock {

class StagedLink {
 public:
  // From a thread that entered the context.
  StagedLink(std::shared_ptr<CudaContext> context, std::shared_ptr<CudaLanes> lanes, const StagingOptions& options);
  // Skips copy-outs that have not begun; waits for the lanes, which use the rings.
  ~StagedLink();
  StagedLink(const StagedLink&) = delete;
  StagedLink& operator=(const StagedLink&) = delete;

  // `to` is device memory. By the fetch lane's issuing thread.
  void fetch(std::span<std::byte> to, std::span<const std::byte> from);
  // `from` is device memory. By the offload lane's issuing thread. Returns the number of copy-outs queued so far.
  uint64_t offload(std::span<std::byte> to, std::span<const std::byte> from);
  // Blocks until the first `count` copy-outs are done; throws the device's first error.
  void wait_copied_out(uint64_t count);

 private:
  void copy_out_loop();
  void copy_out(const CopyOut& item);

  std::shared_ptr<CudaContext> context_;
  std::shared_ptr<CudaLanes> lanes_;
  StagingRing fetch_ring_;
  StagingRing offload_ring_;
  WorkerTeam fetch_team_;
  WorkerTeam copy_out_team_;
  uint64_t fetched_count_ = 0;    // uses of the fetch ring; the fetch lane's thread only
  uint64_t offloaded_count_ = 0;  // uses of the offload ring; the offload lane's thread only

  std::thread copy_out_thread_;  // last: its loop reads all of the above
};

}  // namespace penstock
