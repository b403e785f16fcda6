#include "app/metrics_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::StartsWith;

std::string read_file(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<int64_t> steps_in(const fs::path& path) {
  std::vector<int64_t> steps;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) steps.push_back(nlohmann::json::parse(line).at("step"));
  return steps;
}

StepMetrics step_metrics(int64_t step) {
  StepMetrics metrics;
  metrics.step = step;
  return metrics;
}

TEST(MetricsLog, AStepsFieldsAndTheirOrder) {
  StepMetrics metrics;
  metrics.step = 3;
  metrics.loss = 2.5;
  metrics.gradient_norm = 0.75;
  metrics.clip_factor = 0.5;
  metrics.learning_rate = 3e-4;
  metrics.tokens = 4096;
  metrics.trained_tokens = 4000;
  metrics.tokens_per_second = 1234.5;
  metrics.step_ms = 10;
  metrics.data_ms = 0.5;
  metrics.lane_ms = {1, 2, 3, 4};
  EXPECT_EQ(metrics_line(metrics),
            R"({"step":3,"loss":2.5,"gradient_norm":0.75,"clip_factor":0.5,"learning_rate":0.0003,"tokens":4096,)"
            R"("trained_tokens":4000,"tokens_per_second":1234.5,"step_ms":10.0,"data_ms":0.5,"fetch_ms":1.0,)"
            R"("compute_ms":2.0,"offload_ms":3.0,"host_ms":4.0})");
  metrics.skipped = true;
  EXPECT_EQ(nlohmann::json::parse(metrics_line(metrics)).at("skipped"), true);
  EXPECT_EQ(metrics_line(EvaluationMetrics{7, 1.5, 2.25}), R"({"step":7,"eval_loss":1.5,"bits_per_byte":2.25})");
}

TEST(MetricsLog, NumbersThatAreNotFiniteAreNull) {
  StepMetrics metrics = step_metrics(1);
  metrics.loss = std::numeric_limits<double>::quiet_NaN();
  metrics.gradient_norm = -std::numeric_limits<double>::infinity();
  const nlohmann::json object = nlohmann::json::parse(metrics_line(metrics));
  EXPECT_TRUE(object.at("loss").is_null());
  EXPECT_TRUE(object.at("gradient_norm").is_null());
  EXPECT_EQ(nlohmann::json::parse(metrics_line(EvaluationMetrics{1, NAN, 2})).at("eval_loss"), nullptr);
}

TEST(MetricsLog, TargetsThatAreNoBytesHaveNoBitsPerByte) {
  EXPECT_EQ(metrics_line(EvaluationMetrics{7, 1.5, 0}), R"({"step":7,"eval_loss":1.5,"bits_per_byte":null})");
}

TEST(MetricsLog, ValuesReadBackEqual) {
  StepMetrics metrics = step_metrics(1);
  metrics.loss = 0.1 + 0.2;
  metrics.gradient_norm = 1e-300;
  const nlohmann::json object = nlohmann::json::parse(metrics_line(metrics));
  EXPECT_EQ(object.at("loss").get<double>(), metrics.loss);
  EXPECT_EQ(object.at("gradient_norm").get<double>(), metrics.gradient_norm);
}

TEST(MetricsLog, EachLineIsOnDiskWhenAppendReturns) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "metrics.jsonl";
  MetricsLog log(path, 0);
  EXPECT_EQ(read_file(path), "");
  log.append(step_metrics(1));
  EXPECT_EQ(read_file(path), metrics_line(step_metrics(1)) + "\n");
  log.append(EvaluationMetrics{1, 2, 3});
  EXPECT_EQ(read_file(path), metrics_line(step_metrics(1)) + "\n" + metrics_line(EvaluationMetrics{1, 2, 3}) + "\n");
}

TEST(MetricsLog, ResumeForgetsTheStepsAfterIt) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "metrics.jsonl";
  {
    MetricsLog log(path, 0);
    for (int64_t step = 1; step <= 5; ++step) {
      log.append(step_metrics(step));
      if (step % 2 == 0) log.append(EvaluationMetrics{step, 1, 1});
    }
  }
  EXPECT_THAT(steps_in(path), ElementsAre(1, 2, 2, 3, 4, 4, 5));
  MetricsLog log(path, 3);
  EXPECT_THAT(steps_in(path), ElementsAre(1, 2, 2, 3));
  log.append(step_metrics(4));
  EXPECT_THAT(steps_in(path), ElementsAre(1, 2, 2, 3, 4));
  EXPECT_FALSE(fs::exists(path.string() + ".new"));
}

TEST(MetricsLog, ResumeAtZeroStartsAnEmptyLog) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "metrics.jsonl";
  MetricsLog(path, 0).append(step_metrics(1));
  MetricsLog log(path, 0);
  EXPECT_EQ(read_file(path), "");
}

TEST(MetricsLog, ResumeDropsWhatACrashLeftHalfWritten) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "metrics.jsonl";
  std::ofstream(path) << metrics_line(step_metrics(1)) << "\n[1]\n{\"step\":\"2\"}\n{\"step\":2,\"lo";
  MetricsLog log(path, 9);
  EXPECT_EQ(read_file(path), metrics_line(step_metrics(1)) + "\n");
}

TEST(MetricsLog, WhatCannotBeWrittenIsAnIoError) {
  const TemporaryFolder folder;
  try {
    MetricsLog log(folder.path() / "nowhere" / "metrics.jsonl", 0);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kIo);
    EXPECT_THAT(error.what(),
                StartsWith((folder.path() / "nowhere" / "metrics.jsonl: cannot be written (No such").string()));
  }
}

}  // namespace
}  // namespace penstock
