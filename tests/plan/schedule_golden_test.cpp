// Schedules as text, compared with tests/golden and read in review. After a wanted change:
//   PENSTOCK_UPDATE_GOLDEN=1 build/release/tests/test_plan --gtest_filter='*ScheduleGolden*'
// and read the diff.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "model_grid.h"
#include "step_settings_grid.h"

namespace penstock {
namespace {

struct GoldenCase {
  const char* name;
  StepSettings settings;
  StepVariant variant;
  Wire wire = Wire::kWhole;
};

StepSettings with_purpose(Purpose purpose, int block_count) {
  StepSettings settings;
  settings.purpose = purpose;
  settings.block_count = block_count;
  return settings;
}

std::vector<GoldenCase> golden_cases() {
  const StepSettings base = training(3, 1, 2);
  StepSettings eager = base;
  eager.update = UpdateMode::kEager;
  StepSettings fp32_wire = base;
  fp32_wire.packs_gradients = false;
  StepSettings deep = training(5, 3, 1);
  deep.gradient_slots = 3;
  StepSettings tied = base;
  tied.tied_head = true;
  StepSettings parts = tied;
  parts.head_parts = 3;
  StepSettings decode_parts = with_purpose(Purpose::kGenerate, 2);
  decode_parts.head_parts = 3;
  return {
      {"train-pieces", base, StepVariant::kTrainPending, Wire::kCut},
      {"train-tied-pieces", parts, StepVariant::kTrainPending, Wire::kCut},
      {"train-tied", tied, StepVariant::kTrainPending},
      {"train-head-parts", parts, StepVariant::kTrainPending},
      {"train-frozen", with_trained(training(5, 1, 2), 0b0101000), StepVariant::kTrainPending},
      {"train-head-only", with_trained(base, 0b10000), StepVariant::kTrainPending},
      {"decode-head-parts", decode_parts, StepVariant::kDecode},
      {"train", base, StepVariant::kTrain},
      {"train-pending", base, StepVariant::kTrainPending},
      {"drain", base, StepVariant::kDrain},
      {"train-eager", eager, StepVariant::kTrain},
      {"train-fp32-wire", fp32_wire, StepVariant::kTrain},
      {"train-depth-1", training(5, 1, 1), StepVariant::kTrain},
      {"train-depth-3", deep, StepVariant::kTrain},
      {"train-one-block", training(1, 2, 1), StepVariant::kTrainPending},
      {"eval-in-training", base, StepVariant::kEval},
      {"eval", with_purpose(Purpose::kEval, 3), StepVariant::kEval},
      {"prefill", with_purpose(Purpose::kGenerate, 3), StepVariant::kPrefill},
      {"decode", with_purpose(Purpose::kGenerate, 3), StepVariant::kDecode},
  };
}

std::string golden_path(const GoldenCase& golden) {
  return std::string(PENSTOCK_TEST_DATA) + "/golden/" + golden.name + ".txt";
}

class ScheduleGolden : public testing::TestWithParam<GoldenCase> {};

TEST_P(ScheduleGolden, DumpIsAsReviewed) {
  const std::string path = golden_path(GetParam());
  const std::string dump = dump_schedule(planner(GetParam().settings, GetParam().wire).plan(GetParam().variant));
  if (std::getenv("PENSTOCK_UPDATE_GOLDEN") != nullptr) {
    std::ofstream file(path, std::ios::binary);
    file << dump;
    ASSERT_TRUE(file.flush().good()) << path;
    GTEST_SKIP() << "wrote " << path;
  }
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file.good()) << path << " is missing; see the top of this file";
  std::stringstream reviewed;
  reviewed << file.rdbuf();
  EXPECT_EQ(dump, reviewed.str()) << path << " differs; see the top of this file";
}

INSTANTIATE_TEST_SUITE_P(All, ScheduleGolden, testing::ValuesIn(golden_cases()), [](const auto& param_info) {
  std::string name = param_info.param.name;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

}  // namespace
}  // namespace penstock
