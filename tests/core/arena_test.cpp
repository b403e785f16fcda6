#include "core/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/bytes.h"
#include "core/error.h"
#include "core/poison.h"

namespace penstock {
namespace {

bool all_equal(std::span<const std::byte> bytes, std::byte value) {
  return std::ranges::all_of(bytes, [value](std::byte byte) { return byte == value; });
}

uint64_t address(std::span<const std::byte> bytes) { return reinterpret_cast<uint64_t>(bytes.data()); }

TEST(Arena, HandsOutZeroedAlignedPieces) {
  Arena arena("test", 3 * 4096 + 1);
  EXPECT_EQ(arena.capacity_bytes(), 4u * 4096);
  const std::span<std::byte> first = arena.allocate(100);
  const std::span<std::byte> second = arena.allocate(10, 256);
  const std::span<std::byte> third = arena.allocate(4096);
  EXPECT_EQ(first.size(), 100u);
  EXPECT_EQ(address(first) % 4096, 0u);
  EXPECT_EQ(second.data(), first.data() + 256);
  EXPECT_EQ(third.data(), first.data() + 4096);
  EXPECT_EQ(arena.used_bytes(), 2u * 4096);
  EXPECT_TRUE(all_equal(first, std::byte{0}));
  EXPECT_TRUE(all_equal(third, std::byte{0}));
  std::ranges::fill(third, std::byte{7});  // writable to the last byte
}

TEST(Arena, CanBeUsedToTheLastByte) {
  Arena arena("test", 4096);
  EXPECT_EQ(arena.allocate(4095, 1).size(), 4095u);
  EXPECT_EQ(arena.allocate(1, 1).size(), 1u);
  EXPECT_TRUE(arena.allocate(0, 1).empty());
}

TEST(Arena, EmptyOne) {
  Arena arena("nothing", 0);
  EXPECT_EQ(arena.capacity_bytes(), 0u);
  EXPECT_TRUE(arena.allocate(0).empty());
}

TEST(Arena, MovesItsMapping) {
  Arena to("to", 8192);
  std::span<std::byte> bytes;
  {
    Arena from("from", 4096);
    bytes = from.allocate(64);
    bytes[0] = std::byte{42};
    to = std::move(from);
  }
  EXPECT_EQ(bytes[0], std::byte{42});  // a fault if the mapping went with `from`
  EXPECT_EQ(to.capacity_bytes(), 4096u);
  EXPECT_EQ(to.allocate(64, 64).data(), bytes.data() + 64);
  const Arena last(std::move(to));
  EXPECT_EQ(bytes[0], std::byte{42});
}

TEST(Arena, ImpossibleSizeIsRefused) {
  for (const uint64_t bytes : {uint64_t{1} << 60, UINT64_MAX}) {
    try {
      const Arena arena("weights", bytes);
      FAIL() << "not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kDoesNotFit);
      const std::string text = error.what();
      EXPECT_NE(text.find("'weights'"), std::string::npos) << text;
      EXPECT_NE(text.find(format_bytes(bytes)), std::string::npos) << text;
    }
  }
}

TEST(ArenaDeathTest, MisuseIsABug) {
  Arena arena("test", 4096);
  EXPECT_DEATH(arena.allocate(4097), "check failed");
  EXPECT_DEATH(arena.allocate(1, 3), "check failed");
  EXPECT_DEATH(arena.allocate(1, 1 << 20), "check failed");
  arena.allocate(1);
  EXPECT_DEATH(arena.allocate(1, 4096).size(), "check failed");
  arena.seal();
  EXPECT_DEATH(arena.allocate(1, 1), "check failed: !sealed_");
}

TEST(Poison, IsNanInBothTypes) {
  alignas(4) std::byte bytes[8] = {};
  std::ranges::fill(std::span(bytes).first(4), kPoison);
  float value = 0;
  std::memcpy(&value, bytes, sizeof value);
  EXPECT_NE(value, value);
  EXPECT_TRUE(all_equal(std::span(bytes).subspan(4), std::byte{0}));
}

}  // namespace
}  // namespace penstock
