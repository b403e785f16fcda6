#include "core/trace.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(Trace, RecordsOpsByIndex) {
  TraceRecorder trace(4);
  trace.record(3, LaneKind::kCompute, 20, 30);
  trace.record(1, LaneKind::kFetch, 5, 5);
  const std::vector<TraceEvent> events = trace.events();
  ASSERT_EQ(events.size(), 2u);  // ops that did not run are absent
  EXPECT_EQ(events[0].op, 1u);
  EXPECT_EQ(events[0].lane, LaneKind::kFetch);
  EXPECT_EQ(events[0].begin_ns, 5);
  EXPECT_EQ(events[0].end_ns, 5);
  EXPECT_EQ(events[1].op, 3u);
  EXPECT_EQ(events[1].lane, LaneKind::kCompute);
  EXPECT_EQ(events[1].begin_ns, 20);
  EXPECT_EQ(events[1].end_ns, 30);
}

TEST(Trace, BeginStepForgets) {
  TraceRecorder trace(2);
  trace.record(0, LaneKind::kHost, 1, 2);
  trace.begin_step();
  EXPECT_TRUE(trace.events().empty());
}

TEST(Trace, ClockDoesNotGoBack) {
  const int64_t before = TraceRecorder::now_ns();
  EXPECT_GE(before, 0);
  EXPECT_GE(TraceRecorder::now_ns(), before);
}

TEST(TraceDeathTest, OpsOutsideTheStepAndTimesThatGoBackAreBugs) {
  TraceRecorder trace(2);
  EXPECT_DEATH(trace.record(2, LaneKind::kHost, 0, 1), "check failed");
  EXPECT_DEATH(trace.record(0, LaneKind::kHost, 2, 1), "check failed");
}

}  // namespace
}  // namespace penstock
