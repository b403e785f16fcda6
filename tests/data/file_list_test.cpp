#include "data/file_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "bad_input.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;

class FileList : public ::testing::Test {
 protected:
  FileList() {
    for (const char* name :
         {"z.txt", "nn/b.py", "nn/a.py", "nn/modules/conv.py", "nn/modules/conv.pyi", "optim/adam.py",
          "fx/deep/er/node.py", "other/skip.py", ".hidden/h.py", "nn/.secret.py", "odd[1]/x.py"}) {
      folder_.write(name, "x");
    }
  }

  // The files of the entries, relative to the folder.
  std::vector<std::string> list(std::vector<std::string> entries) const {
    for (std::string& entry : entries) entry = folder_.path(entry);
    std::vector<std::string> files = expand_paths(entries, "dataset.path");
    for (std::string& file : files) file = file.substr(folder_.path().size() + 1);
    return files;
  }

  TemporaryFolder folder_;
};

TEST_F(FileList, FilesFoldersAndPatterns) {
  EXPECT_THAT(list({"z.txt"}), ElementsAre("z.txt"));
  EXPECT_THAT(list({"nn"}), ElementsAre("nn/a.py", "nn/b.py", "nn/modules/conv.py", "nn/modules/conv.pyi"));
  EXPECT_THAT(list({"nn/"}), ElementsAre("nn/a.py", "nn/b.py", "nn/modules/conv.py", "nn/modules/conv.pyi"));
  EXPECT_THAT(list({"nn/*.py"}), ElementsAre("nn/a.py", "nn/b.py"));
  EXPECT_THAT(list({"*/*.py"}), ElementsAre("nn/a.py", "nn/b.py", "odd[1]/x.py", "optim/adam.py", "other/skip.py"));
  EXPECT_THAT(list({"{nn,optim,fx}/**/*.py"}),
              ElementsAre("fx/deep/er/node.py", "nn/a.py", "nn/b.py", "nn/modules/conv.py", "optim/adam.py"));
  EXPECT_THAT(list({"**/*.py"}), ElementsAre("fx/deep/er/node.py", "nn/a.py", "nn/b.py", "nn/modules/conv.py",
                                             "odd[1]/x.py", "optim/adam.py", "other/skip.py"));
  EXPECT_THAT(list({"**/**/conv.*"}), ElementsAre("nn/modules/conv.py", "nn/modules/conv.pyi"));
  EXPECT_THAT(list({"fx/**"}), ElementsAre("fx/deep/er/node.py"));
  EXPECT_THAT(list({"fx/**/er/*"}), ElementsAre("fx/deep/er/node.py"));
  EXPECT_THAT(list({"{optim,other}"}), ElementsAre("optim/adam.py", "other/skip.py"));
  EXPECT_THAT(list({"*"}), ElementsAre("z.txt"));
}

TEST_F(FileList, HiddenNamesMustBeSpelledOut) {
  EXPECT_THAT(list({".hidden/*.py"}), ElementsAre(".hidden/h.py"));
  EXPECT_THAT(list({".hid*/*"}), ElementsAre(".hidden/h.py"));
  EXPECT_THAT(list({".hidden"}), ElementsAre(".hidden/h.py"));
  EXPECT_THAT(list({"nn/.secret.py"}), ElementsAre("nn/.secret.py"));
}

TEST_F(FileList, WhatExistsAsWrittenIsNoPattern) {
  EXPECT_THAT(list({"odd[1]"}), ElementsAre("odd[1]/x.py"));
  folder_.write("{a,b}.txt", "x");
  EXPECT_THAT(list({"{a,b}.txt"}), ElementsAre("{a,b}.txt"));
}

TEST_F(FileList, EachFileOnceAndSortedWhateverTheOrderOfEntries) {
  EXPECT_THAT(list({"z.txt", "nn/b.py", "nn/*.py", "./nn//a.py", "{nn,nn}/a.py"}),
              ElementsAre("nn/a.py", "nn/b.py", "z.txt"));
}

TEST_F(FileList, SortsBytewise) {
  for (const char* name : {"s/a", "s/B", "s/\xc3\xa9", "s/a-b", "s/a/c"}) {
    if (std::string(name) != "s/a") folder_.write(name, "x");
  }
  EXPECT_THAT(list({"s"}), ElementsAre("s/B", "s/a-b", "s/a/c", "s/\xc3\xa9"));
}

TEST_F(FileList, LinksToFilesCountAndLinksToFoldersEndTheWalk) {
  ASSERT_EQ(::symlink(folder_.path("z.txt").c_str(), folder_.path("fx/link.txt").c_str()), 0);
  ASSERT_EQ(::symlink(folder_.path("fx").c_str(), folder_.path("fx/loop").c_str()), 0);
  EXPECT_THAT(list({"fx"}), ElementsAre("fx/deep/er/node.py", "fx/link.txt"));
  EXPECT_THAT(list({"fx/loop/*"}), ElementsAre("fx/loop/link.txt"));
}

TEST_F(FileList, PatternWithoutAFileIsNamed) {
  for (const char* entry : {"none.txt", "none/*.py", "nn/*.cpp", "nn/a.py/*"}) {
    const std::string path = folder_.path(entry);
    EXPECT_EQ(bad_input_of([&] {
                expand_paths({folder_.path("z.txt"), path}, "dataset.eval_path");
              }),
              "dataset.eval_path: no file matches " + path +
                  ": check the path (it is relative to the working directory; hidden names are skipped)");
  }
  EXPECT_THAT(bad_input_of([&] { expand_paths({""}, "dataset.path"); }), ::testing::HasSubstr("no file matches \"\""));
}

TEST(FileListRelative, PathsAreRelativeToTheWorkingDirectory) {
  const TemporaryFolder folder;
  folder.write("sub/a.txt", "x");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  EXPECT_THAT(expand_paths({"./sub"}, "k"), ElementsAre("sub/a.txt"));
  EXPECT_THAT(expand_paths({"**/*.txt"}, "k"), ElementsAre("sub/a.txt"));
  EXPECT_THAT(expand_paths({"."}, "k"), ElementsAre("sub/a.txt"));
  std::filesystem::current_path(before);
}

}  // namespace
}  // namespace penstock
