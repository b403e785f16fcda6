#include "data/document_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bad_input.h"
#include "data/byte_tokenizer.h"
#include "data/step_batch.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;

constexpr int32_t kNone = kIgnoredTarget;

DatasetOptions options_for(DatasetFormat format = DatasetFormat::kAuto) {
  DatasetOptions options;
  options.format = format;
  options.vocab_size = 300;
  options.max_seq_len = 4;
  return options;
}

struct ReadDocument {
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
};

ReadDocument read_all(const DocumentStore& store, int64_t document) {
  ReadDocument result;
  result.tokens.resize(static_cast<size_t>(store.token_count(document)));
  result.targets.resize(result.tokens.size());
  store.read(document, 0, result.tokens, result.targets);
  return result;
}

class DocumentFiles : public ::testing::Test {
 protected:
  std::unique_ptr<DocumentStore> load(const std::string& path, DatasetFormat format = DatasetFormat::kAuto) const {
    return load_documents({path}, "dataset.path", options_for(format));
  }

  // The message of a JSONL file's refusal, without the folder.
  std::string refusal(const std::string& jsonl) const {
    const std::string path = folder_.write("rows.jsonl", jsonl);
    const std::string message = bad_input_of([&] { load(path); });
    EXPECT_THAT(message, ::testing::StartsWith(path));
    return message.substr(folder_.path().size() + 1);
  }

  TemporaryFolder folder_;
};

TEST_F(DocumentFiles, ATextFileIsOneDocument) {
  const auto store = load(folder_.write("a.txt", "h\xc3\xa9\n"));
  ASSERT_EQ(store->document_count(), 1);
  EXPECT_EQ(store->kind(), DocumentKind::kText);
  EXPECT_EQ(store->padding_token(), kBytePad);
  const ReadDocument document = read_all(*store, 0);
  EXPECT_THAT(document.tokens, ElementsAre(kByteBos, 'h', 0xc3, 0xa9, '\n', kByteEos));
  EXPECT_THAT(document.targets, ElementsAre('h', 0xc3, 0xa9, '\n', kByteEos, kNone));
  EXPECT_EQ(store->target_bytes(0, 0, 6), 4);  // EOS and none are no bytes
  EXPECT_EQ(store->target_bytes(0, 1, 2), 2);
  EXPECT_EQ(store->target_bytes(0, 3, 3), 1);
}

TEST_F(DocumentFiles, AnyRangeOfADocumentReadsAsTheWholeDoes) {
  const auto text = load(folder_.write("a.txt", "abcde"));
  const auto rows = load(folder_.write("a.jsonl", "{\"input_ids\": [5, 6, 7, 8], \"labels\": [1, -100, 3, 4]}"));
  for (const DocumentStore* store : {text.get(), rows.get()}) {
    const ReadDocument whole = read_all(*store, 0);
    const int64_t total = store->token_count(0);
    for (int64_t offset = 0; offset <= total; ++offset) {
      for (int64_t count = 0; offset + count <= total; ++count) {
        std::vector<int32_t> tokens(static_cast<size_t>(count));
        std::vector<int32_t> targets(tokens.size());
        store->read(0, offset, tokens, targets);
        EXPECT_THAT(tokens, ::testing::ElementsAreArray(whole.tokens.data() + offset, tokens.size()));
        EXPECT_THAT(targets, ::testing::ElementsAreArray(whole.targets.data() + offset, targets.size()));
      }
    }
  }
}

TEST_F(DocumentFiles, FilesComeInOrderAndEmptyOnesAreSkipped) {
  folder_.write("t/b.txt", "B");
  folder_.write("t/a.md", "A");
  folder_.write("t/empty.txt", "");
  folder_.write("t/c.jsonl", "{\"text\": \"C\"}\n{\"text\": \"\"}\n");  // JSONL with text is text too
  const auto store = load(folder_.path("t"));
  ASSERT_EQ(store->document_count(), 3);
  for (int64_t i = 0; i < 3; ++i) EXPECT_THAT(read_all(*store, i).tokens, ElementsAre(kByteBos, 'A' + i, kByteEos));
}

TEST_F(DocumentFiles, FormatTextTakesJsonlAsBytes) {
  const auto store = load(folder_.write("a.jsonl", "{}"), DatasetFormat::kText);
  EXPECT_THAT(read_all(*store, 0).tokens, ElementsAre(kByteBos, '{', '}', kByteEos));
}

