#include "data/shuffle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<int64_t> first_numbers(int64_t count) {
  std::vector<int64_t> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  return numbers;
}

constexpr auto kPermutations = {&document_permutation, &row_permutation};

TEST(Shuffle, EveryEpochIsAPermutationAndNoTwoAgree) {
  std::set<std::vector<int64_t>> seen;
  for (const auto& permutation : kPermutations) {
    for (const uint64_t seed : {0u, 1u, 42u}) {
      for (int64_t epoch = 0; epoch < 20; ++epoch) {
        std::vector<int64_t> order = permutation(50, seed, epoch);
        EXPECT_EQ(order, permutation(50, seed, epoch));
        EXPECT_TRUE(seen.insert(order).second) << "seed " << seed << " epoch " << epoch;
        std::sort(order.begin(), order.end());
        EXPECT_EQ(order, first_numbers(50));
      }
    }
    EXPECT_THAT(permutation(0, 1, 0), IsEmpty());
    EXPECT_THAT(permutation(1, 1, 0), ElementsAre(0));
  }
}

// A cursor of an old checkpoint must find the order it was saved under, whatever the version.
TEST(Shuffle, TheOrderIsPartOfTheFormat) {
  EXPECT_THAT(document_permutation(8, 42, 0), ElementsAre(6, 0, 7, 4, 5, 2, 1, 3));
  EXPECT_THAT(document_permutation(8, 42, 1), ElementsAre(0, 5, 2, 1, 4, 6, 3, 7));
  EXPECT_THAT(row_permutation(8, 42, 0), ElementsAre(5, 2, 0, 4, 3, 1, 6, 7));
  EXPECT_THAT(row_permutation(8, 42, 1), ElementsAre(6, 3, 1, 0, 7, 5, 2, 4));
  EXPECT_THAT(split_documents(8, 3, 42).validation, ElementsAre(1, 2, 3));
}

// All 24 orders of 4, about equally often: 6 sigma is 132 of 500.
TEST(Shuffle, NoOrderIsPreferred) {
  for (const auto& permutation : kPermutations) {
    std::map<std::vector<int64_t>, int> counts;
    for (int64_t epoch = 0; epoch < 24 * 500; ++epoch) ++counts[permutation(4, 7, epoch)];
    EXPECT_EQ(counts.size(), 24u);
    for (const auto& [order, count] : counts) EXPECT_NEAR(count, 500, 132) << ::testing::PrintToString(order);
  }
}

TEST(Split, IsDisjointCompleteAndStable) {
  for (const double val_size : {0.0, 0.1, 0.5, 0.999, 1.0, 7.0, 19.0}) {
    SCOPED_TRACE(val_size);
    const DocumentSplit split = split_documents(20, val_size, 3);
    EXPECT_EQ(split.training, split_documents(20, val_size, 3).training);
    EXPECT_TRUE(std::is_sorted(split.training.begin(), split.training.end()));
    EXPECT_TRUE(std::is_sorted(split.validation.begin(), split.validation.end()));
    std::vector<int64_t> all = split.training;
    all.insert(all.end(), split.validation.begin(), split.validation.end());
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, first_numbers(20));
  }
  EXPECT_NE(split_documents(20, 7, 3).validation, split_documents(20, 7, 4).validation);
  EXPECT_NE(split_documents(20, 7, 3).validation, first_numbers(7));
}

TEST(Split, Sizes) {
  const auto size = [](int64_t count, double val_size) {
    return split_documents(count, val_size, 1).validation.size();
  };
  EXPECT_EQ(size(100, 0), 0u);
  EXPECT_EQ(size(100, 0.07), 7u);
  EXPECT_EQ(size(100, 0.29), 29u);  // 0.29 * 100 is a little less than 29
  EXPECT_EQ(size(10, 0.01), 1u);    // asked for: at least one
  EXPECT_EQ(size(100, 1), 1u);
  EXPECT_EQ(size(100, 12), 12u);
  EXPECT_EQ(size(3, 12), 3u);
  EXPECT_EQ(size(0, 0.5), 0u);
}

}  // namespace
}  // namespace penstock
