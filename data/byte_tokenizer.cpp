#include "data/byte_tokenizer.h"

#include "core/check.h"

namespace penstock {

std::vector<int32_t> encode_bytes(std::string_view text) {
  std::vector<int32_t> tokens;
  tokens.reserve(text.size());
  for (const char byte : text) tokens.push_back(static_cast<unsigned char>(byte));
  return tokens;
}

std::string decode_bytes(std::span<const int32_t> tokens) {
  std::string text;
  text.reserve(tokens.size());
  for (const int32_t token : tokens) {
    CHECK_GE(token, 0);
    if (token < kByteBos) text.push_back(static_cast<char>(token));
  }
  return text;
}

}  // namespace penstock
