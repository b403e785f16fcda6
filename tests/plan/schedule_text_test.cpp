// parse_schedule is the exact inverse of dump_schedule, and broken text is refused with its line.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "core/error.h"
#include "model_grid.h"
#include "random_schedule.h"
#include "step_settings_grid.h"

namespace penstock {
namespace {

TEST(ScheduleText, DumpAndParseAreInverse) {
  for (const auto& [settings, wire] : whole_and_cut_grid()) {
    const StepPlanner plan = planner(settings, wire);
    for (const StepVariant variant : variants_of(settings)) {
      const Schedule schedule = plan.plan(variant);
      ASSERT_TRUE(parse_schedule(dump_schedule(schedule)) == schedule) << describe(settings);
    }
  }
}

TEST(ScheduleText, RandomSchedulesComeBack) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    const Schedule schedule = random_schedule(random);
    ASSERT_TRUE(parse_schedule(dump_schedule(schedule)) == schedule) << "seed " << seed << "\n"
                                                                     << dump_schedule(schedule);
  }
}

TEST(ScheduleText, NoOpsNoBuffers) {
  const Schedule empty(StepVariant::kDrain, 2, {}, {});
  EXPECT_TRUE(parse_schedule(dump_schedule(empty)) == empty);
}

TEST(ScheduleText, Labels) {
  EXPECT_EQ(layer_label(-1, 3), "");
  EXPECT_EQ(layer_label(0, 3), "E");
  EXPECT_EQ(layer_label(1, 3), "0");
  EXPECT_EQ(layer_label(3, 3), "2");
  EXPECT_EQ(layer_label(4, 3), "H");
  EXPECT_EQ(buffer_label({.kind = BufferKind::kHostWire, .index = 4}, 3), "wire(H)");
  EXPECT_EQ(buffer_label({.kind = BufferKind::kHostWire, .index = 1, .piece = 12}, 3), "wire(0:12)");
  EXPECT_EQ(buffer_label({.kind = BufferKind::kHostWire, .piece = kColdRows}, 3), "wire(E:cold)");
  EXPECT_EQ(buffer_label({.kind = BufferKind::kActivation, .index = 2, .micro_batch = 0}, 3), "activation(2,m0)");
  EXPECT_EQ(buffer_label({.kind = BufferKind::kEmbedStaging, .micro_batch = 1}, 3), "embed_staging(m1)");
  EXPECT_EQ(buffer_label({.kind = BufferKind::kDecision}, 3), "decision");
  Op op{
      .kind = OpKind::kForward, .lane = LaneKind::kCompute, .layer = 3, .micro_batch = 1, .accesses = {}, .waits = {}};
  EXPECT_EQ(op_label(op, 3), "Forward(2,m1)");
  op.layer = -1;
  EXPECT_EQ(op_label(op, 3), "Forward(m1)");
  const Op piece{.kind = OpKind::kFetch, .lane = LaneKind::kFetch, .layer = 3, .piece = 4, .accesses = {}, .waits = {}};
  EXPECT_EQ(op_label(piece, 3), "Fetch(2:4)");
  const Op hot{
      .kind = OpKind::kUpdate, .lane = LaneKind::kHost, .layer = 0, .piece = kHotRows, .accesses = {}, .waits = {}};
  EXPECT_EQ(op_label(hot, 3), "Update(E:hot)");
}

TEST(ScheduleText, KindNamesAreDistinct) {
  std::set<std::string_view> names;
  for (int i = 0; i < kOpKindCount; ++i) names.insert(op_kind_name(static_cast<OpKind>(i)));
  for (int i = 0; i < kBufferKindCount; ++i) names.insert(buffer_kind_name(static_cast<BufferKind>(i)));
  EXPECT_EQ(names.size(), static_cast<size_t>(kOpKindCount + kBufferKindCount));
}

constexpr std::string_view kGood =
    "schedule train blocks 2\n"                                               // 1
    "\n"                                                                      // 2
    "buffers 3\n"                                                             // 3
    "  0  wire(0)  10 bytes\n"                                                // 4
    "  1  weight_slot(0)  12 bytes\n"                                         // 5
    "  2  embed_staging(m0)  7 bytes\n"                                       // 6
    "ops 3\n"                                                                 // 7
    "  0  host  Update(0)  after: -  reads wire(0)  writes wire(0)\n"         // 8
    "  1  fetch  Fetch(0)  after: 0  reads wire(0)  writes weight_slot(0)\n"  // 9
    "  2  compute  Forward(0,m0)  after: 1  reads weight_slot(0)\n";          // 10

struct Broken {
  std::string_view from, to;
  int line;
  std::string_view says;
};

