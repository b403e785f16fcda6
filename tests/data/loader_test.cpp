#include "data/loader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>

namespace penstock {
namespace {

StepBatch numbered(int64_t number) {
  StepBatch step;
  step.trained_tokens = number;
  return step;
}

TEST(Loader, DeliversInOrderAndIsNeverMoreThanOneAhead) {
  std::atomic<int64_t> asked = 0;
  int64_t made = 0;
  int64_t too_early = 0;
  {
    Loader loader([&] {
      if (made > asked) ++too_early;  // step n + 1 before step n was asked for
      return numbered(made++);
    });
    for (int64_t i = 0; i < 1000; ++i) {
      ++asked;
      ASSERT_EQ(loader.next().trained_tokens, i);
    }
  }
  EXPECT_EQ(too_early, 0);
  EXPECT_GE(made, 1000);
  EXPECT_LE(made, 1001);
}

TEST(Loader, MakesTheNextStepUnasked) {
  std::latch second_begun(1);
  int64_t made = 0;
  Loader loader([&] {
    if (made == 1) second_begun.count_down();
    return numbered(made++);
  });
  loader.next();
  second_begun.wait();  // nobody asks for step 1 here
  EXPECT_EQ(loader.next().trained_tokens, 1);
}

TEST(Loader, AnExceptionComesOutAfterTheStepsBeforeItAndStays) {
  int64_t made = 0;
  Loader loader([&]() -> StepBatch {
    if (made == 2) throw std::runtime_error("broken row");
    return numbered(made++);
  });
  EXPECT_EQ(loader.next().trained_tokens, 0);
  EXPECT_EQ(loader.next().trained_tokens, 1);
  for (int i = 0; i < 2; ++i) {
    try {
      loader.next();
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "broken row");
    }
  }
}

TEST(Loader, EndsWhileItsThreadWaitsForRoom) {
  std::latch made(1);
  int64_t calls = 0;
  {
    Loader loader([&] {
      if (calls++ == 0) made.count_down();
      return numbered(0);
    });
    made.wait();
  }
  EXPECT_EQ(calls, 1);  // nothing was taken, so nothing more was made
}

TEST(Loader, EndsWhileTheSourceIsAtWork) {
  std::latch begun(1);
  std::latch released(1);
  std::optional<Loader> loader;
  loader.emplace([&] {
    begun.count_down();
    released.wait();
    return numbered(0);
  });
  begun.wait();
  std::thread releaser([&] { released.count_down(); });
  loader.reset();
  releaser.join();
}

TEST(Loader, EndsAfterAnException) {
  std::latch thrown(1);
  Loader loader([&]() -> StepBatch {
    thrown.count_down();
    throw std::runtime_error("unread");
  });
  thrown.wait();
}

}  // namespace
}  // namespace penstock
