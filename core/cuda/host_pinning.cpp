#include "core/cuda/host_pinning.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "core/check.h"

namespace penstock {
namespace {

const std::byte* end_of(std::span<const std::byte> bytes) { return bytes.data() + bytes.size(); }

bool ends_before(const std::byte* address, std::span<const std::byte> piece) { return address < end_of(piece); }

}  // namespace

void PinnedPieces::add(std::span<const std::byte> piece) {
  std::lock_guard lock(mutex_);
  const auto next = std::upper_bound(pieces_.begin(), pieces_.end(), piece.data(), ends_before);
  CHECK(next == pieces_.end() || end_of(piece) <= next->data());
  pieces_.insert(next, piece);
}

void PinnedPieces::remove(std::span<const std::byte> piece) {
  std::lock_guard lock(mutex_);
  const size_t removed = std::erase_if(pieces_, [&](const auto& known) { return known.data() == piece.data(); });
  CHECK_EQ(removed, 1u);
}

PinnedPieces::Part PinnedPieces::first_part(std::span<const std::byte> bytes) const {
  std::shared_lock lock(mutex_);
  // The first piece that ends behind our first byte: it holds the byte, or begins later.
  const auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), bytes.data(), ends_before);
  if (piece == pieces_.end()) return {.bytes = bytes.size(), .is_pinned = false};
  const bool is_pinned = piece->data() <= bytes.data();
  const std::byte* border = is_pinned ? end_of(*piece) : piece->data();
  return {.bytes = std::min<uint64_t>(bytes.size(), static_cast<uint64_t>(border - bytes.data())),
          .is_pinned = is_pinned};
}

PinAttempt pin_pieces(const std::shared_ptr<CudaContext>& context, std::span<const std::span<std::byte>> pieces) {
  CudaRuntime& runtime = context->runtime();
  PinAttempt attempt{.pinned = {}, .pinned_bytes = 0, .refusal = CudaStatus::kSuccess};
  attempt.pinned.reserve(pieces.size());
  for (const std::span<std::byte> piece : pieces) {
    const CudaStatus status = runtime.register_host(piece.data(), piece.size());
    if (status == CudaStatus::kSuccess) {
      attempt.pinned.emplace_back(context, piece.data());
      attempt.pinned_bytes += piece.size();
      continue;
    }
    attempt.refusal = status;
    attempt.pinned.clear();
    context->check_alive("pinning host memory");  // a lost device refuses too
    return attempt;
  }
  return attempt;
}

CudaHostRegistration::CudaHostRegistration(std::shared_ptr<CudaLanes> lanes, std::shared_ptr<PinnedPieces> registry,
                                           std::vector<std::span<std::byte>> pieces, std::vector<PinnedMemory> pinned)
    : lanes_(std::move(lanes)), registry_(std::move(registry)), pieces_(std::move(pieces)), pinned_(std::move(pinned)) {
  CHECK_EQ(pieces_.size(), pinned_.size());
  for (const std::span<std::byte> piece : pieces_) registry_->add(piece);
}

CudaHostRegistration::~CudaHostRegistration() {
  lanes_->drain_to_release();
  for (const std::span<std::byte> piece : pieces_) registry_->remove(piece);
}

}  // namespace penstock
