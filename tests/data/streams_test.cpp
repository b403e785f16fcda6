// TrainingStream and EvaluationStream against the brute-force packer, over many small shapes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <set>

#include "bad_input.h"
#include "data/byte_tokenizer.h"
#include "data/evaluation_stream.h"
#include "data/shuffle.h"
#include "data/training_stream.h"
#include "row_checker.h"

namespace penstock {
namespace {

struct Setting {
  DocumentKind kind;
  bool packing;
  int64_t row_tokens;
  int64_t rows;
  int64_t micro_batches;
  int64_t documents;

  DatasetOptions options(uint64_t seed) const {
    DatasetOptions options;
    options.packing = packing;
    options.max_seq_len = row_tokens;
    options.rows = rows;
    options.micro_batches = micro_batches;
    options.seed = seed;
    return options;
  }

  RandomDocuments make(uint64_t seed) const {
    const int64_t longest = kind == DocumentKind::kText ? 40 : row_tokens;
    return random_documents(kind, documents, longest, seed);
  }
};

std::ostream& operator<<(std::ostream& out, const Setting& s) {
  return out << (s.kind == DocumentKind::kText ? "text" : "rows") << (s.packing ? " packed" : " single") << " T "
             << s.row_tokens << " B " << s.rows << " M " << s.micro_batches << " documents " << s.documents;
}

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const DocumentKind kind : {DocumentKind::kText, DocumentKind::kPretokenized}) {
    for (const bool packing : {true, false}) {
      for (const int64_t row_tokens : {1, 2, 3, 7, 16, 64}) {
        all.push_back({kind, packing, row_tokens, 1, 1, 5});
        all.push_back({kind, packing, row_tokens, 3, 2, 17});
        all.push_back({kind, packing, row_tokens, 2, 3, 1});  // a step holds several epochs
      }
    }
  }
  return all;
}

void train_and_tick_off(const Setting& setting) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(::testing::Message() << setting << " seed " << seed);
    const RandomDocuments documents = setting.make(seed);
    const std::vector<int64_t> all = documents.all();
    const DatasetOptions options = setting.options(seed);
    TrainingStream stream({documents.store.get(), &all}, options);
    RowChecker checker(documents, all, options);
    while (checker.cursor().epoch < 4) {
      const StepBatch step = stream.next();
      ASSERT_EQ(std::ssize(step.micro_batches), setting.micro_batches);
      int64_t trained = 0, real = 0, bytes = 0;
      for (const MicroBatch& batch : step.micro_batches) {
        checker.check(batch);
        trained += batch.trained_tokens;
        real += batch.real_tokens;
        bytes += batch.target_bytes;
      }
      ASSERT_FALSE(::testing::Test::HasFailure());
      EXPECT_EQ(step.trained_tokens, trained);
      EXPECT_EQ(step.real_tokens, real);
      EXPECT_EQ(step.target_bytes, bytes);
      EXPECT_EQ(step.cursor, checker.cursor());
    }
    for (int64_t epoch = 0; epoch < 4; ++epoch) {
      EXPECT_EQ(stream.rows_in_epoch(epoch), std::ssize(checker.orders()[static_cast<size_t>(epoch)]));
    }
  }
}

TEST(TrainingStream, VisitsEveryRowOnceAnEpoch) {
  for (const Setting& setting : settings()) ASSERT_NO_FATAL_FAILURE(train_and_tick_off(setting));
}

void resume_everywhere(const Setting& setting) {
  const RandomDocuments documents = setting.make(9);
  const std::vector<int64_t> all = documents.all();
  const DocumentSelection selection{documents.store.get(), &all};
  TrainingStream uninterrupted(selection, setting.options(9));
  std::vector<StepBatch> steps;
  while (steps.size() < 6 || (steps.back().cursor.epoch < 2 && steps.size() < 100)) {
    steps.push_back(uninterrupted.next());
  }
  for (size_t k = 0; k + 1 < steps.size(); ++k) {
    SCOPED_TRACE(::testing::Message() << setting << " resumed after step " << k);
    TrainingStream resumed(selection, setting.options(9), steps[k].cursor);
    for (size_t j = k + 1; j < std::min(steps.size(), k + 6); ++j) ASSERT_TRUE(resumed.next() == steps[j]);
  }
}

