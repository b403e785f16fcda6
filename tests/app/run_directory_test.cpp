#include "app/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "app/config_file.h"
#include "config_texts.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

void write_file(const fs::path& path, const std::string& text = "x") {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Refusal {
  ExitCode code = ExitCode::kDone;
  std::string text;
};

template <typename Work>
Refusal refusal_of(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

class RunDirectory : public testing::Test {
 protected:
  RunRequest request(const std::string& output_dir = "", const std::string& resume = "") {
    RunRequest made;
    made.config_path = "configs/small.yaml";
    made.output_dir = output_dir;
    made.resume_from_checkpoint = resume;
    made.runs = folder_.path() / "runs";
    return made;
  }
  std::string path(const std::string& name) { return (folder_.path() / name).string(); }

  TemporaryFolder folder_;
};

TEST_F(RunDirectory, TakesTheFirstFreeNumber) {
  EXPECT_EQ(create_run_directory(choose_run_directory(request())), path("runs/small-1"));
  EXPECT_EQ(create_run_directory(choose_run_directory(request())), path("runs/small-2"));
  fs::create_directory(path("runs/small-4"));
  EXPECT_EQ(create_run_directory(choose_run_directory(request())), path("runs/small-3"));
  EXPECT_EQ(create_run_directory(choose_run_directory(request())), path("runs/small-5"));
}

TEST_F(RunDirectory, ChoosingWritesNothing) {
  choose_run_directory(request());
  choose_run_directory(request(path("out/deep")));
  choose_run_directory(request("", "auto"));
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(RunDirectory, ProcessesNeverShareANumber) {
  constexpr int kThreads = 8;
  constexpr int kRuns = 25;
  const RunChoice choice = choose_run_directory(request());
  std::vector<std::vector<fs::path>> made(kThreads);
  std::barrier start(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      for (int run = 0; run < kRuns; ++run) made[static_cast<size_t>(i)].push_back(create_run_directory(choice));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<fs::path> different;
  for (const auto& paths : made) different.insert(paths.begin(), paths.end());
  EXPECT_EQ(different.size(), static_cast<size_t>(kThreads * kRuns));
}

TEST_F(RunDirectory, OneOfManyProcessesGetsAnExplicitDirectory) {
  constexpr int kThreads = 8;
  const RunChoice choice = choose_run_directory(request(path("out")));
  std::vector<Refusal> refusals(kThreads);
  std::barrier start(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      refusals[static_cast<size_t>(i)] = refusal_of([&] { create_run_directory(choice); });
    });
  }
  for (std::thread& thread : threads) thread.join();
  int winners = 0;
  for (const Refusal& refusal : refusals) {
    winners += refusal.code == ExitCode::kDone ? 1 : 0;
    EXPECT_TRUE(refusal.code == ExitCode::kDone || refusal.code == ExitCode::kBadInput) << refusal.text;
  }
  EXPECT_EQ(winners, 1);
}

TEST_F(RunDirectory, AnExplicitDirectoryMayExistAndHoldOtherFiles) {
  write_file(path("out/notes.txt"));
  const RunChoice choice = choose_run_directory(request(path("out")));
  EXPECT_EQ(choice.kind, RunChoice::Kind::kNew);
  EXPECT_EQ(create_run_directory(choice), path("out"));
  EXPECT_TRUE(fs::exists(path("out/notes.txt")));
}

TEST_F(RunDirectory, ARunIsNeverOverwrittenSilently) {
  for (const char* trace : {"a/config.yaml", "b/metrics.jsonl", "c/checkpoint-10/manifest.json"}) {
    write_file(path(trace));
    const std::string out = path(std::string(trace, 1));
    const Refusal refusal = refusal_of([&] { choose_run_directory(request(out)); });
    EXPECT_EQ(refusal.code, ExitCode::kBadInput);
    EXPECT_EQ(refusal.text,
              out + ": holds a run already; to continue it: `penstock train configs/small.yaml output_dir=" + out +
                  " resume_from_checkpoint=auto`; to replace it: `penstock train configs/small.yaml "
                  "output_dir=" +
                  out + " overwrite_output_dir=true`");
    EXPECT_EQ(read_file(path(trace)), "x");
  }
}

TEST_F(RunDirectory, OverwriteRemovesTheRunAndNothingElse) {
  for (const char* name : {"out/config.yaml", "out/metrics.jsonl", "out/checkpoint-10/manifest.json",
                           "out/model/config.json", "out/notes.txt", "out/checkpoint-best/x"}) {
    write_file(path(name));
  }
  RunRequest replacing = request(path("out"));
  replacing.overwrite = true;
  const RunChoice choice = choose_run_directory(replacing);
  EXPECT_EQ(choice.kind, RunChoice::Kind::kReplace);
  EXPECT_TRUE(fs::exists(path("out/metrics.jsonl")));
  create_run_directory(choice);
  EXPECT_EQ(read_file(path("out/config.yaml")), "");  // claimed
  EXPECT_FALSE(fs::exists(path("out/metrics.jsonl")));
  EXPECT_FALSE(fs::exists(path("out/checkpoint-10")));
  EXPECT_FALSE(fs::exists(path("out/model")));
  EXPECT_TRUE(fs::exists(path("out/notes.txt")));
  EXPECT_TRUE(fs::exists(path("out/checkpoint-best/x")));
}

TEST_F(RunDirectory, AutoGoesOnWithTheNewestValidCheckpoint) {
  write_file(path("out/checkpoint-10/manifest.json"));
  write_file(path("out/checkpoint-20/manifest.json"));
  fs::create_directory(path("out/checkpoint-30"));
  const RunChoice choice = choose_run_directory(request(path("out"), "auto"));
  EXPECT_EQ(choice.kind, RunChoice::Kind::kContinue);
  EXPECT_EQ(choice.resume, path("out/checkpoint-20"));
  EXPECT_EQ(create_run_directory(choice), path("out"));
}

TEST_F(RunDirectory, AutoNeverEmptiesARunWithoutACheckpoint) {
  write_file(path("out/config.yaml"), "");  // a crash just after the directory was taken leaves this
  const Refusal refusal = refusal_of([&] { choose_run_directory(request(path("out"), "auto")); });
  EXPECT_EQ(refusal.code, ExitCode::kBadInput);
  EXPECT_EQ(refusal.text, "training.resume_from_checkpoint: " + path("out") +
                              " holds a run without a checkpoint; to replace it by a new one add "
                              "overwrite_output_dir=true");
  RunRequest replacing = request(path("out"), "auto");
  replacing.overwrite = true;
  const RunChoice choice = choose_run_directory(replacing);
  EXPECT_EQ(choice.kind, RunChoice::Kind::kReplace);
  EXPECT_EQ(create_run_directory(choice), path("out"));
}

TEST_F(RunDirectory, AutoStartsARunWhereThereIsNone) {
  fs::create_directory(path("empty"));
  for (const char* name : {"empty", "absent"}) {
    const RunChoice choice = choose_run_directory(request(path(name), "auto"));
    EXPECT_EQ(choice.kind, RunChoice::Kind::kNew);
    EXPECT_TRUE(choice.resume.empty());
  }
}

TEST_F(RunDirectory, AutoWithoutADirectoryFindsTheLastNumberedRun) {
  EXPECT_EQ(choose_run_directory(request("", "auto")).kind, RunChoice::Kind::kNew);
  write_file(path("runs/small-2/checkpoint-5/manifest.json"));
  write_file(path("runs/small-10/checkpoint-3/manifest.json"));
  write_file(path("runs/small-11/config.yaml"));                   // no checkpoint
  write_file(path("runs/smaller-12/checkpoint-9/manifest.json"));  // another config
  const RunChoice choice = choose_run_directory(request("", "auto"));
  EXPECT_EQ(choice.directory, path("runs/small-10"));
  EXPECT_EQ(choice.resume, path("runs/small-10/checkpoint-3"));
}

TEST_F(RunDirectory, APathContinuesItsOwnRun) {
  write_file(path("out/checkpoint-10/manifest.json"));
  write_file(path("out/checkpoint-20/manifest.json"));
  for (const std::string& output_dir : {std::string(), path("out"), path("out/")}) {
    for (const std::string& name : {path("out/checkpoint-10"), path("out/checkpoint-10/")}) {
      const RunChoice choice = choose_run_directory(request(output_dir, name));
      EXPECT_EQ(choice.kind, RunChoice::Kind::kContinue);
      EXPECT_TRUE(fs::equivalent(choice.directory, path("out")));
      EXPECT_EQ(choice.resume, path("out/checkpoint-10"));
    }
  }
  EXPECT_EQ(choose_run_directory(request("", path("out"))).resume, path("out/checkpoint-20"));
}

TEST_F(RunDirectory, APathAndAnotherDirectoryMakeABranch) {
  write_file(path("out/checkpoint-10/manifest.json"));
  const RunChoice choice = choose_run_directory(request(path("branch"), path("out/checkpoint-10")));
  EXPECT_EQ(choice.kind, RunChoice::Kind::kNew);
  EXPECT_EQ(choice.directory, path("branch"));
  EXPECT_EQ(choice.resume, path("out/checkpoint-10"));
  write_file(path("branch/config.yaml"));
  EXPECT_THAT(refusal_of([&] { choose_run_directory(request(path("branch"), path("out/checkpoint-10"))); }).text,
              HasSubstr("holds a run already"));
}

TEST_F(RunDirectory, ACheckpointThatIsNotThereIsNamed) {
  fs::create_directories(path("out/checkpoint-30"));
  for (const char* name : {"nowhere", "out", "out/checkpoint-30", "out/checkpoint-40"}) {
    const Refusal refusal = refusal_of([&] { choose_run_directory(request("", path(name))); });
    EXPECT_EQ(refusal.code, ExitCode::kBadInput);
    EXPECT_EQ(refusal.text, "training.resume_from_checkpoint: " + path(name) +
                                " is no valid checkpoint-<step> folder and holds none");
  }
}

TEST_F(RunDirectory, WhereNothingCanBeWrittenIsOneLine) {
  write_file(path("file"));
  for (const std::string& out : {path("file"), path("file/out"), path("file/out/deeper"), std::string("/proc/out")}) {
    const Refusal refusal = refusal_of([&] { create_run_directory(choose_run_directory(request(out))); });
    EXPECT_EQ(refusal.code, ExitCode::kIo) << out;
    EXPECT_THAT(refusal.text, StartsWith(out + ": cannot be written ("));
    EXPECT_THAT(refusal.text, testing::Not(HasSubstr("\n")));
  }
  // What can be known without writing is known before.
  EXPECT_EQ(refusal_of([&] { choose_run_directory(request(path("file/out"))); }).code, ExitCode::kIo);
  EXPECT_EQ(refusal_of([&] { write_effective_config(path("file"), RunConfig{}); }).code, ExitCode::kIo);
  EXPECT_EQ(read_file(path("file")), "x");
}

TEST_F(RunDirectory, TheEffectiveConfigurationNamesItsDirectoryAndAsksForNothing) {
  RunConfig config = load_text(kMinimalConfig, {"overwrite_output_dir=true", "resume_from_checkpoint=auto"});
  const fs::path directory = create_run_directory(choose_run_directory(request()));
  write_effective_config(directory, config);
  const RunConfig again = load_run_config(directory / "config.yaml", {}, [](const std::string&) {});
  config.training.output_dir = directory.string();
  config.training.overwrite_output_dir = false;
  config.training.resume_from_checkpoint.clear();
  EXPECT_TRUE(again == config);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory), fs::directory_iterator()), 1);
  EXPECT_EQ(resume_command("runs/a-1", "bin/penstock"),
            "bin/penstock train runs/a-1/config.yaml resume_from_checkpoint=auto");
}

TEST_F(RunDirectory, CommandsToCopyQuoteWhatTheShellWouldSplit) {
  EXPECT_EQ(resume_command("my runs/it's", "a b/penstock"),
            "'a b/penstock' train 'my runs/it'\\''s/config.yaml' resume_from_checkpoint=auto");
  EXPECT_EQ(
      restart_command("branch", "old run/checkpoint-3"),
      "penstock train branch/config.yaml overwrite_output_dir=true 'resume_from_checkpoint=old run/checkpoint-3'");
  EXPECT_EQ(restart_command("run", ""), "penstock train run/config.yaml overwrite_output_dir=true");
  write_file(path("a run/config.yaml"));
  EXPECT_THAT(refusal_of([&] { choose_run_directory(request(path("a run"))); }).text,
              HasSubstr("small.yaml 'output_dir=" + path("a run") + "' resume_from_checkpoint=auto`"));
}

}  // namespace
}  // namespace penstock
