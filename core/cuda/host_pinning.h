// Which host memory is pinned, in which pieces, and what a refusal leads to.
// A copy must not cross the border of two pieces (CUDA refuses it), so copies ask here for where the next border is.
#pragma once

#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/cuda/lanes.h"

namespace penstock {

// all: every region. transfers: only what crosses the link. staged: none; copies go through a small pinned ring.
enum class PinMode : uint8_t { kAll, kTransfers, kStaged };

constexpr std::string_view pin_mode_name(PinMode mode) {
  constexpr std::string_view kNames[] = {"all", "transfers", "staged"};
  return kNames[static_cast<int>(mode)];
}

// What is pinned at once. A refusal then costs at most this much work, and drivers and kernels that cap one
// registration are known to do so at 1 GiB or above. Smaller pieces would only add copy borders.
inline constexpr uint64_t kPinPieceBytes = kGiB;

struct PinReport {
  PinMode mode = PinMode::kStaged;  // what is done now: staged after a refusal
  uint64_t bytes = 0;               // pinned of the caller's memory
  int pieces = 0;
  double seconds = 0;  // that pinning took

  double seconds_per_gib() const {
    return bytes == 0 ? 0 : seconds / (static_cast<double>(bytes) / static_cast<double>(kGiB));
  }
};

// The pinned pieces of all registrations of a device. Thread-safe.
class PinnedPieces {
 public:
  struct Part {
    uint64_t bytes;  // at most what was asked for
    bool is_pinned;
  };

  void add(std::span<const std::byte> piece);
  void remove(std::span<const std::byte> piece);
  // How much of `bytes`, from its begin, one copy may cover: it lies in one piece, or in none.
  Part first_part(std::span<const std::byte> bytes) const;

 private:
  mutable std::shared_mutex mutex_;
  std::vector<std::span<const std::byte>> pieces_;  // ascending
};

// Pins pieces in order. Stops at the first refusal, which it returns with nothing left pinned; a refusal is the
// system's "not this much", and throws only if the device is lost.
struct PinAttempt {
  std::vector<PinnedMemory> pinned;
  uint64_t pinned_bytes;  // before the refusal, if there was one
  CudaStatus refusal;     // kSuccess: none
};
PinAttempt pin_pieces(const std::shared_ptr<CudaContext>& context, std::span<const std::span<std::byte>> pieces);

class CudaHostRegistration final : public HostRegistration {
 public:
  CudaHostRegistration(std::shared_ptr<CudaLanes> lanes, std::shared_ptr<PinnedPieces> registry,
                       std::vector<std::span<std::byte>> pieces, std::vector<PinnedMemory> pinned);
  // Waits for the lanes and the copies behind them, pinned or not: what is queued may use the memory.
  ~CudaHostRegistration() override;

 private:
  std::shared_ptr<CudaLanes> lanes_;
  std::shared_ptr<PinnedPieces> registry_;
  std::vector<std::span<std::byte>> pieces_;
  std::vector<PinnedMemory> pinned_;
};

}  // namespace penstock