TEST(TrainingStream, AnyCursorContinuesExactly) {
  for (const Setting& setting : settings()) ASSERT_NO_FATAL_FAILURE(resume_everywhere(setting));
}

void evaluate_and_compare(const Setting& setting) {
  SCOPED_TRACE(::testing::Message() << setting);
  const RandomDocuments documents = setting.make(5);
  const DatasetOptions options = setting.options(5);
  std::vector<int64_t> selected;
  for (int64_t i = 0; i < setting.documents; i += 2) selected.push_back(i);
  std::vector<PackedRow> expected = brute_rows(documents, selected, options);
  while (std::ssize(expected) % (setting.rows * setting.micro_batches) != 0) {
    expected.push_back(padding_row(setting.kind, options));
  }
  EvaluationStream stream({documents.store.get(), &selected}, options);
  std::vector<PackedRow> rows;
  int64_t steps = 0, trained = 0, bytes = 0;
  for (; !stream.done(); ++steps) {
    const StepBatch step = stream.next();
    ASSERT_EQ(std::ssize(step.micro_batches), setting.micro_batches);
    for (const MicroBatch& batch : step.micro_batches) {
      for (const PackedRow& row : take_apart(batch, setting.kind, options)) rows.push_back(row);
    }
    trained += step.trained_tokens;
    bytes += step.target_bytes;
  }
  EXPECT_EQ(steps, stream.step_count());
  ASSERT_TRUE(rows == expected);
  int64_t expected_trained = 0, expected_bytes = 0;
  for (const int64_t index : selected) {
    for (const int32_t target : documents.plain[static_cast<size_t>(index)].targets) {
      expected_trained += target != kIgnoredTarget ? 1 : 0;
      expected_bytes += setting.kind == DocumentKind::kText && target >= 0 && target < kByteBos ? 1 : 0;
    }
  }
  EXPECT_EQ(trained, expected_trained);
  EXPECT_EQ(bytes, expected_bytes);
}

TEST(EvaluationStream, VisitsEveryRowOnceInOrder) {
  for (const Setting& setting : settings()) ASSERT_NO_FATAL_FAILURE(evaluate_and_compare(setting));
}

void count_steps(const Setting& setting) {
  SCOPED_TRACE(::testing::Message() << setting);
  const RandomDocuments documents = setting.make(3);
  const std::vector<int64_t> all = documents.all();
  TrainingStream stream({documents.store.get(), &all}, setting.options(3));
  int64_t steps = 0;
  for (int64_t epochs = 1; epochs <= 3; ++epochs) {
    const int64_t expected = stream.steps_for_epochs(static_cast<double>(epochs));
    DataCursor cursor;
    TrainingStream replay({documents.store.get(), &all}, setting.options(3));
    for (steps = 0; cursor.epoch < epochs; ++steps) cursor = replay.next().cursor;
    EXPECT_EQ(expected, steps);
  }
  const double rows = static_cast<double>(stream.rows_in_epoch(0));
  const double step_rows = static_cast<double>(setting.rows * setting.micro_batches);
  EXPECT_EQ(stream.steps_for_epochs(0.25), static_cast<int64_t>(std::ceil(std::ceil(rows * 0.25) / step_rows)));
}

TEST(TrainingStream, StepsForEpochsIsTheFirstStepThatGetsThere) {
  for (const Setting& setting : settings()) ASSERT_NO_FATAL_FAILURE(count_steps(setting));
}

std::vector<std::vector<int64_t>> row_orders(const RandomDocuments& documents, const DatasetOptions& options) {
  const std::vector<int64_t> all = documents.all();
  TrainingStream stream({documents.store.get(), &all}, options);
  RowChecker checker(documents, all, options);
  while (checker.cursor().epoch < 3 && !::testing::Test::HasFailure()) checker.check(stream.next().micro_batches[0]);
  return checker.orders();
}

// One long document: its rows come in another order each epoch and for each seed, and no step is a run of neighbours.
TEST(TrainingStream, RowsOfALongDocumentAreSpread) {
  const RandomDocuments documents = random_documents(DocumentKind::kText, 1, 20000, 4);
  DatasetOptions options;
  options.max_seq_len = 16;
  std::set<std::vector<int64_t>> orders;
  for (options.seed = 1; options.seed <= 3; ++options.seed) {
    for (const std::vector<int64_t>& order : row_orders(documents, options)) {
      SCOPED_TRACE(options.seed);
      ASSERT_GT(order.size(), 100u);
      EXPECT_TRUE(orders.insert(order).second) << "an order twice";
      int64_t neighbours = 0;
      for (size_t i = 1; i < order.size(); ++i) neighbours += std::abs(order[i] - order[i - 1]) == 1 ? 1 : 0;
      EXPECT_LT(neighbours, 12);  // 2 are expected of a random order, whatever its size
    }
  }
  EXPECT_EQ(orders.size(), 9u);
}

