#include "core/file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "core/error.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

class File : public testing::Test {
 protected:
  File() : folder_(fs::path(testing::TempDir()) / ("file-test-" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~File() override { fs::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }

  fs::path folder_;
};

ExitCode code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  return ExitCode::kDone;
}

TEST_F(File, WhatIsWrittenIsRead) {
  const std::string bytes("a\0b\n", 4);
  write_text_file(path("a"), bytes);
  EXPECT_EQ(read_text_file(path("a"), 4), bytes);
  EXPECT_EQ(code_of([&] { read_text_file(path("a"), 3); }), ExitCode::kBadInput);
  const InputFile file(path("a"));
  std::vector<std::byte> two(2);
  file.read(1, two);
  EXPECT_EQ(two[1], std::byte{'b'});
  std::vector<std::byte> ten(10);
  EXPECT_EQ(file.read_some(1, ten), 3u);
  EXPECT_EQ(code_of([&] { file.read(1, ten); }), ExitCode::kIo);
}

TEST_F(File, AbsentFilesAndFoldersAreBadInput) {
  EXPECT_EQ(code_of([&] { InputFile file(path("absent")); }), ExitCode::kBadInput);
  EXPECT_EQ(code_of([&] { InputFile file(folder_.string()); }), ExitCode::kBadInput);
}

TEST_F(File, WhatCannotBeWrittenIsAnIoErrorWhateverTheCause) {
  write_text_file(path("file"), "x");
  EXPECT_EQ(code_of([&] { write_text_file(path("absent/a"), "x"); }), ExitCode::kIo);
  EXPECT_EQ(code_of([&] { write_text_file(path("file/a"), "x"); }), ExitCode::kIo);
  EXPECT_EQ(code_of([&] { sync_directory(path("absent")); }), ExitCode::kIo);
  fs::create_directory(path("folder"));
  EXPECT_EQ(code_of([&] { write_text_file(path("folder"), "x"); }), ExitCode::kIo);
}

TEST_F(File, AnOutputWithoutCommitLeavesNothingAndKeepsTheOldFile) {
  write_text_file(path("a"), "old");
  {
    OutputFile file(path("a"));
    file.write(std::as_bytes(std::span(std::string_view("new"))));
  }
  EXPECT_EQ(read_text_file(path("a"), 10), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace penstock
