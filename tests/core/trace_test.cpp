#include "core/trace.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(Trace, KeepsFinishedOpsInOpOrder) {
  TraceRecorder trace(4);
  const int64_t before = TraceRecorder::now_ns();
  trace.begin(3, LaneKind::kCompute);
  trace.end(3);
  trace.begin(1, LaneKind::kFetch);
  trace.end(1);
  trace.begin(2, LaneKind::kHost);  // never ends
  const std::vector<TraceEvent> events = trace.events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].op, 1u);
  EXPECT_EQ(events[0].lane, LaneKind::kFetch);
  EXPECT_EQ(events[1].op, 3u);
  EXPECT_EQ(events[1].lane, LaneKind::kCompute);
  EXPECT_LE(before, events[1].begin_ns);
  EXPECT_LE(events[1].begin_ns, events[1].end_ns);
  EXPECT_LE(events[1].end_ns, events[0].begin_ns);
}

TEST(Trace, NewStepForgetsTheOld) {
  TraceRecorder trace(2);
  trace.begin(0, LaneKind::kHost);
  trace.end(0);
  trace.begin_step();
  EXPECT_TRUE(trace.events().empty());
}

TEST(TraceDeathTest, MisuseIsABug) {
  TraceRecorder trace(2);
  EXPECT_DEATH(trace.begin(2, LaneKind::kHost), "check failed");
  EXPECT_DEATH(trace.end(0), "check failed");
}

}  // namespace
}  // namespace penstock
