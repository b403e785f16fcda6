#include "core/arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "core/bytes.h"
#include "core/error.h"
#include "core/poison.h"
#include "fake_host_memory.h"

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

TEST(Arena, LargeOnesStartOnAHugePageAndAreOfExactSize) {
  FakeHostMemory system;
  {
    std::vector<Arena> arenas;  // one after the other, so that not every mapping is aligned by chance
    for (const uint64_t bytes : {kHugePageBytes, kHugePageBytes + 1, 5 * kHugePageBytes - 4096, 3 * kHugePageBytes}) {
      const uint64_t before = system.mapped_bytes();
      arenas.emplace_back("test", bytes, ArenaOptions{.calls = &system});
      const std::span<std::byte> all = arenas.back().allocate(align_up(bytes, 4096));
      EXPECT_EQ(address(all) % kHugePageBytes, 0u);
      EXPECT_EQ(system.mapped_bytes() - before, align_up(bytes, 4096));
      all.front() = all.back() = std::byte{1};
    }
  }
  EXPECT_EQ(system.mapped_bytes(), 0u);
}

TEST(Arena, SmallOnesWasteNothing) {
  FakeHostMemory system;
  const Arena arena("test", kHugePageBytes - 4096, {.calls = &system});
  EXPECT_EQ(system.mapped_bytes(), kHugePageBytes - 4096);
  EXPECT_EQ(system.calls(MemoryCall::kUnmap), 0);
}

bool was_advised(const FakeHostMemory& system, const Arena& arena, int advice) {
  return std::ranges::any_of(system.advices, [&](const FakeHostMemory::Advice& given) {
    return given.advice == advice && given.bytes == arena.capacity_bytes();
  });
}

TEST(Arena, AsksForWhatTheOptionsSay) {
  for (const bool huge_pages : {true, false}) {
    for (const std::optional<int> node : {std::optional<int>(), std::optional<int>(0)}) {
      FakeHostMemory system;
      const Arena arena("test", 3 * kHugePageBytes, {.huge_pages = huge_pages, .node = node, .calls = &system});
      EXPECT_TRUE(was_advised(system, arena, MADV_DONTFORK));
      EXPECT_EQ(was_advised(system, arena, MADV_HUGEPAGE), huge_pages);
      EXPECT_EQ(was_advised(system, arena, MADV_NOHUGEPAGE), !huge_pages);
      EXPECT_EQ(system.nodes, node ? std::vector<int>{0} : std::vector<int>());
    }
  }
}

// Each refusal of a wish is one line, and the arena is there.
TEST(Arena, RefusedWishesAreNotices) {
  for (const auto& [kind, n, word] : {std::tuple(MemoryCall::kAdvise, 1, "child processes"),
                                      {MemoryCall::kAdvise, 2, "2 MiB pages"},
                                      {MemoryCall::kPreferNode, 1, "NUMA node 0"}}) {
    FakeHostMemory system;
    system.refuse(kind, n, EPERM);
    std::vector<std::string> notices;
    Arena arena("weights", 4096,
                {.node = 0, .notice = [&](const std::string& line) { notices.push_back(line); }, .calls = &system});
    arena.allocate(4096)[0] = std::byte{1};
    ASSERT_EQ(notices.size(), 1u) << word;
    EXPECT_NE(notices[0].find("'weights'"), std::string::npos) << notices[0];
    EXPECT_NE(notices[0].find(word), std::string::npos) << notices[0];
    EXPECT_EQ(notices[0].find('\n'), std::string::npos);
  }
}

TEST(Arena, UnknownNodeIsANotice) {
  std::vector<std::string> notices;
  const Arena arena("test", 4096, {.node = 4095, .notice = [&](const std::string& line) { notices.push_back(line); }});
  EXPECT_EQ(notices.size(), 1u);
}

// A notice that throws must not keep the mapping.
TEST(Arena, NothingStaysAfterAnError) {
  FakeHostMemory system;
  system.refuse(MemoryCall::kAdvise, 1, EINVAL);
  const ArenaOptions throwing{.notice = [](const std::string&) { throw std::runtime_error("no"); }, .calls = &system};
  EXPECT_THROW(Arena("test", 3 * kHugePageBytes, throwing), std::runtime_error);
  EXPECT_EQ(system.mapped_bytes(), 0u);
  for (int n = 1; n <= 2; ++n) {  // the cuts before and behind the aligned part
    FakeHostMemory cutting;
    cutting.refuse(MemoryCall::kUnmap, n, ENOMEM);
    try {
      const Arena arena("test", 3 * kHugePageBytes, {.calls = &cutting});
      EXPECT_LT(cutting.calls(MemoryCall::kUnmap), n);  // aligned by chance: one cut
      cutting.refuse(MemoryCall::kUnmap, 0, 0);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kDoesNotFit);
    }
    EXPECT_EQ(cutting.mapped_bytes(), 0u);
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
