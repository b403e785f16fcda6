// The race check against brute force, and against schedules with one edge deleted.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <utility>

#include "model_grid.h"
#include "random_schedule.h"
#include "reachability_oracle.h"
#include "schedule_edits.h"
#include "step_settings_grid.h"
#include "streaming/plan/schedule_check.h"

namespace penstock {
namespace {

constexpr size_t kMostFindings = 20;  // what find_races reports at most

// The number behind "[op " at `at`, in the numbering of both steps one after the other.
size_t named_op(const std::string& text, size_t at, size_t first_step_ops) {
  EXPECT_NE(at, std::string::npos) << text;
  size_t length = 0;
  const size_t op = std::stoul(text.substr(at + 4), &length);
  return text.compare(at + 4 + length, 13, ", second step") == 0 ? op + first_step_ops : op;
}

std::set<OpPair> named_pairs(const std::vector<ScheduleFinding>& findings, size_t first_step_ops = 0) {
  std::set<OpPair> pairs;
  for (const ScheduleFinding& finding : findings) {
    const size_t first = finding.what.find("[op ");
    const size_t second = finding.what.find("[op ", first + 1);
    const OpPair pair(named_op(finding.what, first, first_step_ops), named_op(finding.what, second, first_step_ops));
    EXPECT_TRUE(pairs.insert(pair).second) << "reported twice: " << finding.what;
  }
  return pairs;
}

void expect_same(const std::set<OpPair>& reported, const std::set<OpPair>& expected) {
  if (expected.size() <= kMostFindings) {
    EXPECT_EQ(reported, expected);
    return;
  }
  EXPECT_EQ(reported.size(), kMostFindings);
  for (const OpPair& pair : reported) EXPECT_TRUE(expected.contains(pair));
}

TEST(ScheduleRace, AgreesWithFloydWarshallOnRandomSchedules) {
  int racy = 0;
  int clean = 0;
  for (unsigned seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Schedule schedule = random_schedule(random);
    const std::set<OpPair> expected = racing_pairs({&schedule});
    expect_same(named_pairs(find_races(schedule)), expected);
    ASSERT_FALSE(HasFailure()) << dump_schedule(schedule);
    (expected.empty() ? clean : racy)++;
  }
  EXPECT_GT(racy, 200);  // both kinds must really occur
  EXPECT_GT(clean, 200);
}

TEST(ScheduleRace, AgreesWithFloydWarshallAtRandomJoins) {
  int racy = 0;
  int clean = 0;
  for (unsigned seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const BufferTable table = random_table(random);
    const Schedule first = random_built_schedule(random, table);
    const Schedule second = random_built_schedule(random, table);
    const std::set<OpPair> expected = racing_pairs({&first, &second});
    expect_same(named_pairs(find_join_races(first, second), first.ops().size()), expected);
    ASSERT_FALSE(HasFailure()) << dump_schedule(first) << dump_schedule(second);
    (expected.empty() ? clean : racy)++;
  }
  EXPECT_GT(racy, 200);
  EXPECT_GT(clean, 200);
}

TEST(ScheduleRace, BuilderOrdersEveryConflictWithNoEdgeTooMany) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Schedule schedule = random_built_schedule(random);
    ASSERT_TRUE(racing_pairs({&schedule}).empty()) << dump_schedule(schedule);
    for (OpIndex op = 0; op < schedule.ops().size(); ++op) {
      for (size_t wait = 0; wait < schedule.ops()[op].waits.size(); ++wait) {
        const Schedule less = without_edge(schedule, op, wait);
        ASSERT_FALSE(racing_pairs({&less}).empty()) << "edge of op " << op << " is not needed\n"
                                                    << dump_schedule(schedule);
      }
    }
  }
}

