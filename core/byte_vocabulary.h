// The built-in byte tokenizer's ids: 0..255 are bytes of UTF-8, then three specials.
#pragma once

#include <cstdint>

namespace penstock {

inline constexpr int32_t kByteBos = 256;
inline constexpr int32_t kByteEos = 257;
inline constexpr int32_t kBytePad = 258;
inline constexpr int32_t kByteVocabularySize = 259;

}  // namespace penstock
