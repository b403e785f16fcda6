// Memory that an arithmetic computes on, as tests reach it.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "guarded_bytes.h"

namespace penstock {

// The memory a Maths computes on. What it took lives as long as it does.
class StepMemory {
 public:
  virtual ~StepMemory() = default;
  virtual std::span<std::byte> take(uint64_t bytes) = 0;  // NaN patterns, on a 256-byte border
  virtual void write(std::span<std::byte> to, std::span<const std::byte> from) = 0;
  virtual void read(std::span<std::byte> to, std::span<const std::byte> from) = 0;
};

class GuardedMemory final : public StepMemory {
 public:
  std::span<std::byte> take(uint64_t bytes) override {
    blocks_.push_back(std::make_unique<GuardedBytes>(bytes));
    return blocks_.back()->span();
  }
  void write(std::span<std::byte> to, std::span<const std::byte> from) override {
    std::copy(from.begin(), from.end(), to.begin());
  }
  void read(std::span<std::byte> to, std::span<const std::byte> from) override {
    std::copy(from.begin(), from.end(), to.begin());
  }

 private:
  std::vector<std::unique_ptr<GuardedBytes>> blocks_;
};

}  // namespace penstock