TEST(ScheduleRace, NamesBothOpsAndTheBuffer) {
  const Schedule schedule = planner(training(3, 1, 1)).plan(StepVariant::kTrain);
  const OpIndex forward = find_op(schedule, "Forward(2,m0)");
  const Schedule racy = with_edited_op(schedule, forward, [](Op& op) { op.waits.clear(); });
  const std::vector<ScheduleFinding> findings = find_races(racy);
  ASSERT_FALSE(findings.empty());
  EXPECT_NE(findings.front().what.find("race on weight_slot(0): Fetch(2) [op"), std::string::npos)
      << findings.front().what;
  EXPECT_NE(findings.front().what.find("and Forward(2,m0) [op " + std::to_string(forward)), std::string::npos);
}

// Deletes edges one by one; returns how many there were.
size_t expect_every_edge_needed(const Schedule& schedule) {
  size_t edges = 0;
  for (OpIndex op = 0; op < schedule.ops().size(); ++op) {
    for (size_t wait = 0; wait < schedule.ops()[op].waits.size(); ++wait) {
      ++edges;
      const Schedule racy = without_edge(schedule, op, wait);
      EXPECT_FALSE(find_races(racy).empty())
          << "deleting op " << op << "'s wait for op " << schedule.ops()[op].waits[wait] << " is not noticed\n"
          << dump_schedule(schedule);
    }
  }
  return edges;
}

// The same for every schedule of a grid, up to the first failure.
size_t expect_every_edge_needed(const std::vector<StepSettings>& grid, Wire wire = Wire::kWhole) {
  size_t edges = 0;
  for (const StepSettings& settings : grid) {
    const StepPlanner plan = planner(settings, wire);
    for (const StepVariant variant : variants_of(settings)) {
      SCOPED_TRACE(describe(settings, wire) + " " + std::string(step_variant_name(variant)));
      edges += expect_every_edge_needed(plan.plan(variant));
      if (testing::Test::HasFailure()) return edges;
    }
  }
  return edges;
}

TEST(ScheduleRace, DeletingAnyEdgeOfAnyTrainingScheduleIsReported) {
  EXPECT_GT(expect_every_edge_needed(training_grid()), 100'000u);
}

TEST(ScheduleRace, DeletingAnyEdgeOfAnyForwardOnlyScheduleIsReported) {
  EXPECT_GT(expect_every_edge_needed(forward_only_grid()), 1'000u);
}

TEST(ScheduleRace, DeletingAnyEdgeOfTiedFrozenOrSplitSchedulesIsReported) {
  EXPECT_GT(expect_every_edge_needed(model_grid()), 50'000u);
}

TEST(ScheduleRace, DeletingAnyEdgeOfSchedulesInPiecesIsReported) {
  std::vector<StepSettings> grid;
  for (const StepSettings& settings : model_grid()) {
    if (settings.purpose == Purpose::kTrain && settings.update == UpdateMode::kDeferred) grid.push_back(settings);
  }
  EXPECT_GT(expect_every_edge_needed(grid, Wire::kCut), 50'000u);
}

// A step whose closing op waits for nothing lets the next one begin under its work.
TEST(ScheduleRace, JoinRaceIsReportedWhenTheClosingOpWaitsForNothing) {
  const StepPlanner plan = planner(training(3, 1, 2));
  const Schedule evaluation = plan.plan(StepVariant::kEval);
  const OpIndex report = find_op(evaluation, "Report");
  const Schedule hasty = with_edited_op(evaluation, report, [](Op& op) {
    op.waits.clear();
    op.accesses.clear();
  });
  ASSERT_TRUE(find_races(hasty).empty());
  const std::vector<ScheduleFinding> findings = find_join_races(hasty, evaluation);
  ASSERT_FALSE(findings.empty());
  EXPECT_NE(findings.front().what.find("first step"), std::string::npos) << findings.front().what;
  EXPECT_NE(findings.front().what.find("second step"), std::string::npos);
  EXPECT_TRUE(find_join_races(evaluation, hasty).empty());
}

}  // namespace
}  // namespace penstock