// One row a document: were both permutations one, a row order would equal the document order.
TEST(TrainingStream, RowsAreNotShuffledAsDocumentsAre) {
  const RandomDocuments documents = random_documents(DocumentKind::kPretokenized, 30, 8, 4);
  DatasetOptions options;
  options.max_seq_len = 8;
  options.packing = false;
  options.seed = 4;
  const std::vector<std::vector<int64_t>> orders = row_orders(documents, options);
  ASSERT_EQ(orders.size(), 3u);
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    EXPECT_NE(orders[static_cast<size_t>(epoch)], document_permutation(30, options.seed, epoch));
  }
}

TEST(TrainingStream, OnlySelectedDocumentsAreUsed) {
  const Setting setting{DocumentKind::kText, true, 16, 2, 2, 17};
  const RandomDocuments documents = setting.make(1);
  const std::vector<int64_t> some{1, 4, 5, 16};
  const DatasetOptions options = setting.options(1);
  TrainingStream stream({documents.store.get(), &some}, options);
  RowChecker checker(documents, some, options);
  while (checker.cursor().epoch < 3) {
    for (const MicroBatch& batch : stream.next().micro_batches) checker.check(batch);
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
}

// The row border cuts "abcd": the last position of the first row still predicts what the second row begins with. A step
// holds both rows, in the order of the seed.
TEST(TrainingStream, ACutDocumentKeepsItsTargets) {
  const auto store = make_text_store({"abcd"});
  const std::vector<int64_t> all{0};
  DatasetOptions options;
  options.max_seq_len = 4;
  options.rows = 2;
  const PackedRow first{{kByteBos, 'a', 'b', 'c'}, {'a', 'b', 'c', 'd'}, {0, 1, 2, 3}, {4}};
  const PackedRow second{{'d', kByteEos, kBytePad, kBytePad}, {kByteEos, -100, -100, -100}, {0, 1, 0, 1}, {2, 2}};
  const MicroBatch batch = TrainingStream({store.get(), &all}, options).next().micro_batches[0];
  EXPECT_THAT(take_apart(batch, DocumentKind::kText, options), ::testing::UnorderedElementsAre(first, second));
  EXPECT_EQ(batch.trained_tokens, 5);
  EXPECT_EQ(batch.real_tokens, 6);
  EXPECT_EQ(batch.target_bytes, 4);
}

TEST(TrainingStream, AStepWithoutTargetsIsDelivered) {
  const auto store = make_pretokenized_store({{{7, 8}, {-100, -100}}});
  const std::vector<int64_t> all{0};
  DatasetOptions options;
  options.max_seq_len = 4;
  const StepBatch step = TrainingStream({store.get(), &all}, options).next();
  EXPECT_EQ(step.trained_tokens, 0);
  EXPECT_EQ(step.real_tokens, 2);
  EXPECT_THAT(step.micro_batches[0].tokens, ::testing::ElementsAre(7, 8, 0, 0));
}

TEST(TrainingStream, ACursorOfOtherDataIsRefused) {
  const auto text = make_text_store({"ab", "cdef"});  // 4 and 6 tokens
  const std::vector<int64_t> all{0, 1};
  DatasetOptions options;
  options.max_seq_len = 4;
  const auto refusal = [&](const DataCursor& cursor) {
    return bad_input_of([&] { TrainingStream({text.get(), &all}, options, cursor); });
  };
  EXPECT_EQ(refusal({.epoch = 2, .row = 3}),
            "the data cursor (epoch 2, row 3) is outside dataset.path with its 3 rows: resume with the data, "
            "dataset.val_size, dataset.max_seq_len and dataset.packing that the run began with");
  refusal({.epoch = 0, .row = -1});
  refusal({.epoch = -1, .row = 0});
  EXPECT_NO_THROW(TrainingStream({text.get(), &all}, options, {.epoch = 2, .row = 2}));
}

}  // namespace
}  // namespace penstock
