#include "data/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace penstock {
namespace {

// Encodes any number below 2^21, valid or not.
std::string encoded(uint32_t code) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80u | ((code >> shift) & 0x3fu)); };
  if (code < 0x80) return {static_cast<char>(code)};
  if (code < 0x800) return {static_cast<char>(0xc0u | (code >> 6)), tail(0)};
  if (code < 0x10000) return {static_cast<char>(0xe0u | (code >> 12)), tail(6), tail(0)};
  return {static_cast<char>(0xf0u | (code >> 18)), tail(12), tail(6), tail(0)};
}

TEST(Utf8, AcceptsEveryCharacterAndNamesEverySurrogateAndTooLargeCode) {
  for (uint32_t code = 0; code < 0x120000; ++code) {
    const bool valid = code < 0xd800 || (code > 0xdfff && code < 0x110000);
    const std::optional<size_t> found = first_invalid_utf8("ab" + encoded(code) + "c");
    ASSERT_EQ(found, valid ? std::nullopt : std::optional<size_t>(2)) << std::hex << code;
  }
}

TEST(Utf8, NamesTheFirstByteOfTheBrokenCharacter) {
  EXPECT_EQ(first_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(first_invalid_utf8("\xc3\xa9\xff"), 2u);
  EXPECT_EQ(first_invalid_utf8("a\x80"), 1u);             // a continuation without a lead
  EXPECT_EQ(first_invalid_utf8("a\xe2\x82"), 1u);         // cut at the end
  EXPECT_EQ(first_invalid_utf8("a\xe2\x82z"), 1u);        // cut by another character
  EXPECT_EQ(first_invalid_utf8("\xc0\xaf"), 0u);          // overlong, 2 bytes
  EXPECT_EQ(first_invalid_utf8("\xe0\x9f\xbf"), 0u);      // overlong, 3 bytes
  EXPECT_EQ(first_invalid_utf8("\xf0\x8f\xbf\xbf"), 0u);  // overlong, 4 bytes
  // Behind every valid kind of character.
  const std::string prefix =
      "a\xc3\xa9\xe0\xa0\x80\xe2\x82\xac\xed\x9f\xbf\xf0\x90\x80\x80\xf1\x80\x80\x80\xf4\x8f\xbf\xbf";
  EXPECT_EQ(first_invalid_utf8(prefix), std::nullopt);
  EXPECT_EQ(first_invalid_utf8(prefix + "\xfe"), prefix.size());
}

TEST(Utf8, InvalidBytesBecomeReplacementCharacters) {
  EXPECT_EQ(with_replacement_characters("plain \xc3\xa9"), "plain \xc3\xa9");
  EXPECT_EQ(with_replacement_characters("\xff" "a\xe2\x82z\xc3"),
            "\xef\xbf\xbd" "a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd");
}

}  // namespace
}  // namespace penstock
