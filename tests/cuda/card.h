// A card for tests: one compute stream, its arithmetic, and memory on it.
#pragma once

#include "../model/decoder_steps.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/cuda_maths.h"
#include "model/cuda_memory.h"
#include "model/cuda_numerics.h"

namespace penstock {

inline void require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Copies are queued on the stream that computes, and waited for: nothing else orders them with its work.
class CardMemory final : public StepMemory {
 public:
  explicit CardMemory(cudaStream_t stream) : stream_(stream) {}
  ~CardMemory() override {
    for (void* block : blocks_) cudaFree(block);
  }
  std::span<std::byte> take(uint64_t bytes) override {
    void* block = nullptr;
    require(cudaMalloc(&block, std::max<uint64_t>(bytes, 1)), "cudaMalloc");
    blocks_.push_back(block);
    require(cudaMemsetAsync(block, 0xff, bytes, stream_), "cudaMemsetAsync");
    return {static_cast<std::byte*>(block), bytes};
  }
  void write(std::span<std::byte> to, std::span<const std::byte> from) override {
    copy(to.data(), from.data(), from.size(), cudaMemcpyHostToDevice);
  }
  void read(std::span<std::byte> to, std::span<const std::byte> from) override {
    copy(to.data(), from.data(), to.size(), cudaMemcpyDeviceToHost);
  }
  std::span<std::byte> placed(std::span<const std::byte> values) {
    const std::span<std::byte> place = take(values.size());
    write(place, values);
    return place;
  }

 private:
  void copy(void* to, const void* from, uint64_t bytes, cudaMemcpyKind kind) {
    require(cudaMemcpyAsync(to, from, bytes, kind, stream_), "cudaMemcpyAsync");
    require(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

  cudaStream_t stream_;
  std::vector<void*> blocks_;
};

class Card {
 public:
  explicit Card(const CudaNumerics& numerics = {}) {
    prepare_cuda_environment();
    require(cudaSetDevice(0), "cudaSetDevice");
    require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    maths_ = make_cuda_maths(stream_, 0, /*temporary_bytes=*/0, numerics);
  }
  ~Card() {
    cudaStreamSynchronize(stream_);
    maths_.reset();
    cudaStreamDestroy(stream_);
  }
  Card(const Card&) = delete;
  Card& operator=(const Card&) = delete;

  cudaStream_t stream() const { return stream_; }
  Maths& maths() { return *maths_; }
  c10::Device device() const { return {c10::kCUDA, 0}; }

 private:
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<Maths> maths_;
};

}  // namespace penstock
