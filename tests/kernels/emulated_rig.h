// The kernels on host threads. Each piece of memory is one allocation, so that the address sanitizer sees its ends.
#pragma once

#include <cstring>
#include <memory>
#include <new>

#include "kernel_rig.h"
#include "model/cuda/emulated_kernel_set.h"

namespace penstock {

class EmulatedRig final : public KernelRig {
 public:
  explicit EmulatedRig(int threads) : kernels_(make_emulated_kernel_set(threads)) {}

  KernelSet& kernels() override { return *kernels_; }
  void* put_bytes(std::span<const std::byte> bytes) override {
    Piece piece(static_cast<std::byte*>(::operator new (bytes.size(), std::align_val_t{kBorder})));
    if (!bytes.empty()) std::memcpy(piece.get(), bytes.data(), bytes.size());
    pieces_.push_back(std::move(piece));
    return pieces_.back().get();
  }
  void get_bytes(const void* from, std::span<std::byte> to) override {
    if (!to.empty()) std::memcpy(to.data(), from, to.size());
  }

 private:
  static constexpr size_t kBorder = 64;
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete (bytes, std::align_val_t{kBorder}); }
  };
  using Piece = std::unique_ptr<std::byte[], Free>;

  std::unique_ptr<KernelSet> kernels_;
  std::vector<Piece> pieces_;
};

}  // namespace penstock