TEST_F(DocumentFiles, FormatJsonlTakesAnyEnding) {
  EXPECT_EQ(
      load(folder_.write("a.json", "{\"text\": \"x\"}\n{\"text\": \"y\"}"), DatasetFormat::kJsonl)->document_count(),
      2);
}

TEST_F(DocumentFiles, JsonlTextSkipsBlankLinesAndDecodesEscapes) {
  const auto store =
      load(folder_.write("a.jsonl", "\xef\xbb\xbf\n{\"id\": 1, \"text\": \"a\\n\\u00e9\"}\r\n \t\n{\"text\": \"z\"}"));
  ASSERT_EQ(store->document_count(), 2);
  EXPECT_THAT(read_all(*store, 0).tokens, ElementsAre(kByteBos, 'a', '\n', 0xc3, 0xa9, kByteEos));
  EXPECT_THAT(read_all(*store, 1).tokens, ElementsAre(kByteBos, 'z', kByteEos));
}

// labels[i] belongs to input_ids[i]; position i - 1 predicts it, so the first label is never trained.
TEST_F(DocumentFiles, LabelsAreShifted) {
  const auto store = load(folder_.write("a.jsonl",
                                        "{\"input_ids\": [5, 6, 7, 8]}\n"
                                        "{\"input_ids\": [5, 6, 7, 8], \"labels\": [-100, -100, 9, 0]}\n"
                                        "{\"input_ids\": [5, 6], \"labels\": [5, 6]}\n"
                                        "{\"input_ids\": []}\n"
                                        "{\"input_ids\": [299]}\n"));
  EXPECT_EQ(store->kind(), DocumentKind::kPretokenized);
  EXPECT_EQ(store->padding_token(), 0);
  ASSERT_EQ(store->document_count(), 4);
  EXPECT_THAT(read_all(*store, 0).tokens, ElementsAre(5, 6, 7, 8));
  EXPECT_THAT(read_all(*store, 0).targets, ElementsAre(6, 7, 8, kNone));
  EXPECT_THAT(read_all(*store, 1).tokens, ElementsAre(5, 6, 7, 8));
  EXPECT_THAT(read_all(*store, 1).targets, ElementsAre(kNone, 9, 0, kNone));
  EXPECT_THAT(read_all(*store, 2).targets, ElementsAre(6, kNone));
  EXPECT_THAT(read_all(*store, 3).targets, ElementsAre(kNone));
  EXPECT_EQ(store->target_bytes(0, 0, 4), 0);
}

