#include "app/tokenizer_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/byte_vocabulary.h"
#include "core/error.h"
#include "core/file.h"
#include "model/byte_tokenizer_files.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

using testing::HasSubstr;

ModelConfig byte_model() {
  ModelConfig model;
  model.vocab_size = kByteVocabularySize;
  model.bos_token_id = kByteBos;
  model.eos_token_ids = {kByteEos};
  model.pad_token_id = kBytePad;
  return model;
}

Tokenizer choose(const TemporaryFolder& folder, Tokenizer asked, const ModelConfig& model, bool from_scratch = true) {
  RunConfig config;
  config.dataset.tokenizer = asked;
  config.model.model_name_or_path = folder.path().string();
  config.model.train_from_scratch = from_scratch;
  return choose_tokenizer(config, folder.path().string(), model);
}

void expect_refused(const TemporaryFolder& folder, Tokenizer asked, const ModelConfig& model, const char* part) {
  for (const bool from_scratch : {true, false}) {
    try {
      choose(folder, asked, model, from_scratch);
      ADD_FAILURE() << "no error with \"" << part << "\"";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_THAT(error.what(), HasSubstr(part));
      EXPECT_THAT(error.what(), HasSubstr(folder.path().string()));
    }
  }
}

TEST(TokenizerChoice, BytesNeedAFolderWithoutATokenizerOfItsOwn) {
  const TemporaryFolder folder;
  for (const char* name : {"tokenizer.json", "vocab.txt", "tekken.json", "tokenizer.model"}) {
    write_text_file(folder.path() / name, "{}");
    expect_refused(folder, Tokenizer::kByte, byte_model(), name);
    std::filesystem::remove(folder.path() / name);
  }
  write_text_file(folder.path() / "special_tokens_map.json", "{}");  // no tokenizer
  EXPECT_EQ(choose(folder, Tokenizer::kByte, byte_model()), Tokenizer::kByte);
}

TEST(TokenizerChoice, BytesNeedAVocabularyThatHoldsThem) {
  const TemporaryFolder folder;
  ModelConfig model = byte_model();
  model.vocab_size = 100;
  expect_refused(folder, Tokenizer::kByte, model, "needs a vocabulary of 259");
  EXPECT_EQ(choose(folder, Tokenizer::kAuto, model), Tokenizer::kNone);
  write_text_file(folder.path() / "tokenizer.json", byte_tokenizer_json());
  expect_refused(folder, Tokenizer::kByte, model, "needs a vocabulary of 259");
  expect_refused(folder, Tokenizer::kAuto, model, "needs a vocabulary of 259");
}

// The byte tokenizer is exported beside the folder's own config.json: the two must agree.
TEST(TokenizerChoice, BytesNeedTheirSpecialTokensInTheConfig) {
  const TemporaryFolder folder;
  ModelConfig model = byte_model();
  model.vocab_size = 300;
  EXPECT_EQ(choose(folder, Tokenizer::kByte, model), Tokenizer::kByte);
  model.pad_token_id = -1;
  EXPECT_EQ(choose(folder, Tokenizer::kByte, model), Tokenizer::kByte);
  const auto edits = {+[](ModelConfig& m) { m.bos_token_id = 1; }, +[](ModelConfig& m) { m.eos_token_ids = {2}; },
                      +[](ModelConfig& m) { m.eos_token_ids = {}; },
                      +[](ModelConfig& m) {
                        m.eos_token_ids = {kByteEos, 2};
                      },
                      +[](ModelConfig& m) { m.pad_token_id = 0; }};
  for (const auto edit : edits) {
    ModelConfig other = byte_model();
    edit(other);
    expect_refused(folder, Tokenizer::kByte, other, "set bos_token_id 256, eos_token_id 257 and pad_token_id 258");
    EXPECT_EQ(choose(folder, Tokenizer::kAuto, other), Tokenizer::kNone);
  }
  EXPECT_EQ(choose(folder, Tokenizer::kAuto, byte_model()), Tokenizer::kByte);
}

}  // namespace
}  // namespace penstock
