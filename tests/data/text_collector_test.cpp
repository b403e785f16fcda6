#include "data/text_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "bad_input.h"
#include "data/document_files.h"
#include "data/step_batch.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;

// A token a letter: 'a' is 0, 'b' is 1, a space is none. Notes what it was asked.
class LetterEncoder final : public TextEncoder {
 public:
  explicit LetterEncoder(std::vector<size_t>& batches) : batches_(batches) {}

  std::vector<std::vector<int32_t>> encode_documents(std::span<const std::string> texts) override {
    batches_.push_back(texts.size());
    std::vector<std::vector<int32_t>> result(texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      for (const char c : texts[i]) {
        if (c != ' ') result[i].push_back(c - 'a');
      }
    }
    return result;
  }

 private:
  std::vector<size_t>& batches_;
};

class TextCollectorTest : public ::testing::Test {
 protected:
  DatasetOptions options() {
    DatasetOptions options;
    options.tokenizer = Tokenizer::kModel;
    options.vocab_size = 20;
    options.start_encoder = [this] {
      ++starts_;
      return std::make_unique<LetterEncoder>(batches_);
    };
    return options;
  }

  static std::vector<int32_t> tokens_of(const DocumentStore& store, int64_t document) {
    std::vector<int32_t> tokens(static_cast<size_t>(store.token_count(document)));
    std::vector<int32_t> targets(tokens.size());
    store.read(document, 0, tokens, targets);
    return tokens;
  }

  TemporaryFolder folder_;
  std::vector<size_t> batches_;
  int starts_ = 0;
};

TEST_F(TextCollectorTest, FilesAndRowsBecomeIds) {
  folder_.write("1.txt", "abc");
  folder_.write("2.jsonl", "{\"text\": \"ba\"}\n{\"text\": \"\"}\n{\"text\": \"  \"}\n{\"text\": \"d e\"}\n");
  const auto store = load_documents({folder_.path()}, "dataset.path", options());
  EXPECT_EQ(store->kind(), DocumentKind::kText);
  ASSERT_EQ(store->document_count(), 3);  // not the empty one, nor the one without tokens
  EXPECT_THAT(tokens_of(*store, 0), ElementsAre(0, 1, 2));
  EXPECT_THAT(tokens_of(*store, 1), ElementsAre(1, 0));
  EXPECT_THAT(tokens_of(*store, 2), ElementsAre(3, 4));
  EXPECT_EQ(starts_, 1);
}

TEST_F(TextCollectorTest, NoTextStartsNoEncoder) {
  const auto rows = load_documents({folder_.write("a.jsonl", "{\"input_ids\": [1, 2]}")}, "dataset.path", options());
  EXPECT_EQ(rows->kind(), DocumentKind::kPretokenized);
  EXPECT_EQ(load_documents({folder_.write("b.txt", "")}, "dataset.path", options())->document_count(), 0);
  EXPECT_EQ(starts_, 0);
}

TEST_F(TextCollectorTest, BatchesAreBounded) {
  const DatasetOptions settings = options();
  TextCollector collector(settings);
  for (int i = 0; i < 2500; ++i) collector.add(std::string(1, static_cast<char>('a' + i % 20)), "");
  const std::string large(TextCollector::kBatchBytes, 'a');
  collector.add(large, "");
  collector.add("b", "");
  const auto store = collector.finish();
  EXPECT_THAT(batches_, ElementsAre(1000, 1000, 501, 1));
  ASSERT_EQ(store->document_count(), 2502);
  for (int i = 0; i < 2500; ++i) ASSERT_THAT(tokens_of(*store, i), ElementsAre(i % 20));
  EXPECT_EQ(store->token_count(2500), std::ssize(large));
  EXPECT_EQ(starts_, 1);
}

TEST_F(TextCollectorTest, AnIdBeyondTheVocabularyNamesItsDocument) {
  const std::string rows = folder_.write("rows.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"at\"}\n{\"text\": \"au\"}\n");
  EXPECT_EQ(bad_input_of([&] { load_documents({rows}, "dataset.path", options()); }),
            rows +
                ":4: the tokenizer makes id 20 of it, outside the model's vocabulary of 20: use the tokenizer that "
                "belongs to the model");
  const std::string text = folder_.write("a.txt", "z");
  EXPECT_THAT(bad_input_of([&] { load_documents({text}, "dataset.path", options()); }),
              ::testing::StartsWith(text + ": the tokenizer makes id 25"));
}

TEST_F(TextCollectorTest, TextWithoutATokenizerIsRefused) {
  DatasetOptions none = options();
  none.tokenizer = Tokenizer::kNone;
  for (const std::string& path : {folder_.write("a.txt", "some"), folder_.write("a.jsonl", "{\"text\": \"some\"}")}) {
    EXPECT_THAT(bad_input_of([&] { load_documents({path}, "dataset.path", none); }),
                ::testing::StartsWith(path + " holds text, and there is no tokenizer for it"));
  }
  EXPECT_EQ(load_documents({folder_.write("b.jsonl", "{\"input_ids\": [1]}")}, "dataset.path", none)->document_count(),
            1);
}

// However a document is cut, its targets stand for all its bytes, and every range reads as in the whole.
TEST(EncodedStore, AnyCutAddsUpToTheText) {
  for (const int64_t token_count : {1, 2, 3, 7}) {
    for (const int64_t text_bytes : {1, 3, 6, 100}) {
      EncodedDocuments documents;
      documents.append(std::vector<int32_t>{9, 9}, 5);
      std::vector<int32_t> ids(static_cast<size_t>(token_count));
      std::iota(ids.begin(), ids.end(), 0);
      documents.append(ids, text_bytes);
      const auto store = make_encoded_store(std::move(documents));
      for (int64_t cut = 0; cut <= token_count; ++cut) {
        const int64_t left = store->target_bytes(1, 0, cut), right = store->target_bytes(1, cut, token_count - cut);
        EXPECT_EQ(left + right, token_count == 1 ? 0 : text_bytes);
        if (cut > 0 && cut < token_count) {
          EXPECT_NEAR(static_cast<double>(left), static_cast<double>(text_bytes * cut) / (token_count - 1.0), 1);
        }
        std::vector<int32_t> tokens(static_cast<size_t>(cut)), targets(tokens.size());
        store->read(1, token_count - cut, tokens, targets);
        for (int64_t i = 0; i < cut; ++i) {
          const int64_t place = token_count - cut + i;
          EXPECT_EQ(tokens[static_cast<size_t>(i)], place);
          EXPECT_EQ(targets[static_cast<size_t>(i)], place + 1 < token_count ? place + 1 : kIgnoredTarget);
        }
      }
    }
  }
}

}  // namespace
}  // namespace penstock
