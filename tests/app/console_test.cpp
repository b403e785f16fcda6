#include "app/console.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <limits>
#include <thread>

#include "app/progress.h"

namespace penstock {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

struct Recorder {
  std::vector<std::string> writes;
  Console::Writer writer() {
    return [this](std::string_view text) { writes.emplace_back(text); };
  }
};

TEST(Console, PlainStreamsHaveNoLiveLine) {
  Recorder recorder;
  Console console(recorder.writer(), 0);
  EXPECT_FALSE(console.is_terminal());
  console.show_live("live");
  console.print_line("kept");
  console.finish_live();
  EXPECT_THAT(recorder.writes, ElementsAre("kept\n"));
}

TEST(Console, MessagesPushTheLiveLineDown) {
  Recorder recorder;
  Console console(recorder.writer(), 80);
  console.print_line("before");
  console.show_live("step 1");
  console.show_live("step 2");
  console.print_line("message");
  console.finish_live();
  console.print_line("after");
  EXPECT_THAT(recorder.writes,
              ElementsAre("before\n", "\r\x1b[Kstep 1", "\r\x1b[Kstep 2", "\r\x1b[Kmessage\nstep 2", "\n", "after\n"));
}

TEST(Console, ALiveLineNeverWraps) {
  Recorder recorder;
  Console console(recorder.writer(), 5);
  console.show_live("abcd");
  console.show_live("abcde");
  console.show_live("äöüßé");
  EXPECT_THAT(recorder.writes, ElementsAre("\r\x1b[Kabcd", "\r\x1b[Kabcd", "\r\x1b[Käöüß"));
}

TEST(Console, LogMessagesGoToStandardErrorWithTheirLevel) {
  start_console(LogLevel::kInfo);
  testing::internal::CaptureStderr();
  spdlog::debug("hidden");
  spdlog::info("plain {}", 1);
  spdlog::warn("careful");
  spdlog::error("broken");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "plain 1\nwarning: careful\nerror: broken\n");
  start_console(LogLevel::kError);
  testing::internal::CaptureStderr();
  spdlog::warn("hidden");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Console, ResultsGoToStandardOutput) {
  testing::internal::CaptureStdout();
  print_result("{\"loss\":1}");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "{\"loss\":1}\n");
}

TEST(Console, LinesOfSeveralThreadsStayWhole) {
  Recorder recorder;
  Console console(recorder.writer(), 80);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int line = 0; line < 100; ++line) console.print_line("line");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(recorder.writes.size(), 400u);
}

TEST(Format, Counts) {
  const std::vector<std::pair<double, std::string>> cases = {
      {0, "0"},          {7, "7"},           {999.4, "999"},    {999.5, "1.00k"},  {1234, "1.23k"},
      {9994, "9.99k"},   {9995, "10.0k"},    {12345, "12.3k"},  {99950, "100k"},   {123456, "123k"},
      {999'499, "999k"}, {999'500, "1.00M"}, {8.03e9, "8.03B"}, {1.5e12, "1.50T"}, {-1500, "-1.50k"},
  };
  for (const auto& [count, text] : cases) EXPECT_EQ(format_count(count), text) << count;
  EXPECT_EQ(format_rate(12345), "12.3k tok/s");
}

TEST(Format, Durations) {
  const std::vector<std::pair<double, std::string>> cases = {
      {0, "0.0s"},      {0.44, "0.4s"},    {9.94, "9.9s"},    {9.96, "10s"},   {59.4, "59s"},
      {59.6, "1m00s"},  {185, "3m05s"},    {3599.6, "1h00m"}, {3720, "1h02m"}, {86399, "23h59m"},
      {86400, "1d00h"}, {183600, "2d03h"}, {-1, "?"},         {1e30, "?"},
  };
  for (const auto& [seconds, text] : cases) EXPECT_EQ(format_duration(seconds), text) << seconds;
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
}

ProgressUpdate update_at(int64_t step) {
  ProgressUpdate update;
  update.step = step;
  update.total_steps = 25;
  update.loss = 2.34567;
  update.learning_rate = 2.95e-4;
  update.tokens_per_second = 12345;
  update.elapsed_seconds = 2.0 * static_cast<double>(step);
  return update;
}

TEST(Progress, PlainLinesEverySoManyStepsAndAtTheEnd) {
  Recorder recorder;
  Console console(recorder.writer(), 0);
  Progress progress(console, 10, 0);
  for (int64_t step = 1; step <= 25; ++step) progress.update(update_at(step));
  progress.finish();
  EXPECT_THAT(recorder.writes, ElementsAre("step 10/25  loss 2.3457  lr 3.0e-04  12.3k tok/s  eta 30s\n",
                                           "step 20/25  loss 2.3457  lr 3.0e-04  12.3k tok/s  eta 10s\n",
                                           "step 25/25  loss 2.3457  lr 3.0e-04  12.3k tok/s  eta 0.0s\n"));
}

TEST(Progress, ALiveLineEveryStepOnATerminal) {
  Recorder recorder;
  Console console(recorder.writer(), 80);
  Progress progress(console, 10, 0);
  progress.update(update_at(1));
  progress.update(update_at(2));
  progress.finish();
  EXPECT_THAT(recorder.writes, ElementsAre("\r\x1b[Kstep 1/25  loss 2.3457  lr 3.0e-04  12.3k tok/s  eta 48s",
                                           "\r\x1b[Kstep 2/25  loss 2.3457  lr 3.0e-04  12.3k tok/s  eta 46s", "\n"));
}

TEST(Progress, WhatRemainsIsEstimatedFromThisProcess) {
  ProgressUpdate update = update_at(20);
  update.elapsed_seconds = 20;  // for ten steps
  EXPECT_THAT(format_progress(update, 10), HasSubstr("eta 10s"));
}

TEST(Progress, SkippedStepsAndUnknownLengths) {
  ProgressUpdate update = update_at(3);
  update.skipped = true;
  update.total_steps = 0;
  EXPECT_EQ(format_progress(update, 0), "step 3  skipped  lr 3.0e-04  12.3k tok/s");
  EXPECT_THAT(format_progress(update_at(3), 0), Not(HasSubstr("skipped")));
}

}  // namespace
}  // namespace penstock
