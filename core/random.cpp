#include "core/random.h"

#include <cmath>
#include <numbers>

#include "core/check.h"

namespace penstock {
namespace {

constexpr uint64_t kMultiplier0 = 0xD2511F53u;
constexpr uint64_t kMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kWeyl0 = 0x9E3779B9u;  // golden ratio
constexpr uint32_t kWeyl1 = 0xBB67AE85u;  // sqrt(3) - 1

constexpr uint64_t join_words(uint32_t low, uint32_t high) { return static_cast<uint64_t>(high) << 32 | low; }
constexpr double double_from_bits(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

}  // namespace

std::array<uint32_t, 4> philox4x32(uint64_t key, uint64_t counter_low, uint64_t counter_high, int rounds) {
  auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
  auto high = [](uint64_t value) { return static_cast<uint32_t>(value >> 32); };
  std::array<uint32_t, 4> words = {low(counter_low), high(counter_low), low(counter_high), high(counter_high)};
  uint32_t key0 = low(key);
  uint32_t key1 = high(key);
  for (int round = 0; round < rounds; ++round) {
    const uint64_t product0 = kMultiplier0 * words[0];
    const uint64_t product1 = kMultiplier1 * words[2];
    words = {high(product1) ^ words[1] ^ key0, low(product1), high(product0) ^ words[3] ^ key1, low(product0)};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return words;
}

uint32_t CounterRandom::bits32(uint64_t index) const { return philox4x32(seed_, index / 4, stream_)[index % 4]; }

uint64_t CounterRandom::bits64(uint64_t index) const {
  const std::array<uint32_t, 4> words = philox4x32(seed_, index / 2, stream_);
  return index % 2 == 0 ? join_words(words[0], words[1]) : join_words(words[2], words[3]);
}

float CounterRandom::uniform(uint64_t index) const { return static_cast<float>(bits32(index) >> 8) * 0x1p-24f; }

double CounterRandom::uniform_double(uint64_t index) const { return double_from_bits(bits64(index)); }

float CounterRandom::normal(uint64_t index) const {
  const std::array<uint32_t, 4> words = philox4x32(seed_, index / 2, stream_);
  const double radius_uniform = 1.0 - double_from_bits(join_words(words[0], words[1]));  // in (0, 1]: log stays finite
  const double angle = 2.0 * std::numbers::pi * double_from_bits(join_words(words[2], words[3]));
  const double radius = std::sqrt(-2.0 * std::log(radius_uniform));
  return static_cast<float>(radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle)));
}

uint64_t CounterRandom::below(uint64_t index, uint64_t bound) const {
  CHECK_GT(bound, 0u);
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(static_cast<Wide>(bits64(index)) * bound >> 64);
}

}  // namespace penstock
