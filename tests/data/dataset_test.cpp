#include "data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "bad_input.h"
#include "data/shuffle.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class DatasetTest : public ::testing::Test {
 protected:
  DatasetTest() {
    options_.paths = {folder_.path("train")};
    options_.vocab_size = 259;
    options_.max_seq_len = 8;
    for (const char* name : {"a", "b", "c", "d"}) folder_.write(std::string("train/") + name, name);
  }

  std::string refusal() const {
    return bad_input_of([&] { Dataset dataset(options_); });
  }

  TemporaryFolder folder_;
  DatasetOptions options_;
};

TEST_F(DatasetTest, WithoutValidation) {
  const Dataset dataset(options_);
  EXPECT_THAT(*dataset.training().documents, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(*dataset.validation().documents, IsEmpty());
}

TEST_F(DatasetTest, SplitsOneStore) {
  options_.val_size = 0.25;
  const Dataset dataset(options_);
  EXPECT_EQ(dataset.training().documents->size(), 3u);
  EXPECT_EQ(dataset.validation().documents->size(), 1u);
  EXPECT_EQ(dataset.validation().store, dataset.training().store);
}

TEST_F(DatasetTest, TheSeedDecidesTheSplit) {
  options_.val_size = 2;
  std::set<std::vector<int64_t>> splits;
  for (options_.seed = 0; options_.seed < 20; ++options_.seed) {
    const Dataset dataset(options_);
    EXPECT_EQ(*dataset.validation().documents, split_documents(4, 2, options_.seed).validation);
    splits.insert(*dataset.validation().documents);
  }
  EXPECT_GT(splits.size(), 1u);
}

TEST_F(DatasetTest, ValidatesOnAnotherPath) {
  options_.eval_paths = {folder_.write("eval/x", "xyz"), folder_.write("eval/y", "y")};
  const Dataset dataset(options_);
  EXPECT_EQ(dataset.training().documents->size(), 4u);
  EXPECT_THAT(*dataset.validation().documents, ElementsAre(0, 1));
  EXPECT_NE(dataset.validation().store, dataset.training().store);
  EXPECT_EQ(dataset.validation().store->token_count(0), 5);
}

TEST_F(DatasetTest, NothingToTrainOn) {
  options_.paths = {folder_.write("empty.txt", "")};
  EXPECT_EQ(refusal(), "dataset.path " + options_.paths[0] +
                           " holds no document: every file or row of it is empty: give files with content");
}

TEST_F(DatasetTest, NothingToPredict) {
  options_.paths = {folder_.write("a.jsonl", "{\"input_ids\": [1, 2], \"labels\": [1, -100]}\n{\"input_ids\": [1]}")};
  EXPECT_EQ(refusal(), "dataset.path " + options_.paths[0] +
                           " has nothing to predict: every label is -100, or every row has one token: give longer rows "
                           "with labels of 0 and above");
}

TEST_F(DatasetTest, ALateTargetIsFound) {
  std::string labels = "-100";
  std::string ids = "1";
  for (int i = 1; i < 400; ++i) {
    ids += ",1";
    labels += i == 399 ? ",5" : ",-100";
  }
  options_.max_seq_len = 400;
  options_.paths = {folder_.write("a.jsonl", "{\"input_ids\": [" + ids + "], \"labels\": [" + labels + "]}")};
  EXPECT_EQ(Dataset(options_).training().documents->size(), 1u);
}

TEST_F(DatasetTest, ASplitThatTakesEverything) {
  options_.val_size = 4;
  EXPECT_EQ(refusal(),
            "dataset.val_size 4 takes all 4 documents of dataset.path " + options_.paths[0] +
                " and leaves none to train on: make it smaller, give more documents, or set dataset.eval_path "
                "instead");
}

TEST_F(DatasetTest, ValidationOfAnotherKind) {
  options_.eval_paths = {folder_.write("e.jsonl", "{\"input_ids\": [1, 2]}")};
  EXPECT_EQ(refusal(), "dataset.eval_path " + options_.eval_paths[0] +
                           " is not of the kind of dataset.path: give text for both, or pre-tokenised rows for both");
}

TEST_F(DatasetTest, EmptyValidation) {
  options_.eval_paths = {folder_.write("e.txt", "")};
  EXPECT_THAT(refusal(), ::testing::StartsWith("dataset.eval_path " + options_.eval_paths[0] + " holds no document"));
}

TEST(DatasetOptionsTest, FormatNames) {
  EXPECT_EQ(dataset_format_from_name("auto"), DatasetFormat::kAuto);
  EXPECT_EQ(dataset_format_from_name("text"), DatasetFormat::kText);
  EXPECT_EQ(dataset_format_from_name("jsonl"), DatasetFormat::kJsonl);
  EXPECT_EQ(bad_input_of([] { dataset_format_from_name("parquet"); }),
            "dataset.format is parquet: set auto, text or jsonl");
}

TEST(DatasetOptionsTest, EveryBadValueIsNamedAtOnce) {
  DatasetOptions options;
  options.max_seq_len = 0;
  options.rows = -1;
  options.micro_batches = 0;
  options.val_size = 1.5;
  EXPECT_EQ(
      bad_input_of([&] { require_valid(options); }),
      "dataset.path is empty: name a file, a folder or a pattern; dataset.max_seq_len is 0: set 1 or more; "
      "training.per_device_train_batch_size is -1: set 1 or more; training.gradient_accumulation_steps is 0: set 1 "
      "or more; model.vocab_size is 0: set 1 or more; dataset.val_size is 1.5: set a part between 0 and 1, a whole "
      "number of documents, or 0 for none");
}

TEST(DatasetOptionsTest, Ranges) {
  DatasetOptions options;
  options.paths = {"x"};
  options.vocab_size = 1;
  EXPECT_NO_THROW(require_valid(options));
  for (const double val_size : {0.0, 0.5, 1.0, 3.0}) {
    options.val_size = val_size;
    EXPECT_NO_THROW(require_valid(options)) << val_size;
  }
  for (const double val_size :
       {-0.5, -1.0, 2.5, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    options.val_size = val_size;
    EXPECT_THAT(bad_input_of([&] { require_valid(options); }), ::testing::StartsWith("dataset.val_size is "));
  }
  options.val_size = 0.5;
  options.eval_paths = {"y"};
  EXPECT_EQ(bad_input_of([&] { require_valid(options); }),
            "dataset.val_size is 0.5 and dataset.eval_path is set too: keep one of them");
  options.val_size = 0;
  EXPECT_NO_THROW(require_valid(options));
  options.rows = 1 << 20;
  options.max_seq_len = 2047;
  EXPECT_NO_THROW(require_valid(options));
  options.max_seq_len = 2048;
  EXPECT_EQ(
      bad_input_of([&] { require_valid(options); }),
      "training.per_device_train_batch_size 1048576 x dataset.max_seq_len 2048 is more than 2147483647 tokens: make "
      "one smaller and training.gradient_accumulation_steps larger");
}

}  // namespace
}  // namespace penstock
