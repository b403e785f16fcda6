#include "core/cuda/host_pinning.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/arena.h"
#include "core/cuda/cuda_device.h"
#include "core/cuda/pin_choice.h"
#include "core/cuda/pin_probe.h"
#include "core/cuda/wsl.h"
#include "core/error.h"
#include "core/host_regions.h"
#include "fake_cuda_runtime.h"

namespace penstock {
namespace {

constexpr uint64_t kPage = kHostPageBytes;
using Pieces = std::vector<std::pair<uint64_t, uint64_t>>;  // offset and size

class HostPinning : public testing::Test {
 protected:
  HostRegion region(uint64_t offset, uint64_t bytes, HostUse use = HostUse::kTransfers) {
    return {host_.subspan(offset, bytes), use};
  }
  Pieces offsets(const auto& spans) {
    Pieces found;
    for (const auto& span : spans) found.emplace_back(span.data() - host_.data(), span.size());
    return found;
  }

  Arena arena_{"host", 64 * kPage};
  std::span<std::byte> host_ = arena_.allocate(64 * kPage);
};

TEST_F(HostPinning, RegionsBecomePieces) {
  const std::vector<HostRegion> regions{region(0, kPage + 1), region(2 * kPage, 3 * kPage),
                                        region(6 * kPage, 5, HostUse::kState), region(7 * kPage, kPage),
                                        region(20 * kPage, 1)};
  EXPECT_EQ(offsets(cut_into_pieces(regions, false, 64 * kPage)),
            (Pieces{{0, 5 * kPage}, {6 * kPage, 2 * kPage}, {20 * kPage, kPage}}));
  EXPECT_EQ(offsets(cut_into_pieces(regions, true, 64 * kPage)),
            (Pieces{{0, 5 * kPage}, {7 * kPage, kPage}, {20 * kPage, kPage}}));
  EXPECT_EQ(
      offsets(cut_into_pieces(regions, true, 2 * kPage)),
      (Pieces{{0, 2 * kPage}, {2 * kPage, 2 * kPage}, {4 * kPage, kPage}, {7 * kPage, kPage}, {20 * kPage, kPage}}));
  EXPECT_TRUE(cut_into_pieces({}, false, kPage).empty());
}

TEST_F(HostPinning, PartsOfACopyEndAtBorders) {
  PinnedPieces pieces;
  pieces.add(host_.subspan(30, 10));
  pieces.add(host_.subspan(10, 10));
  pieces.add(host_.subspan(20, 10));
  const auto expect_part = [&](uint64_t begin, uint64_t bytes, uint64_t part_bytes, bool is_pinned) {
    const PinnedPieces::Part part = pieces.first_part(host_.subspan(begin, bytes));
    EXPECT_EQ(part.bytes, part_bytes) << begin;
    EXPECT_EQ(part.is_pinned, is_pinned) << begin;
  };
  expect_part(0, 5, 5, false);
  expect_part(0, 10, 10, false);
  expect_part(0, 11, 10, false);
  expect_part(10, 100, 10, true);
  expect_part(19, 1, 1, true);
  expect_part(19, 2, 1, true);
  expect_part(20, 10, 10, true);
  expect_part(39, 9, 1, true);
  expect_part(40, 9, 9, false);
  pieces.remove(host_.subspan(20, 10));
  expect_part(19, 20, 1, true);
  expect_part(20, 20, 10, false);
}

TEST_F(HostPinning, TheModeSaysWhatIsPinned) {
  const std::vector<HostRegion> regions{region(0, 3 * kPage), region(3 * kPage, 2 * kPage, HostUse::kState),
                                        region(5 * kPage, kPage)};
  const std::vector<std::pair<PinMode, Pieces>> cases{{PinMode::kAll, {{0, 6 * kPage}}},
                                                      {PinMode::kTransfers, {{0, 3 * kPage}, {5 * kPage, kPage}}}};
  for (const auto& [mode, expected] : cases) {
    FakeCudaRuntime runtime;
    {
      CudaDevice device(runtime, {.reserve_bytes = 0, .pin = mode});
      auto registration = device.register_host(regions);
      EXPECT_EQ(offsets(runtime.registrations()), expected) << pin_mode_name(mode);
      EXPECT_EQ(device.pin_report().mode, mode);
      EXPECT_EQ(device.pin_report().pieces, static_cast<int>(expected.size()));
      EXPECT_EQ(device.pin_report().bytes, mode == PinMode::kAll ? 6 * kPage : 4 * kPage);
      EXPECT_GT(device.pin_report().seconds_per_gib(), 0.0);
      EXPECT_NE(device.description().find("s/GiB"), std::string::npos);
      registration.reset();
      EXPECT_TRUE(runtime.registrations().empty());
    }
    EXPECT_EQ(runtime.leaks(), "");
  }
}

TEST_F(HostPinning, StagedPinsNothingOfTheUsers) {
  FakeCudaRuntime runtime;
  CudaDevice device(runtime, {.reserve_bytes = 0, .pin = PinMode::kStaged});
  const auto registration = device.register_host(std::vector<HostRegion>{region(0, 9 * kPage)});
  uint64_t pinned_bytes = 0;
  for (const std::span<const std::byte> piece : runtime.registrations()) {
    EXPECT_TRUE(piece.data() >= host_.data() + host_.size() || piece.data() + piece.size() <= host_.data());
    pinned_bytes += piece.size();
  }
  EXPECT_EQ(pinned_bytes, 128 * kMiB);
  EXPECT_EQ(device.pin_report().bytes, 0u);
}

TEST_F(HostPinning, ARefusalOfAnyPieceFallsBackToStaged) {
  constexpr int kPieces = 5;
  for (int n = 1; n <= kPieces + 1; ++n) {
    FakeCudaRuntime runtime;
    std::vector<std::string> notices;
    {
      CudaDevice device(runtime, {.reserve_bytes = 0,
                                  .pin_piece_bytes = 2 * kPage,
                                  .staging = {.slot_bytes = 4096, .slots = 4},
                                  .notice = [&](const std::string& text) { notices.push_back(text); }});
      runtime.refuse_registration(n);
      const auto registration = device.register_host(std::vector<HostRegion>{region(0, 2 * kPieces * kPage)});
      const auto later = device.register_host(std::vector<HostRegion>{region(30 * kPage, kPage)});
      const bool is_refused = n <= kPieces;
      EXPECT_EQ(device.pin_report().mode, is_refused ? PinMode::kStaged : (n == 6 ? PinMode::kStaged : PinMode::kAll));
      ASSERT_EQ(notices.size(), 1u) << "in one line, once";
      EXPECT_EQ(notices[0].find('\n'), std::string::npos);
      EXPECT_EQ(runtime.registrations().size(), is_refused ? 2u : 7u) << "the rings alone, or what came before";
      const std::span<std::byte> memory = device.allocate("slab", 10 * kPage);
      std::ranges::fill(host_, std::byte{7});
      device.copy(LaneKind::kFetch, memory, host_.first(10 * kPage));
      device.synchronize_all();
      std::ranges::fill(host_, std::byte{0});
      device.copy(LaneKind::kOffload, host_.first(10 * kPage), memory);
      device.synchronize_all();
      EXPECT_EQ(std::ranges::count(host_, std::byte{7}), static_cast<int64_t>(10 * kPage)) << n;
    }
    EXPECT_EQ(runtime.leaks(), "") << n;
    EXPECT_EQ(runtime.counts().pageable_copies, 0) << n;
  }
}

TEST_F(HostPinning, NoticeSaysHowFarPinningCame) {
  FakeCudaRuntime runtime;
  std::string notice;
  CudaDevice device(runtime, {.reserve_bytes = 0, .pin_piece_bytes = kPage, .notice = [&](const std::string& text) {
                                notice = text;
                              }});
  runtime.refuse_registration(3);
  const auto registration = device.register_host(std::vector<HostRegion>{region(0, 4 * kPage)});
  EXPECT_EQ(notice,
            "the system pins only 8.00 KiB of 16.0 KiB of host memory (out of memory): copies go through a small "
            "pinned ring, as with memory.pin: staged");
}

TEST_F(HostPinning, ALostDeviceIsNoRefusal) {
  FakeCudaRuntime runtime;
  bool is_noticed = false;
  {
    CudaDevice device(runtime, {.reserve_bytes = 0, .notice = [&](const std::string&) { is_noticed = true; }});
    runtime.lose_device_at_call(1);
    try {
      device.register_host(std::vector<HostRegion>{region(0, kPage)});
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kDevice);
    }
  }
  EXPECT_FALSE(is_noticed);
  EXPECT_EQ(runtime.leaks(), "");
}

TEST_F(HostPinning, ARingThatIsRefusedIsAnError) {
  FakeCudaRuntime runtime;
  {
    CudaDevice device(runtime, {.reserve_bytes = 0, .pin = PinMode::kStaged});
    runtime.refuse_registration(2);
    try {
      device.register_host(std::vector<HostRegion>{region(0, kPage)});
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kDevice);
      EXPECT_NE(std::string(error.what()).find("memory.pin"), std::string::npos) << error.what();
    }
    EXPECT_THROW(device.synchronize_all(), Error);
  }
  EXPECT_EQ(runtime.leaks(), "");
}

