// The block context on host threads: what it promises to kernels, and what it does to those that break its rules.
#include "model/cuda/emulated_block.h"

#include <gtest/gtest.h>

#include <bit>
#include <numeric>

#include "model/cuda/block_reduce.h"

namespace penstock {
namespace {

// A kernel from a lambda: these tests have only one kind of block.
template <class Work>
struct WorkKernel {
  Work work;
  void operator()(EmulatedBlock& block) const { work(block); }
};
template <class Work>
void launch(int threads_per_block, const LaunchShape& shape, const Work& work) {
  EmulatedLauncher launcher(threads_per_block);
  launcher.launch(WorkKernel<Work>{work}, shape);
}

TEST(EmulatedBlock, RunsEveryThreadOfEveryBlockOnce) {
  for (const int threads : {32, 96}) {
    std::vector<int> runs(static_cast<size_t>(5 * threads));
    launch(96, {5, threads, 0}, [&](EmulatedBlock& block) {
      EXPECT_EQ(block.threads(), threads);
      EXPECT_EQ(block.blocks(), 5);
      ++runs[static_cast<size_t>(block.block() * threads + block.thread())];
    });
    EXPECT_EQ(runs, std::vector<int>(runs.size(), 1));
  }
  launch(32, {0, 32, 0}, [](EmulatedBlock&) { FAIL() << "no blocks, no threads"; });
}

TEST(EmulatedBlock, ShufflesStayInTheirWarp) {
  launch(64, {3, 64, 0}, [](EmulatedBlock& block) {
    const int thread = block.thread(), lane = thread % kWarpLanes;
    for (int mask = 1; mask < kWarpLanes; mask *= 2) {
      EXPECT_EQ(block.shuffle_xor(thread * 10, mask), (thread ^ mask) * 10);
      EXPECT_EQ(block.shuffle_down(thread, mask), lane + mask < kWarpLanes ? thread + mask : thread);
      EXPECT_EQ(block.shuffle_xor(thread + 0.5, mask), (thread ^ mask) + 0.5);
    }
  });
}

// 300 barriers, each between a write and the neighbour's read of it.
TEST(EmulatedBlock, BarriersOrderSharedMemory) {
  launch(64, {2, 64, 128 * sizeof(int)}, [](EmulatedBlock& block) {
    int* shared = block.shared<int>();
    const int thread = block.thread(), neighbour = (thread + 37) % 64;
    for (int round = 0; round < 300; ++round) {
      int* row = shared + round % 2 * 64;
      row[thread] = round * 64 + thread;
      block.barrier();
      EXPECT_EQ(row[neighbour], round * 64 + neighbour);
    }
  });
}

TEST(EmulatedBlock, SharedMemoryIsPoisonedForEveryBlock) {
  launch(32, {4, 32, 32 * sizeof(uint32_t)}, [](EmulatedBlock& block) {
    uint32_t* shared = block.shared<uint32_t>();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(shared) % 16, 0u);
    EXPECT_EQ(shared[block.thread()], 0xffffffffu);
    shared[block.thread()] = 0;
  });
}

TEST(EmulatedBlock, ReductionsGiveEveryThreadTheSame) {
  launch(96, {2, 96, kReductionBytes<double> + kReductionBytes<float>}, [](EmulatedBlock& block) {
    double* scratch = block.shared<double>();
    BlockReduction<EmulatedBlock, double> doubles(block, scratch);
    BlockReduction<EmulatedBlock, float> floats(block, reinterpret_cast<float*>(scratch + 2 * kWarpLanes));
    for (int round = 0; round < 5; ++round) {  // more than there are rows of scratch
      EXPECT_EQ(doubles.sum(block.thread() + round), 96 * 95 / 2 + 96 * round);
      EXPECT_EQ(floats.largest(static_cast<float>(block.thread() * 7 % 96 + round)), 95.0f + static_cast<float>(round));
    }
    EXPECT_TRUE(std::isnan(floats.largest(block.thread() == 50 ? NAN : 1.0f)));
  });
}

TEST(EmulatedBlockDeathTest, ThreadsThatDisagreeAboutABarrierEndTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto half_of_them_meet = [](EmulatedBlock& block) {
    if (block.thread() < 16) block.barrier();
  };
  EXPECT_DEATH(launch(32, {1, 32, 0}, half_of_them_meet), "CHECK failed|first_thread_ends");
}

TEST(EmulatedBlockDeathTest, LaunchesOutsideOfTheLimitsEndTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto nothing = [](EmulatedBlock&) {};
  EXPECT_DEATH(launch(32, {1, 64, 0}, nothing), "shape.threads");
  EXPECT_DEATH(launch(64, {1, 48, 0}, nothing), "shape.threads % kWarpLanes");
  EXPECT_DEATH(launch(32, {1, 32, kMostSharedBytes + 1}, nothing), "shape.shared_bytes");
}

}  // namespace
}  // namespace penstock