TEST_F(DocumentFiles, JsonlRefusals) {
  const std::string text = "{\"text\": \"x\"}\n\n";
  const std::string ids = "{\"input_ids\": [1]}\n";
  EXPECT_EQ(refusal("{\"id\": 1}"),
            "rows.jsonl:1: the first row has neither \"text\" nor \"input_ids\": give every row one of them");
  EXPECT_EQ(refusal(text + "{\"input_ids\": [1]}"),
            "rows.jsonl:3: the row has no \"text\", as the rows before: add it or drop the row");
  EXPECT_EQ(refusal(text + "{\"text\": 5}"),
            "rows.jsonl:3: \"text\" is not a string: write the document as one JSON string");
  EXPECT_EQ(refusal(text + "[1]"),
            "rows.jsonl:3: the row is not an object: write {\"text\": ...} or {\"input_ids\": [...]}");
  EXPECT_EQ(refusal(ids + "{\"text\": \"x\"}"),
            "rows.jsonl:2: the row has no \"input_ids\", as the rows before: add them or drop the row");
  EXPECT_EQ(refusal(ids + "{\"input_ids\": 1}"),
            "rows.jsonl:2: \"input_ids\" is not an array: write token ids in brackets");
  EXPECT_EQ(refusal(ids + "{\"input_ids\": [1, 2.0]}"),
            "rows.jsonl:2: \"input_ids\"[1] is not an integer: write token ids");
  EXPECT_EQ(refusal(ids + "{\"input_ids\": [18446744073709551615]}"),
            "rows.jsonl:2: \"input_ids\"[0] is not an integer: write token ids");
  EXPECT_EQ(
      refusal(ids + "{\"input_ids\": [299, 300]}"),
      "rows.jsonl:2: \"input_ids\"[1] is 300, outside the model's vocabulary of 300: use the model's own tokenizer");
  EXPECT_EQ(refusal(ids + "{\"input_ids\": [4294967297]}"),
            "rows.jsonl:2: \"input_ids\"[0] is 4294967297, outside the model's vocabulary of 300: use the model's own "
            "tokenizer");
  EXPECT_EQ(
      refusal(ids + "{\"input_ids\": [-100]}"),
      "rows.jsonl:2: \"input_ids\"[0] is -100, outside the model's vocabulary of 300: use the model's own tokenizer");
  EXPECT_EQ(refusal(ids + "{\"input_ids\": [1, 2], \"labels\": [1, -1]}"),
            "rows.jsonl:2: \"labels\"[1] is -1, outside the model's vocabulary of 300: use the model's own tokenizer");
  EXPECT_EQ(
      refusal(ids + "{\"input_ids\": [1, 2], \"labels\": [1]}"),
      "rows.jsonl:2: \"labels\" has 1 entries and \"input_ids\" has 2: give every token one label (-100: untrained)");
  EXPECT_EQ(refusal(ids + "{\"input_ids\": [1, 2], \"labels\": null}"),
            "rows.jsonl:2: \"labels\" is not an array: write token ids in brackets");
  EXPECT_EQ(refusal(ids + "{\"input_ids\": [1, 2, 3, 4]}\n{\"input_ids\": [1, 2, 3, 4, 5]}"),
            "rows.jsonl:3: the row has 5 tokens and dataset.max_seq_len is 4: raise it or split the row");
}

TEST_F(DocumentFiles, BrokenJsonIsNamedByLine) {
  for (const char* row : {"{\"text\": \"x\"", "{\"text\": \"x\"} {\"text\": \"y\"}", "text", "{\"text\": \"\xff\"}",
                          "{\"text\": \"\\ud800\"}", "{\"text\": \"a\tb\"}", "{\"text\": \"x\",}"}) {
    const std::string message = refusal("{\"text\": \"x\"}\n" + std::string(row) + "\n{\"text\": \"x\"}\n");
    EXPECT_THAT(message, ::testing::StartsWith("rows.jsonl:2: not valid JSON (")) << row;
    EXPECT_THAT(message, ::testing::EndsWith("): write one object per line")) << row;
  }
}

TEST_F(DocumentFiles, InvalidUtf8IsNamedByByte) {
  const std::string path = folder_.write("a.txt", "h\xc3\xa9\xff");
  EXPECT_EQ(bad_input_of([&] { load(path); }),
            path + ": byte 3 (0xff) is not UTF-8: convert the file to UTF-8 or leave it out");
}

TEST_F(DocumentFiles, KindsDoNotMix) {
  const std::string text = folder_.write("m/a.txt", "x");
  const std::string rows = folder_.write("m/b.jsonl", "{\"input_ids\": [1]}");
  EXPECT_EQ(
      bad_input_of([&] { load(folder_.path("m")); }),
      rows + " holds pre-tokenised rows, but " + text + " holds text: a data set is of one kind, name one of them");
}

TEST_F(DocumentFiles, JsonIsReadInNoFormatByItself) {
  const std::string path = folder_.write("a.json", "[]");
  EXPECT_EQ(bad_input_of([&] { load(path); }),
            path +
                ": a .json file is read in no format by itself: set dataset.format=jsonl (one object per line) or text "
                "(its bytes)");
}

TEST_F(DocumentFiles, TextNeedsTheByteVocabulary) {
  const std::string path = folder_.write("a.txt", "x");
  DatasetOptions options = options_for();
  options.vocab_size = kByteVocabularySize;
  EXPECT_EQ(load_documents({path}, "dataset.path", options)->document_count(), 1);
  options.vocab_size = kByteVocabularySize - 1;
  EXPECT_EQ(bad_input_of([&] { load_documents({path}, "dataset.path", options); }),
            path +
                " is text, which needs a vocabulary of 259 (bytes and specials), and the model's is 258: use a "
                "model with a larger one or give pre-tokenised rows");
}

}  // namespace
}  // namespace penstock