class FakePinProbe final : public PinProbe {
 public:
  explicit FakePinProbe(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}
  uint64_t most_pinnable_bytes(uint64_t wanted_bytes) override {
    ++calls;
    return std::min(wanted_bytes, limit_bytes_);
  }
  int calls = 0;

 private:
  uint64_t limit_bytes_;
};

TEST(PinChoice, NativeLinuxDoesWhatIsAsked) {
  FakePinProbe probe(0);
  EXPECT_EQ(choose_pin_mode(PinRequest::kAuto, false, 100, 40, probe).mode, PinMode::kAll);
  EXPECT_EQ(choose_pin_mode(PinRequest::kAll, false, 100, 40, probe).mode, PinMode::kAll);
  EXPECT_EQ(choose_pin_mode(PinRequest::kTransfers, false, 100, 40, probe).mode, PinMode::kTransfers);
  EXPECT_EQ(choose_pin_mode(PinRequest::kStaged, false, 100, 40, probe).mode, PinMode::kStaged);
  EXPECT_EQ(probe.calls, 0);
}

TEST(PinChoice, Wsl2IsTriedOnlyOnRequest) {
  FakePinProbe probe(1000);
  EXPECT_EQ(choose_pin_mode(PinRequest::kAuto, true, 100, 40, probe).mode, PinMode::kStaged);
  EXPECT_EQ(choose_pin_mode(PinRequest::kStaged, true, 100, 40, probe).mode, PinMode::kStaged);
  EXPECT_EQ(probe.calls, 0);
  EXPECT_EQ(choose_pin_mode(PinRequest::kAll, true, 100, 40, probe).notice, "");
  EXPECT_EQ(probe.calls, 1);
}

