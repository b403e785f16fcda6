#include "app/source_folder.h"

#include <gtest/gtest.h>

#include "app/load_progress.h"
#include "core/error.h"
#include "core/file.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

TEST(SourceFolder, KeepsSmallFilesUpToALimit) {
  const TemporaryFolder folder;
  const fs::path model = folder.path() / "model", run = folder.path() / "run";
  fs::create_directories(model);
  fs::create_directories(run);
  write_text_file(model / "config.json", "{}");
  write_text_file(model / "a.txt", std::string(60, 'a'));
  write_text_file(model / "b.txt", std::string(60, 'b'));
  write_text_file(model / "c.txt", std::string(40, 'c'));
  write_text_file(model / "model.safetensors", "weights");
  keep_source_files(model, run, 100);
  EXPECT_TRUE(fs::exists(run / "source/config.json"));
  EXPECT_EQ(read_text_file(run / "source/a.txt", 100), std::string(60, 'a'));
  EXPECT_FALSE(fs::exists(run / "source/b.txt"));
  EXPECT_TRUE(fs::exists(run / "source/c.txt"));
  EXPECT_FALSE(fs::exists(run / "source/model.safetensors"));

  write_text_file(model / "a.txt", "changed since");
  keep_source_files(model, run, 1000);  // a resumed run keeps what it began with
  EXPECT_EQ(read_text_file(run / "source/a.txt", 100), std::string(60, 'a'));
}

TEST(SourceFolder, IsTheRunsCopyOnlyWhereTheFolderIsGone) {
  const TemporaryFolder folder;
  const fs::path model = folder.path() / "model", run = folder.path() / "run";
  fs::create_directories(model);
  write_text_file(model / "config.json", "{}");
  RunConfig config;
  config.model.model_name_or_path = model.string();
  config.training.output_dir = run.string();
  fs::create_directories(run);
  keep_source_files(model, run);
  EXPECT_EQ(find_model_folder(config), model.string());
  fs::remove_all(model);
  EXPECT_THROW(find_model_folder(config), Error) << "a new run needs its weights";
  config.training.resume_from_checkpoint = "auto";
  EXPECT_EQ(find_model_folder(config), (run / "source").string());
  fs::remove_all(run / "source");
  EXPECT_THROW(find_model_folder(config), Error);
}

TEST(LoadProgress, IsOneLineThatEndsWithTheLoad) {
  std::string shown;
  Console console([&](std::string_view text) { shown += text; }, 80);
  const LoadOptions options = shown_on(console);
  options.progress(512, 2048);
  EXPECT_NE(shown.find("loading  512 B of 2.00 KiB"), std::string::npos) << shown;
  EXPECT_EQ(shown.find('\n'), std::string::npos);
  options.progress(2048, 2048);
  EXPECT_EQ(shown.back(), '\n');
}

}  // namespace
}  // namespace penstock
