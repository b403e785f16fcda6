#include "streaming/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "tiny_run.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

class Checkpoint : public testing::TestWithParam<StateFormat> {
 protected:
  Checkpoint() {
    directory_ = fs::path(testing::TempDir()) / ("checkpoint-test-" + std::to_string(::getpid()));
    fs::remove_all(directory_);
    fs::create_directories(directory_);
    settings_.format = GetParam();
  }
  ~Checkpoint() override { fs::remove_all(directory_); }

  fs::path save(TinyRun& run, int64_t cursor) {
    run.trainer().drain();
    return save_checkpoint(directory_, run.memory(),
                           {.progress = run.trainer().progress(), .cursor = {0, cursor}, .compute_dtype = "float32",
                            .compute_threads = 1, .seed = 7});
  }
  void expect_refused(const fs::path& checkpoint, const std::string& cause) {
    TinyRun run(settings_);
    try {
      load_checkpoint(checkpoint, run.memory());
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
      EXPECT_THAT(error.what(), testing::HasSubstr(cause));
    }
  }

  fs::path directory_;
  TinySettings settings_;
};

TEST_P(Checkpoint, ResumeAtAnyStepContinuesBitForBit) {
  constexpr int64_t kSteps = 5;
  TinyRun whole(settings_);
  const std::vector<double> expected = whole.losses(0, kSteps);
  const std::vector<std::byte> expected_state = whole.state();
  for (int64_t stop = 0; stop < kSteps; ++stop) {
    TinyRun first(settings_);
    first.losses(0, stop);
    const fs::path saved = save(first, stop);
    TinySettings other = settings_;
    other.seed = settings_.seed;
    other.prefetch_depth = 3;
    TinyRun second(other);
    const CheckpointState state = load_checkpoint(saved, second.memory());
    EXPECT_EQ(state.cursor.row, stop);
    second.trainer().restore(state.progress);
    const std::vector<double> rest(expected.begin() + stop, expected.end());
    EXPECT_EQ(second.losses(stop, kSteps - stop), rest) << "stopped after " << stop;
    EXPECT_TRUE(second.state() == expected_state) << "stopped after " << stop;
  }
}

TEST_P(Checkpoint, SavingChangesNothing) {
  TinyRun plain(settings_);
  TinyRun saving(settings_);
  const std::vector<double> expected = plain.losses(0, 4);
  std::vector<double> losses;
  for (int64_t step = 0; step < 4; ++step) {
    losses.push_back(saving.step(step).loss);
    save(saving, step);
  }
  EXPECT_EQ(losses, expected);
}

TEST_P(Checkpoint, DamageIsRefusedWithTheFilesName) {
  TinyRun run(settings_);
  run.losses(0, 2);
  const fs::path saved = save(run, 0);
  const fs::path layer = saved / "layer-0003.bin";
  {
    std::fstream file(layer, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file.put('\x7f');
  }
  expect_refused(saved, "layer-0003.bin: checksum differs");
  fs::resize_file(layer, fs::file_size(layer) - 1);
  expect_refused(saved, "layer-0003.bin: has the wrong size");
  std::ofstream(saved / "manifest.json") << "{ \"format_version\": 1 }";
  expect_refused(saved, "manifest.json: is incomplete");
  std::ofstream(saved / "manifest.json") << "not json";
  expect_refused(saved, "manifest.json: is not JSON");
}

TEST_P(Checkpoint, AnotherShapeOrFormatIsRefused) {
  TinyRun run(settings_);
  const fs::path saved = save(run, 0);
  settings_.blocks = 4;
  expect_refused(saved, "layers, the configuration's model");
  settings_.blocks = 5;
  settings_.format = GetParam() == StateFormat::kExact ? StateFormat::kFloat32 : StateFormat::kExact;
  expect_refused(saved, "optimizer.state_format");
}

TEST_P(Checkpoint, TheOldestGoAndHalfWrittenOnesAreNeverListed) {
  TinyRun run(settings_);
  for (int64_t step = 0; step < 4; ++step) {
    run.step(step);
    save(run, step);
  }
  fs::create_directories(directory_ / "checkpoint-9.partial");
  fs::create_directories(directory_ / "checkpoint-8");  // no manifest
  EXPECT_EQ(list_checkpoints(directory_).size(), 4u);
  remove_old_checkpoints(directory_, 2);
  const auto left = list_checkpoints(directory_);
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0].filename(), "checkpoint-3");
  EXPECT_EQ(left[1].filename(), "checkpoint-4");
  EXPECT_FALSE(fs::exists(directory_ / "checkpoint-9.partial"));
}

INSTANTIATE_TEST_SUITE_P(Formats, Checkpoint, testing::Values(StateFormat::kExact, StateFormat::kFloat32),
                         [](const auto& format) { return std::string(state_format_name(format.param)); });

}  // namespace
}  // namespace penstock