TEST(PinChoice, Wsl2GetsWhatItsCeilingAllows) {
  const auto mode = [](PinRequest request, uint64_t limit_bytes) {
    FakePinProbe probe(limit_bytes);
    const PinChoice choice = choose_pin_mode(request, true, 100, 40, probe);
    const PinMode asked = request == PinRequest::kAll ? PinMode::kAll : PinMode::kTransfers;
    EXPECT_EQ(choice.notice.empty(), choice.mode == asked);
    EXPECT_EQ(choice.notice.find('\n'), std::string::npos);
    return choice.mode;
  };
  EXPECT_EQ(mode(PinRequest::kAll, 100), PinMode::kAll);
  EXPECT_EQ(mode(PinRequest::kAll, 99), PinMode::kTransfers);
  EXPECT_EQ(mode(PinRequest::kAll, 40), PinMode::kTransfers);
  EXPECT_EQ(mode(PinRequest::kAll, 39), PinMode::kStaged);
  EXPECT_EQ(mode(PinRequest::kTransfers, 40), PinMode::kTransfers);
  EXPECT_EQ(mode(PinRequest::kTransfers, 39), PinMode::kStaged);
}

class PinProbeFiles : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(testing::TempDir()) /
            ("pin_probe_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_ / "proc/sys/kernel");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& file, const std::string& text) { std::ofstream(root_ / file) << text; }
  std::filesystem::path program(const std::string& script) {
    const std::filesystem::path path = root_ / "program";
    std::ofstream(path) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }
  std::filesystem::path root_;
};

TEST_F(PinProbeFiles, KnowsWsl) {
  EXPECT_FALSE(is_wsl(root_));
  write("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
  write("proc/version", "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)\n");
  EXPECT_FALSE(is_wsl(root_));
  write("proc/sys/kernel/osrelease", "5.15.146.1-microsoft-standard-WSL2\n");
  EXPECT_TRUE(is_wsl(root_));
  write("proc/sys/kernel/osrelease", "6.6.0-own\n");
  write("proc/version", "Linux version 6.6.0-own (me@Microsoft)\n");
  EXPECT_TRUE(is_wsl(root_));
}

TEST_F(PinProbeFiles, ChildTellsHowFarItCame) {
  EXPECT_EQ(run_pin_probe(program("echo \"$1 $2\" > " + (root_ / "arguments").string() + "; echo 5; echo $3"), 2, 77),
            77u);
  std::ifstream arguments(root_ / "arguments");
  std::string line;
  std::getline(arguments, line);
  EXPECT_EQ(line, "pin-probe 2");
  EXPECT_EQ(run_pin_probe(program("echo 1073741824; kill -9 $$"), 0, 1 << 20), 1073741824u) << "ended by the system";
  EXPECT_EQ(run_pin_probe(program("printf '12\\n345'; exit 70"), 0, 1), 12u) << "only whole lines count";
  EXPECT_EQ(run_pin_probe(program("exit 70"), 0, 1), 0u);
  EXPECT_EQ(run_pin_probe(program("echo nonsense"), 0, 1), 0u);
}

TEST_F(PinProbeFiles, AProgramThatIsNotThereIsAnError) {
  try {
    run_pin_probe(root_ / "absent", 0, 1);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kIo);
  }
}

TEST(PinProbe, PinsUntilItIsRefused) {
  FakeCudaRuntime runtime;
  std::ostringstream output;
  EXPECT_EQ(pin_probe_main(runtime, 1, 3 * kPage, output), 0);
  EXPECT_EQ(output.str(), "12288\n");
  runtime.refuse_registration(2);
  output.str("");
  EXPECT_EQ(pin_probe_main(runtime, 1, kPinPieceBytes + kPage, output), 0);
  EXPECT_EQ(output.str(), "1073741824\n");
  EXPECT_EQ(runtime.leaks(), "");
  FakeCudaRuntime without_card({.count_status = CudaStatus::kNoDevice});
  EXPECT_THROW(pin_probe_main(without_card, 0, kPage, output), Error);
}

}  // namespace
}  // namespace penstock
