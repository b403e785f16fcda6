#include "data/byte_tokenizer.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(ByteTokenizer, EveryByteIsItsOwnId) {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));
  const std::vector<int32_t> tokens = encode_bytes(text);
  ASSERT_EQ(tokens.size(), 256u);
  for (int32_t byte = 0; byte < 256; ++byte) EXPECT_EQ(tokens[byte], byte);
  EXPECT_EQ(decode_bytes(tokens), text);
}

TEST(ByteTokenizer, DecodingSkipsSpecials) {
  EXPECT_EQ(decode_bytes(std::vector<int32_t>{kByteBos, 'a', kBytePad, 0xc3, 0xa9, kByteEos}), "a\xc3\xa9");
}

TEST(ByteTokenizer, SpecialsFollowTheBytes) {
  EXPECT_EQ(kByteBos, 256);
  EXPECT_EQ(kByteEos, 257);
  EXPECT_EQ(kBytePad, 258);
  EXPECT_EQ(kByteVocabularySize, 259);
}

}  // namespace
}  // namespace penstock
