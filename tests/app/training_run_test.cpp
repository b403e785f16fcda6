// A training run whose device is lost: what was decided is saved, and a resume goes on as if nothing had happened.
#include "app/training_run.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "config_texts.h"
#include "core/host_device.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

// Fails as a card does that is lost: from the n-th launch on, every one.
class LosesItself final : public HostDevice {
 public:
  explicit LosesItself(int launches) : HostDevice({}), launches_left_(launches) {}
  void launch(LaneKind lane, std::function<void()> work) override {
    if (--launches_left_ < 0) throw Error(ExitCode::kDevice, "the device is lost");
    HostDevice::launch(lane, std::move(work));
  }

 private:
  std::atomic<int> launches_left_;
};

class TrainingRunOnALostDevice : public testing::Test {
 protected:
  RunConfig config(const std::string& directory) const {
    std::ofstream(folder_.path() / "text.txt") << std::string(4000, 'a') << "bcd efg hij";
    return load_text(
        kMinimalConfig,
        {"dataset.path=" + (folder_.path() / "text.txt").string(), "dataset.max_seq_len=16",
         "training.output_dir=" + (folder_.path() / directory).string(), "training.max_steps=6",
         "training.save_strategy=steps", "training.save_steps=100", "training.per_device_train_batch_size=2",
         "generation.max_new_tokens=0", "device.backend=host", "device.compute_threads=1"});
  }

  std::vector<double> losses(const std::string& directory) const {
    std::ifstream file(folder_.path() / directory / "metrics.jsonl");
    std::vector<double> losses;
    for (std::string line; std::getline(file, line);) {
      const nlohmann::json row = nlohmann::json::parse(line);
      if (row.contains("loss")) losses.push_back(row.at("loss"));
    }
    return losses;
  }

  TemporaryFolder folder_;
};

TEST_F(TrainingRunOnALostDevice, SavesTheLastStepAndResumes) {
  EXPECT_EQ(TrainingRun(config("whole"), "a.yaml", "penstock").run(), ExitCode::kDone);
  const std::vector<double> expected = losses("whole");
  ASSERT_EQ(expected.size(), 6u);

  const auto failing = [](const RunSetup&, const RunPlan&) { return std::make_unique<LosesItself>(40); };
  try {
    TrainingRun(config("lost"), "a.yaml", "penstock", failing).run();
    FAIL() << "the device was not lost";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDevice);
  }
  const size_t finished = losses("lost").size();
  ASSERT_GT(finished, 0u);
  ASSERT_LT(finished, 6u);
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "lost" / ("checkpoint-" + std::to_string(finished))));

  RunConfig again = config("lost");
  again.training.resume_from_checkpoint = "auto";
  EXPECT_EQ(TrainingRun(again, "a.yaml", "penstock").run(), ExitCode::kDone);
  EXPECT_EQ(losses("lost"), expected);
}

}  // namespace
}  // namespace penstock
