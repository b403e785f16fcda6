#include "model/byte_tokenizer_files.h"

#include <gtest/gtest.h>

#include "core/byte_vocabulary.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

using nlohmann::json;

TEST(ByteTokenizerFiles, VocabularyIsTheByteLevelAlphabetInByteOrder) {
  const json root = json::parse(byte_tokenizer_json());
  const json& vocabulary = root["model"]["vocab"];
  EXPECT_EQ(vocabulary.size(), 256u);
  // Known members of GPT-2's alphabet.
  EXPECT_EQ(vocabulary["A"], 65);
  EXPECT_EQ(vocabulary["\u0120"], 0x20);  // space
  EXPECT_EQ(vocabulary["\u010a"], 0x0a);  // newline
  EXPECT_EQ(vocabulary["\u0100"], 0);
  EXPECT_EQ(vocabulary["\u0121"], 0x7f);
  EXPECT_EQ(vocabulary["\u0143"], 0xad);
  EXPECT_EQ(vocabulary["\u00ff"], 0xff);
  EXPECT_TRUE(root["model"]["merges"].empty());
  EXPECT_EQ(root["added_tokens"][0]["id"], kByteBos);
  EXPECT_EQ(root["added_tokens"][2]["id"], kBytePad);
}

}  // namespace
}  // namespace penstock
