// Counter-based random numbers: the value depends on (seed, stream, index) only, never on order or threads.
// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11). No std distributions: their
// results differ between standard libraries.
#pragma once

#include <array>
#include <cstdint>

namespace penstock {

// Four independent 32-bit words for (key, counter). Seven rounds pass every statistical test known to the paper; ten
// leave a margin, which is what draws of values use. Seven are for where they are the cost (optim/philox_lanes.h).
inline constexpr int kPhiloxRounds = 10;
std::array<uint32_t, 4> philox4x32(uint64_t key, uint64_t counter_low, uint64_t counter_high,
                                   int rounds = kPhiloxRounds);

// Use one kind of draw per stream: bits32, bits64, uniform and normal at one index are not independent of each other.
class CounterRandom {
 public:
  // `stream` separates uses of one seed (a tensor's index, an epoch, a sampler).
  CounterRandom(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  uint32_t bits32(uint64_t index) const;
  uint64_t bits64(uint64_t index) const;
  // Uniform in [0, 1), 24 bits.
  float uniform(uint64_t index) const;
  // Uniform in [0, 1), 53 bits.
  double uniform_double(uint64_t index) const;
  // Standard normal by Box-Muller in double; elements 2i and 2i+1 share one Philox block.
  float normal(uint64_t index) const;
  // Uniform integer in [0, bound), bound > 0, unbiased enough for shuffles (64-bit multiply-shift).
  uint64_t below(uint64_t index, uint64_t bound) const;

 private:
  uint64_t seed_;
  uint64_t stream_;
};

}  // namespace penstock
