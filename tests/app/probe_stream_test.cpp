// The parts of the probe that decide something: medians in turns, the knee, sizes and thread counts; and each
// measurement once, small. Nobody judges how fast this machine is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "app/probe/first_touch.h"
#include "app/probe/stream_rate.h"
#include "app/probe/turns.h"
#include "core/bytes.h"

namespace penstock {
namespace {

using testing::ElementsAre;

TEST(Turns, MedianOfOddAndEvenCounts) {
  EXPECT_EQ(median({3, 1, 100}), 3);
  EXPECT_EQ(median({4, 1, 2, 100}), 3);
}

TEST(Turns, CasesTakeTurnsAndEachGetsItsMedian) {
  std::string order;
  int calls = 0;
  const std::vector<std::function<double()>> cases = {[&] { return order += 'a', ++calls == 1 ? 100.0 : 1.0; },
                                                      [&] { return order += 'b', 7.0; }};
  EXPECT_THAT(medians_by_turns(cases, {.rounds = 3, .seconds = 1e9}), ElementsAre(1, 7));
  EXPECT_EQ(order, "ababab");
}

TEST(Turns, WithoutTimeEveryCaseRunsOnce) {
  int calls = 0;
  const std::vector<std::function<double()>> cases(3, [&] { return static_cast<double>(++calls); });
  EXPECT_THAT(medians_by_turns(cases, {.rounds = 9, .seconds = 0}), ElementsAre(1, 2, 3));
}

std::vector<ThreadRate> curve(const std::vector<double>& gbps) {
  std::vector<ThreadRate> rates;
  for (const double rate : gbps) rates.push_back({static_cast<int>(rates.size()) + 1, rate});
  return rates;
}

TEST(Knee, IsTheFewestThreadsAt95PercentOfTheBest) {
  EXPECT_EQ(find_knee(curve({50})), 1);
  EXPECT_EQ(find_knee(curve({50, 99, 100})), 2);
  EXPECT_EQ(find_knee(curve({50, 94.9, 100})), 3);
  EXPECT_EQ(find_knee(curve({50, 95, 100})), 2);
  EXPECT_EQ(find_knee(curve({10, 20, 30, 40})), 4);
  EXPECT_EQ(find_knee(curve({50, 100, 80, 60})), 2) << "more threads that are slower again";
  EXPECT_EQ(find_knee(std::vector<ThreadRate>{{1, 10}, {4, 100}, {8, 101}}), 4) << "counts with gaps";
}

TEST(StreamSizes, EveryCountToSixteenAndTheLast) {
  EXPECT_THAT(stream_thread_counts(1), ElementsAre(1));
  EXPECT_THAT(stream_thread_counts(3), ElementsAre(1, 2, 3));
  EXPECT_THAT(stream_thread_counts(19), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19));
  const std::vector<int> many = stream_thread_counts(192);
  EXPECT_EQ(many.back(), 192);
  EXPECT_LE(many.size(), 40u);
}

TEST(StreamSizes, ExceedCachesAsFarAsMemoryAllows) {
  EXPECT_EQ(stream_bytes(64 * kMiB, 100 * kGiB, UINT64_MAX), kGiB);
  EXPECT_EQ(stream_bytes(480 * kMiB, 100 * kGiB, UINT64_MAX), 4 * 480 * kMiB);
  EXPECT_EQ(stream_bytes(480 * kMiB, 2 * kGiB, UINT64_MAX), 512 * kMiB);
  EXPECT_EQ(stream_bytes(480 * kMiB, 100 * kGiB, 256 * kMiB), 256 * kMiB);
}

TEST(StreamRate, SaysWhetherTheCachesHoldIt) {
  const StreamSizes sizes{
      .bytes = 4 * kMiB, .cache_bytes = 2 * kMiB, .thread_counts = {1, 2}, .limits = {.rounds = 1, .seconds = 0}};
  const StreamRates rates = measure_stream(sizes);
  EXPECT_EQ(rates.bytes, 4 * kMiB);
  EXPECT_TRUE(rates.beyond_caches);
  ASSERT_EQ(rates.in_place.size(), 2u);
  EXPECT_EQ(rates.in_place[0].threads, 1);
  EXPECT_EQ(rates.in_place[1].threads, 2);
  for (const ThreadRate& rate : rates.in_place) EXPECT_GT(rate.gbps, 0);
  EXPECT_EQ(rates.best_gbps, std::max(rates.in_place[0].gbps, rates.in_place[1].gbps));
  EXPECT_EQ(rates.knee, find_knee(rates.in_place));
  EXPECT_GT(rates.copy_gbps, 0);

  StreamSizes cached = sizes;
  cached.cache_bytes = 2 * kMiB + 1;
  EXPECT_FALSE(measure_stream(cached).beyond_caches);
}

TEST(FirstTouch, MeasuresEachOfTheFour) {
  const FirstTouchTimes times = measure_first_touch(2 * kMiB, 2, {.rounds = 1, .seconds = 0});
  EXPECT_EQ(times.threads, 2);
  for (const double seconds :
       {times.one_thread_huge, times.all_threads_huge, times.one_thread_small, times.all_threads_small}) {
    EXPECT_GT(seconds, 0);
  }
}

}  // namespace
}  // namespace penstock