TEST(ScheduleText, BrokenTextIsRefusedWithItsLine) {
  ASSERT_NO_THROW(parse_schedule(kGood));
  const Broken cases[] = {
      {"schedule train", "schedule trian", 1, "unknown step variant 'trian'"},
      {"schedule train blocks 2", "train blocks 2", 1, "no header"},
      {"blocks 2", "blocks 0", 1, "bad number of blocks '0'"},
      {"blocks 2", "blocks 99999999999999999999", 1, "bad number of blocks"},
      {"buffers 3", "buffers x", 3, "no line 'buffers COUNT'"},
      {"buffers 3", "buffers 2", 6, "no line 'ops COUNT'"},
      {"buffers 3", "buffers 4", 7, "expected buffer 3, found 'ops'"},
      {"wire(0)  10", "wyre(0)  10", 4, "unknown buffer 'wyre(0)'"},
      {"wire(0)  10", "wire(2)  10", 4, "bad index in buffer 'wire(2)'"},
      {"wire(0)  10", "wire  10", 4, "bad index in buffer 'wire'"},
      {"wire(0)  10 bytes", "wire(0)  -1 bytes", 4, "no size"},
      {"wire(0)  10 bytes", "wire(0)  10", 4, "no size"},
      {"weight_slot(0)  12", "wire(0)  12", 5, "buffer 'wire(0)' comes twice"},
      {"weight_slot(0)  12", "weight_slot()  12", 5, "unknown buffer 'weight_slot()'"},
      {"weight_slot(0)  12", "weight_slot(0  12", 5, "unknown buffer"},
      {"embed_staging(m0)", "embed_staging(m-1)", 6, "unknown buffer"},
      {"embed_staging(m0)", "embed_staging(1,m0)", 6, "bad index"},
      {"  1  fetch", "  2  fetch", 9, "expected op 1, found '2'"},
      {"fetch  Fetch", "ferry  Fetch", 9, "unknown lane 'ferry'"},
      {"Fetch(0)", "Fetsch(0)", 9, "unknown op 'Fetsch(0)'"},
      {"Fetch(0)", "Fetch(9)", 9, "bad layer in op 'Fetch(9)'"},
      {"after: 0", "behind: 0", 9, "no 'after:'"},
      {"after: 0", "after: 1", 9, "wait for '1', which is no earlier op"},
      {"after: 0", "after: x", 9, "wait for 'x', which is no earlier op"},
      {"after: 0", "after:", 9, "nothing behind 'after:'"},
      {"after: 1", "after: 1 0", 10, "waits are not ascending"},
      {"after: 0", "after: 0 0", 9, "waits are not ascending"},
      {"fetch  Fetch", "host  Fetch", 9, "wait for op 0 on the op's own lane"},
      {"after: 1  reads weight", "after: 1  uses weight", 10, "which is no earlier op"},
      {"after: -  reads", "after: -  uses", 8, "expected 'reads' or 'writes', found 'uses'"},
      {"reads weight_slot(0)", "reads weight_slot(1)", 10, "buffer 'weight_slot(1)' is not in the table"},
      {"ops 3", "ops 4", 11, "the text ends before op 3"},
      {"ops 3", "ops 2", 10, "text after the last op"},
  };
  for (const Broken& broken : cases) {
    std::string text(kGood);
    const size_t at = text.find(broken.from);
    ASSERT_NE(at, std::string::npos) << broken.from;
    text.replace(at, broken.from.size(), broken.to);
    try {
      parse_schedule(text);
      ADD_FAILURE() << "accepted: " << broken.to;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      const std::string message = error.what();
      EXPECT_NE(message.find("line " + std::to_string(broken.line) + ":"), std::string::npos) << message;
      EXPECT_NE(message.find(broken.says), std::string::npos) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos);
    }
  }
}

// No prefix of a dump is a schedule, and no cut or changed byte may do worse than throw.
TEST(ScheduleText, DamagedDumpsAreRefusedOrReadNeverWorse) {
  const std::string dump = dump_schedule(planner(training(2, 1, 2)).plan(StepVariant::kTrainPending));
  const size_t last_line = dump.rfind('\n', dump.size() - 2) + 1;
  for (size_t length = 0; length <= last_line; length += 7) {
    EXPECT_THROW(parse_schedule(std::string_view(dump).substr(0, length)), Error) << length;
  }
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = dump;
    damaged[random() % damaged.size()] = static_cast<char>(32 + random() % 95);
    try {
      const Schedule read = parse_schedule(damaged);
      EXPECT_TRUE(parse_schedule(dump_schedule(read)) == read) << "seed 7, round " << round;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
    }
  }
}

}  // namespace
}  // namespace penstock
