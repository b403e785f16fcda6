#include "streaming/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "tiny_run.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr DataIdentity kData = {.seed = 7, .max_seq_len = 8, .packing = false, .documents = 3, .first_epoch_rows = 9};

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

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
                           {.progress = run.trainer().progress(),
                            .cursor = {0, cursor},
                            .data = kData,
                            .compute_dtype = "float32",
                            .compute_threads = 1});
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
    EXPECT_TRUE(state.data == kData);
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
}

TEST_P(Checkpoint, ADamagedManifestIsRefused) {
  TinyRun run(settings_);
  run.losses(0, 2);
  const fs::path saved = save(run, 0);
  const std::string whole = read_file(saved / "manifest.json");
  const auto expect_damage = [&](const std::string& text, const std::string& cause) {
    std::ofstream(saved / "manifest.json", std::ios::trunc) << text;
    expect_refused(saved, "manifest.json: " + cause);
    EXPECT_THROW(read_checkpoint_state(saved), Error);
  };
  std::string other = whole;
  other.replace(other.find("\"step\": 2"), 9, "\"step\": 3");
  expect_damage(other, "its checksum differs");
  expect_damage(whole.substr(0, whole.size() / 2), "is not a JSON object");
  expect_damage("[]", "is not a JSON object");
  expect_damage("{}", "cannot be understood");
  expect_damage("{\"format_version\": \"2\"}", "cannot be understood");
  expect_damage("{\"format_version\": 2, \"checksum\": {}}", "cannot be understood");
  expect_damage("{\"format_version\": 1}", "has format_version 1");
}

TEST_P(Checkpoint, NumbersThatNoRunCanHaveAreRefused) {
  TinyRun run(settings_);
  const auto expect_impossible = [&](const TrainerProgress& progress, const DataCursor& cursor) {
    const CheckpointState state = {.progress = progress, .cursor = cursor, .data = kData, .compute_dtype = "float32"};
    expect_refused(save_checkpoint(directory_, run.memory(), state), "manifest.json: no run can be at step");
  };
  expect_impossible({2, 3}, {});
  expect_impossible({2, -1}, {});
  expect_impossible({2, 2}, {-1, 0});
  expect_impossible({2, 2}, {0, -1});
}

TEST_P(Checkpoint, ACheckpointOfTheSameNameIsReplaced) {
  TinyRun run(settings_);
  const fs::path saved = save(run, 1);
  std::ofstream(saved / "left_over") << "x";
  fs::create_directories(directory_ / "checkpoint-0.replaced" / "x");  // of a crash
  EXPECT_EQ(save(run, 2), saved);
  EXPECT_EQ(read_checkpoint_state(saved).cursor.row, 2);
  EXPECT_FALSE(fs::exists(saved / "left_over"));
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
}

TEST_P(Checkpoint, OnlyFoldersWithACheckpointsNameCount) {
  for (const char* name : {"checkpoint-9", "checkpoint-10", "checkpoint-200", "checkpoint-", "checkpoint-x",
                           "checkpoint-5.tmp", "checkpoint-007", "checkpoint--3", "checkpoint-+4"}) {
    fs::create_directory(directory_ / name);
  }
  std::ofstream(directory_ / "checkpoint-300") << "a file";
  EXPECT_THAT(
      checkpoint_folders(directory_),
      testing::ElementsAre(directory_ / "checkpoint-9", directory_ / "checkpoint-10", directory_ / "checkpoint-200"));
  std::ofstream(directory_ / "checkpoint-10" / "manifest.json") << "x";
  EXPECT_THAT(list_checkpoints(directory_), testing::ElementsAre(directory_ / "checkpoint-10"));
  EXPECT_THAT(checkpoint_folders(directory_ / "nowhere"), testing::IsEmpty());
}

TEST_P(Checkpoint, AnAbandonedBranchGoesWhole) {
  for (const char* name : {"checkpoint-9", "checkpoint-10", "checkpoint-20", "checkpoint-30"}) {
    fs::create_directory(directory_ / name);
    std::ofstream(directory_ / name / "manifest.json") << "x";
  }
  fs::remove(directory_ / "checkpoint-30" / "manifest.json");  // half deleted by a crash
  EXPECT_EQ(remove_checkpoints_after(directory_, 10), 2);
  EXPECT_THAT(checkpoint_folders(directory_),
              testing::ElementsAre(directory_ / "checkpoint-9", directory_ / "checkpoint-10"));
  EXPECT_EQ(remove_checkpoints_after(directory_, 10), 0);
}

TEST_P(Checkpoint, TheOneJustWrittenStaysWhateverTheLimit) {
  for (const char* name : {"checkpoint-3", "checkpoint-10", "checkpoint-20"}) {
    fs::create_directory(directory_ / name);
    std::ofstream(directory_ / name / "manifest.json") << "x";
  }
  remove_old_checkpoints(directory_, 1, directory_ / "checkpoint-3");
  EXPECT_THAT(list_checkpoints(directory_),
              testing::ElementsAre(directory_ / "checkpoint-3", directory_ / "checkpoint-20"));
}

TEST_P(Checkpoint, AnotherShapeOrFormatIsRefused) {
  TinyRun run(settings_);
  const fs::path saved = save(run, 0);
  settings_.blocks = 4;
  expect_refused(saved, "layers, the configuration's model");
  settings_.blocks = 5;
  settings_.format = GetParam() == StateFormat::kExact ? StateFormat::kFloat32 : StateFormat::kExact;
  expect_refused(saved, "optimizer.state_format");
  settings_.format = GetParam();
  settings_.trainable = {"*mlp*"};
  expect_refused(saved, "training.trainable");
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
  fs::create_directories(directory_ / "checkpoint-2.replaced");
  remove_old_checkpoints(directory_, 2, directory_ / "checkpoint-4");
  const auto left = list_checkpoints(directory_);
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0].filename(), "checkpoint-3");
  EXPECT_EQ(left[1].filename(), "checkpoint-4");
  EXPECT_FALSE(fs::exists(directory_ / "checkpoint-9.partial"));
  EXPECT_FALSE(fs::exists(directory_ / "checkpoint-2.replaced"));
}

INSTANTIATE_TEST_SUITE_P(Formats, Checkpoint, testing::Values(StateFormat::kExact, StateFormat::kFloat32),
                         [](const auto& format) { return std::string(state_format_name(format.param)); });

}  // namespace
}  // namespace penstock
